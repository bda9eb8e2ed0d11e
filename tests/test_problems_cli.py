"""`ttsd problems ...`: what goes where, exit statuses, and checking questions with their own programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands import ttsd, ttsd_each
from tests.rows import HUMANEVAL, row

CASES = '[[case]]\ninput = "1\\n"\nexpected = "2\\n"\n[[case]]\ninput = "5\\n"\nexpected = "10\\n"\n'
RIGHT = "print(2 * int(input()))\n"


def made(path: Path, **files: str) -> Path:
    path.mkdir(parents=True)
    for name, text in ({"statement__md": "# Double\n\nPrint the double.\n"} | files).items():
        (path / name.replace("__", ".")).write_text(text)
    return path


def test_pull_list_and_show(tmp_path: Path) -> None:
    rows = [
        row(),
        row(question_id="2", difficulty="easy", question_title="Two\x1b[31m"),
        row(question_id="3", metadata="{"),
    ]
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pulled, listed, easy, none, everything, shown = ttsd_each(
        ["pull", "livecodebench", "--from", "r.jsonl"],
        ["list", "lcb"],
        ["list", "lcb", "--difficulty", "easy", "--json"],
        ["list", "lcb", "--until", "2025-02-01"],
        ["list"],
        ["show", "lcb:2"],
        cwd=tmp_path,
        TTSD_CACHE=str(tmp_path / "cache"),
    )
    assert pulled.status == 0
    assert pulled.stdout.startswith("2 questions of ")
    assert pulled.stderr.startswith("left out 3: lcb:3: metadata is not JSON")
    assert listed.stdout.splitlines() == [
        "lcb:abc1_a  2025-02-01  hard  atcoder  Sum",
        "lcb:2       2025-02-01  easy  atcoder  Two\ufffd[31m",
    ]
    assert "1 more" in listed.stderr
    [one] = json.loads(easy.stdout)
    assert (one["question"], one["row"], one["difficulty"]) == ("lcb:2", 1, "easy")
    assert (none.status, none.stdout) == (0, "")
    assert {"lcb", "lcb-paper-hard", "micro-hard"} <= set(everything.stdout.splitlines())
    assert "Print the sum." in shown.stdout


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    mistakes = {
        "no lcb: question is on this machine": ["list", "lcb", "--since", "now"],
        "code_contests, not 'micro-demo'": [
            "list",
            "micro-demo",
            "--since",
            "2025-01-01",
        ],
        "leave out --release": ["pull", "lcb", "--from", "r.jsonl", "--release", "v6"],
        "there is no file 'r.jsonl'": ["pull", "lcb", "--from", "r.jsonl"],
        "choose one of livecodebench": ["pull", "bananas"],
        "no release 'v9'": ["pull", "lcb", "--release", "v9"],
        "no question in empty": ["check", "empty"],
        "did you mean 'micro-demo'": ["check", "micro-demi"],
    }
    ends = ttsd_each(*mistakes.values(), cwd=tmp_path, TTSD_CACHE=str(tmp_path / "cache"))
    for words, ended in zip(mistakes, ends, strict=True):
        assert words in ended.refusal()


@pytest.mark.slow
def test_checking_a_folder_of_folders(tmp_path: Path) -> None:
    folders = tmp_path / "folders"
    made(folders / "a", cases__toml=CASES, solution__py=RIGHT)
    made(folders / "b", cases__toml=CASES, solution__py="print(2)")
    made(folders / "c", tests__py="def test(): assert double(2) == 4", solution__py="def double(n): return 2 * n")
    made(folders / "d", cases__toml=CASES)
    made(folders / "e")
    made(folders / "f", cases__toml=CASES + '[[case]]\ninput = "1\\n"\nexpected = "3\\n"\n')
    both = "def test():\n    assert one(1) == 1\n    assert one(1) is True"  # True is 1, and no other 1 is True
    made(folders / "g", tests__py=both, solution__py="def one(n): return True")
    made(folders / ".git")
    every, one, others = ttsd_each(
        ["check", "folders", "--json"],
        ["check", "folders/a"],
        ["check", "micro:numbers:5:7", "lcb:x"],
        cwd=tmp_path,
        TTSD_CACHE=str(tmp_path / "cache"),
    )
    found = {Path(one["question"]).name: one for one in map(json.loads, every.stdout.splitlines())}
    assert every.status == 2
    assert "".join(name for name, one in found.items() if one["ok"]) == "acdg"
    assert [found[name]["reference"] for name in "abcdef"] == ["accepted", "wrong answer", "accepted", None, None, None]
    assert found["g"]["reference"] == "accepted"
    assert found["b"]["wrong"].endswith("wrong answer on case 1, 1 of 2 cases passed")
    assert "has no cases" in found["e"]["wrong"]
    assert "cases 0 and 2 have the same input" in found["f"]["wrong"]
    assert (found["c"]["kind"], found["c"]["cases"]) == ("function", 1)
    assert one == (0, "ok     folders/a: stdin, 2 cases (2 visible), its own program: accepted\n", "")
    assert others.status == 2
    lines = others.stdout.splitlines()
    assert lines[0].startswith("ok     micro:numbers:5:7: ")
    assert lines[1].startswith("WRONG  lcb:x: lcb:x is not on this machine")


def test_checking_loads_judges_and_calls_none(tmp_path: Path) -> None:
    judge = "import helper\ndef score(answer):\n    raise SystemExit('called')\n"
    made(tmp_path / "good", problem__toml='judge = "judge.py:score"', judge__py=judge, helper__py="")
    made(tmp_path / "bad", problem__toml='judge = "judge.py:score"', judge__py="import nowhere_to_be_found\n")
    (ended,) = ttsd_each(["check", str(tmp_path / "good"), str(tmp_path / "bad")], cwd=tmp_path)
    good, bad = ended.stdout.splitlines()
    assert good == f"ok     {tmp_path / 'good'}: judge, 1 case (1 visible)"
    assert bad.startswith(f"WRONG  {tmp_path / 'bad'}: its judge can't be loaded (ModuleNotFoundError")
    assert ended.status == 2


def test_a_file_of_questions_is_listed_and_checked_and_its_faults_are_named(tmp_path: Path) -> None:
    several = "Print a pair. If there are multiple solutions, any of them is accepted."
    rows = [json.dumps(row()), json.dumps(row(question_id="2", question_content=several))]
    (tmp_path / "r.jsonl").write_text("\n".join(rows))
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "broken.jsonl").write_text(json.dumps(row()) + "\n{'question_id'\n")
    (tmp_path / "other.jsonl").write_text('{"id": 1, "prompt": "Add."}\n')
    listed, checked, shown, *faults = ttsd_each(
        ["list", "r.jsonl"],
        ["check", "r.jsonl"],
        ["show", "r.jsonl#2"],
        ["check", "empty.jsonl"],
        ["list", "broken.jsonl"],
        ["show", "other.jsonl#1"],
        cwd=tmp_path,
    )
    assert listed.stdout == "r.jsonl#abc1_a\nr.jsonl#2       several right answers\n"
    names = [line.partition(":")[0] for line in checked.stdout.splitlines()]
    assert names == ["ok     r.jsonl#abc1_a", "ok     r.jsonl#2"]
    assert checked.stdout.count("its statement allows several right answers") == 1
    assert "Its statement allows several right answers, but a case accepts one" in shown.stdout
    words = (
        "empty.jsonl has no rows",
        "broken.jsonl, line 2, is not JSON",
        "other.jsonl, line 1, has no text question_id",
    )
    for ended, said in zip(faults, words, strict=True):
        assert (ended.status, ended.stdout) == (2, "")
        assert said in ended.stderr


@pytest.mark.slow
def test_runs_warn_of_several_right_answers_before_they_spend_anything(tmp_path: Path) -> None:
    several = "# Tree\n\nPrint a tree. If there are several such trees, print any.\n"
    made(tmp_path / "several", cases__toml=CASES, statement__md=several)
    made(tmp_path / "judged", cases__toml=CASES, statement__md=several, problem__toml='checker = "unordered"')
    for command, name, warns in (("solve", "several", 1), ("batch", "several", 1), ("solve", "judged", 0)):
        ended = ttsd(command, str(tmp_path / name), "--set", "model.path=/no/such/model", cwd=tmp_path)
        warnings = [line for line in ended.stderr.splitlines() if "several right answers" in line]
        assert (len(warnings), ended.returncode) == (warns, 2), ended.stderr


@pytest.mark.skipif(not HUMANEVAL.is_file(), reason="there is no shared/data beside this checkout")
def test_published_solutions_are_accepted(tmp_path: Path) -> None:
    names = [f"humaneval:{number}" for number in (0, 8, 12, 90, 111)]
    pulled, checked = ttsd_each(
        ["pull", "humaneval", "--from", str(HUMANEVAL)], ["check", *names], TTSD_CACHE=str(tmp_path)
    )
    assert (pulled.status, checked.status) == (0, 0)
    assert checked.stdout.count("its own program: accepted") == 5
