"""Questions of strangers: whatever their files hold is refused in a sentence, within bounds of memory and time."""

from __future__ import annotations

import gzip
import json
import os
import resource
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import problems
from problems import ProblemError, rows
from problems.checker import Checker
from problems.problem import MAX_CASES, MAX_STATEMENT_CHARACTERS, Case, Problem
from problems.subsets import questions
from problems.values import plain_toml, refuse_bomb
from sandbox import Limits
from tests.commands import ROOT, refused, ttsd
from tests.folders import made
from tests.growth import operations
from tests.records import run_of
from ttsd.backbone.model_folder import resolve
from ttsd.config import load_config
from ttsd.errors import UserError
from ttsd.judging.checking import open_check
from ttsd.judging.same_output import same_output, same_result
from ttsd.judging.sandbox_settings import check_limits
from ttsd.judging.scoring import Scorer, ScorerError
from ttsd.record.store import Store

GIB = 1 << 30
LOAD = """
import sys, problems
try:
    problems.load(sys.argv[1])
except problems.ProblemError as error:
    print(error)
"""
ROW = {"question_title": "t", "public_test_cases": "[]", "starter_code": "", "metadata": "{}"}
TESTS = {
    "combinations": "import pytest\n"
    + "".join(f'@pytest.mark.parametrize("a{n}", [{"1, " * 100}])\n' for n in range(8))
    + f"def test_f({', '.join(f'a{n}' for n in range(8))}):\n    pass\n",
    "doubled lists": "a = [1]\n" + "a = a + a\n" * 28 + "def test_f():\n    assert f(a) == 1\n",
    "doubled texts": "a = 'x'\n" + "a = a + a\n" * 40 + "def test_f():\n    assert f(a) == 1\n",
    "lists in lists": "a = [1]\n" + "a = [a, a]\n" * 40 + "def test_f():\n    assert f(a) == 1\n",
    "squares": "a = 10\n" + "a = a * a\n" * 40 + "def test_f():\n    assert f(a) == 1\n",
    "powers": "def test_f():\n    assert f(9 ** 9 ** 9) == 1\n",
    "names in cases": "a = [" + "1, " * 100_000 + "]\ndef test_f():\n" + "    assert f(a, a, a) == a\n" * 5000,
    "digits": f"a = {'9' * 1_000_000}\ndef test_f():\n    assert f(a) == 1\n",
}


def bounded() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (2 * GIB, 2 * GIB))
    resource.setrlimit(resource.RLIMIT_CPU, (20, 20))


def loaded_within_bounds(question: str) -> str:
    """Loads a question in a process of two gigabytes; returns the sentence that refuses it."""
    command = [sys.executable, "-P", "-c", LOAD, question]
    ended = subprocess.run(
        command, capture_output=True, text=True, preexec_fn=bounded, env={"PYTHONPATH": str(ROOT)}, check=False
    )
    assert (ended.returncode, ended.stderr, ended.stdout.count("\n")) == (0, "", 1)
    return ended.stdout


@pytest.mark.parametrize("tests", TESTS.values(), ids=TESTS.keys())
def test_tests_that_are_read_do_not_run_away(tmp_path: Path, tests: str) -> None:
    assert loaded_within_bounds(str(made(tmp_path, tests__py=tests)))


def test_modules_share_one_budget(tmp_path: Path) -> None:
    module = "def test_f():\n    assert f(1) == 1\n" + "#" * (3 << 20)
    made(tmp_path, test_a__py=module, test_b__py=module)
    assert "more values" in loaded_within_bounds(str(tmp_path))


@pytest.mark.parametrize(
    "toml",
    ["a" + ".a" * 500_000 + " = 1", "[a" + ".a" * 500_000 + "]", "x = {a" + ".a" * 500_000 + " = 1}",
     "a = " + "[" * 100_000, "a = " + "9" * 1_000_000, "\n".join("a" + ".b" * 5000 + f".c{n} = 1" for n in range(100))],
)  # fmt: skip
def test_toml_is_read_within_bounds(tmp_path: Path, toml: str) -> None:
    assert "is not TOML" in loaded_within_bounds(str(made(tmp_path, problem__toml=toml)))
    (tmp_path / "subset.toml").write_text(toml)
    with pytest.raises(ProblemError, match="can't read the subset"):
        questions([str(tmp_path / "subset.toml")])


def test_a_grid_of_dots_is_no_key() -> None:
    grid = ("x." * 300 + "\n") * 300
    assert plain_toml(f"a = '''{grid}'''")["a"] == grid


def test_long_statements_and_many_cases_are_refused(tmp_path: Path) -> None:
    made(tmp_path, cases__toml="[[case]]\ninput = '1'\nexpected = '1'\n")
    (tmp_path / "statement.md").write_text("x" * (MAX_STATEMENT_CHARACTERS + 1))
    assert "a statement of more than" in loaded_within_bounds(str(tmp_path))
    row = {**ROW, "question_id": "a", "question_content": "x", "private_test_cases": "[]"}
    row["public_test_cases"] = json.dumps([{"input": "1", "output": "1"}] * (MAX_CASES + 1))
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    assert "cases: give at most" in loaded_within_bounds(f"{tmp_path / 'rows.jsonl'}#a")


def test_long_ids_are_refused(tmp_path: Path) -> None:
    row = {**ROW, "question_id": "a" * (60 << 20), "question_content": "x", "private_test_cases": "[]"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    assert len(loaded_within_bounds(f"{tmp_path / 'rows.jsonl'}#b")) < 500


def test_case_files_are_read_up_to_a_size_together(tmp_path: Path) -> None:
    made(tmp_path, cases___1__in="1", cases___1__out="1")
    with (tmp_path / "cases" / "1.in").open("w") as file:
        file.write("1" * (60 << 20))
    for number in range(2, 6):
        (tmp_path / "cases" / f"{number}.in").hardlink_to(tmp_path / "cases" / "1.in")
        (tmp_path / "cases" / f"{number}.out").write_text("1")
    assert "MiB: give fewer cases" in loaded_within_bounds(str(tmp_path))


@pytest.mark.parametrize("line", [b"\n", b" " * 1000 + b"\n"])
def test_a_small_file_that_unfolds_to_a_large_one_is_refused(tmp_path: Path, line: bytes) -> None:
    with gzip.open(tmp_path / "rows.jsonl.gz", "wb") as file:
        for _ in range(100):
            file.write(line * ((1 << 20) // len(line)))
    with pytest.raises(ProblemError, match="split it"):
        list(rows.lines(tmp_path / "rows.jsonl.gz", "a schema"))


def test_strings_are_counted_in_linear_time() -> None:
    flood = "," * 2000 + '"' + '\\"' * 2000
    once, twice = (operations(lambda text: refuse_bomb(text, 10**6), flood * count) for count in (1, 2))
    assert twice < 2.5 * once
    with pytest.raises(ValueError, match="more than"):
        refuse_bomb("," * (9 << 20) + '"' + '\\"' * (1 << 20))  # the square of that would take an hour


def test_an_output_of_other_shape_is_not_taken_apart() -> None:
    assert not same_result(b"[" + b"[]," * 200_000 + b"[]]", "[" + "1" * 200_000 + "]")
    assert not same_output(b"1\n" * 100_000, "1" * 200_000)
    assert same_output(b"1 " * 100_000 + b"2.0", "1 " * 100_000 + "2")
    assert not same_output(b"1 " * 100_000, "1 " * 100_000 + "2")


@pytest.mark.parametrize("asked", ["memory_limit_mib = 1000000", "time_limit_seconds = 100000"])
def test_what_a_question_may_ask_for_has_a_ceiling(tmp_path: Path, asked: str) -> None:
    case = "[[case]]\ninput = '1'\nexpected = '1'\n"
    absurd, fine = (made(tmp_path / name, cases__toml=case) for name in ("absurd", "fine"))
    made(absurd, problem__toml=asked)
    (tmp_path / "a.py").write_text("print(input())")
    name = asked.partition(" ")[0]
    assert name in refused(ttsd("judge", str(absurd), str(tmp_path / "a.py")))
    ended = ttsd("problems", "check", str(absurd), str(fine))
    assert ended.returncode == 2 or ended.returncode == 1
    assert name in ended.stdout + ended.stderr
    patient = load_config("micro", ["judge.max_question_mib=2000000", "judge.max_question_seconds=200000"])
    check_limits(problems.load(str(absurd)), patient)


async def test_a_judge_that_hangs_while_it_is_loaded_is_a_mistake_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "judge.py").write_text("import time\ntime.sleep(1000)\ndef score(answer):\n    return 1\n")
    scorer = Scorer(
        {"kind": "judge", "judge": f"{tmp_path / 'judge.py'}:score"}, seconds=60, workers=1, loading_seconds=2
    )
    with pytest.raises(ScorerError, match="not loaded within 2 seconds"):
        await scorer("anything")


@pytest.mark.parametrize(
    "sql",
    [
        "alter table attempts rename to old; create view attempts as with recursive r(x) as "
        "(select 1 union all select x + 1 from r) select * from old, r",
        "create trigger t after insert on runs begin delete from runs; end",
        "alter table runs add column bomb generated always as (zeroblob(1000000000))",
        "create virtual table other using fts5(a)",
    ],
)
def test_a_database_whose_queries_do_not_end_is_refused(tmp_path: Path, sql: str) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        store.new_run(run_of("micro:numbers:2:1"), {})
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as database:
        database.execute("pragma legacy_alter_table = on")
        database.executescript(sql)
    with pytest.raises(UserError, match="did not make"):
        Store.read_only(tmp_path / "a.sqlite")


def test_a_huge_text_in_a_database_is_not_read(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        store.new_run(run_of("micro:numbers:2:1"), {})
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as database:
        database.execute("update runs set program = cast(zeroblob(100000000) as text)")
        database.commit()
    said = refused(ttsd("show", "1", "--set", f"store.path={tmp_path / 'a.sqlite'}"))
    assert "too long" in said


@pytest.mark.parametrize("value", ["[" * 100_000, "a" + ".a" * 500_000])
def test_deep_settings_are_refused_in_a_sentence(tmp_path: Path, value: str) -> None:
    (tmp_path / "deep.toml").write_text(f"a = {value}" if value[0] == "[" else f"{value} = 1")
    with pytest.raises(UserError, match="is not valid TOML"):
        load_config(str(tmp_path / "deep.toml"))
    with pytest.raises(UserError, match=r"setting lora\.rank"):
        load_config("micro", [f"lora.rank={value}"])


def test_pipes_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    for name in ("a.toml", "a.jsonl", "a.gguf"):
        os.mkfifo(tmp_path / name)
    for path in (str(tmp_path / "a.toml"), "/dev/zero"):
        with pytest.raises(UserError, match="no plain file"):
            load_config(path)
    with pytest.raises(ProblemError, match="no plain file"):
        questions([str(tmp_path / "a.toml")])
    with pytest.raises(ProblemError, match="there is no file"):
        questions([str(tmp_path / "a.jsonl")])
    with pytest.raises(UserError, match="no GGUF file"):
        resolve(str(tmp_path / "a.gguf"))
    for program in (["q", "/dev/zero"], ["--batch", "/dev/zero"]):
        assert "MiB" in refused(ttsd("judge", *program))


def test_half_characters_in_arguments_are_a_sentence(tmp_path: Path) -> None:
    half = os.fsdecode(b"\xff")
    for command in (["problems", "show", half], ["config", "show", "--set", f"model.path={half}"],
                    ["config", "show", "--config", f"{half}.toml"], ["judge", "micro:numbers:2:1", half]):  # fmt: skip
        refused(ttsd(*command, cwd=tmp_path))


@pytest.mark.parametrize("kind", ["tokens", "unordered", "floats"])
async def test_long_outputs_are_compared_in_another_process(kind: Any) -> None:
    """Sorting a million numbers holds the interpreter's lock, so that no thread of this process could go on."""
    expected = "\n".join(map(str, range(200_000)))
    printed = "\n".join(f"{number}.0" for number in range(199_999, -1, -1)).encode()
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    async with open_check(Problem("q", "q", "q", (), checker=Checker(kind)), None, Limits(), workers=1) as check:
        (score,) = await check([Case("", expected)], [printed])
    assert score.value == (kind == "unordered")
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime > before
