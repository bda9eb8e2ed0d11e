"""Questions of the user's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import problems
from problems import Case, ProblemError, folder
from problems.subsets import questions
from tests.folders import STATEMENT, made, refusal

CASES = '[[case]]\ninput = "1\\n"\nexpected = "2\\n"\n\n[[case]]\ninput = "2\\n"\nexpected = "4\\n"\n'
CALLS = '[[case]]\nargs = [1, "é"]\nexpected = [true, 0.5]\n\n[[case]]\nargs = []\nexpected = {a = 1}\n'


def test_a_folder_of_toml_cases(tmp_path: Path) -> None:
    problem = problems.load(str(made(tmp_path, cases__toml=CASES)))
    assert (problem.name, problem.title, problem.statement) == (str(tmp_path), "Double it", STATEMENT)
    assert problem.cases == (Case("1\n", "2\n"), Case("2\n", "4\n"))
    assert (problem.kind, problem.starter_code, problem.default_split) == ("stdin", "", "all")


def test_a_folder_is_one_question_however_it_is_written(tmp_path: Path) -> None:
    name = str(made(tmp_path / "q", cases__toml=CASES))
    written = [name, f"{name}/", f"{tmp_path}//q", f"{tmp_path}/./q"]
    assert {problems.load(one).name for one in written} == {name}
    assert questions(written) == [name]


def test_a_function_with_toml_cases(tmp_path: Path) -> None:
    settings_ = 'entry_point = "f"\ntitle = "T"\ntime_limit_seconds = 0.5\nmemory_limit_mib = 64\n'
    problem = problems.load(str(made(tmp_path, cases__toml=CALLS, problem__toml=settings_)))
    assert (problem.kind, problem.entry_point, problem.title) == ("function", "f", "T")
    assert problem.cases == (Case('1\n"é"', "[true, 0.5]"), Case("", '{"a": 1}'))
    assert problem.starter_code == "def f(a, b):\n    "
    assert (problem.time_limit_seconds, problem.memory_limit_mib) == (0.5, 64)


def test_case_files_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    files = {f"cases___{n}__{end}": f"{n}\n" for n in (10, 9, 1) for end in ("in", "out")}
    problem = problems.load(str(made(tmp_path, cases___notes__txt="ignored", **files)))
    assert [case.input for case in problem.cases] == ["1\n", "9\n", "10\n"]


def test_case_files_of_a_function_may_end_with_a_newline(tmp_path: Path) -> None:
    made(tmp_path, problem__toml='entry_point = "f"', cases___a__in="1\n[2]\n", cases___a__out="[3]\n")
    assert problems.load(str(tmp_path)).cases == (Case("1\n[2]", "[3]\n"),)


def test_public_cases_leave_the_others_hidden(tmp_path: Path) -> None:
    made(tmp_path / "toml", cases__toml=CASES.replace("\n\n", "\npublic = true\n\n"))
    made(
        tmp_path / "files",
        problem__toml='public_cases = ["1"]',
        **{f"cases___{n}__{end}": f"{n}" for n in (1, 2) for end in ("in", "out")},
    )
    made(tmp_path / "none", cases__toml=CASES)
    for name, default in (("toml", "public"), ("files", "public"), ("none", "all")):
        problem = problems.load(str(tmp_path / name))
        assert problem.default_split == default
        assert [case.public for case in problem.cases] == [default == "public", False]


def test_starter_code_may_be_a_file(tmp_path: Path) -> None:
    made(tmp_path, cases__toml=CALLS, problem__toml='entry_point = "f"', starter__py="def f(x, y): ...")
    assert problems.load(str(tmp_path)).starter_code == "def f(x, y): ..."


def test_a_title_falls_back_on_the_folders_name(tmp_path: Path) -> None:
    made(tmp_path / "doubled", statement__md="\ufeffDouble.", cases__toml=CASES)
    problem = problems.load(str(tmp_path / "doubled"))
    assert (problem.title, problem.statement) == ("doubled", "Double.")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "has no cases"),
        ({"statement__md": ""}, "has no cases"),
        ({"statement__md": " ", "cases__toml": CASES}, "empty statement"),
        ({"cases__toml": ""}, "no test case"),
        ({"cases__toml": "["}, "cases.toml is not TOML"),
        ({"cases__toml": "a = " + "[" * 9999}, "cases.toml is not TOML"),
        ({"cases__toml": "case = 1"}, "under [[case]]"),
        ({"cases__toml": "[[cases]]"}, "unknown key 'cases'; did you mean 'case'?"),
        ({"cases__toml": '[[case]]\ninput = "1"'}, "case 0, needs the texts input and expected"),
        ({"cases__toml": '[[case]]\ninput = "1"\nexpected = 2'}, "case 0, needs the texts input and expected"),
        ({"cases__toml": CASES + "expcted = 1"}, "case 1, has an unknown key 'expcted'; did you mean 'expected'?"),
        ({"cases__toml": CASES + "public = 1"}, "case 1, has public = 1"),
        ({"cases__toml": CALLS}, "names no entry_point"),
        (
            {"cases__toml": CASES, "problem__toml": 'entry_point = "f"'},
            "has input, but problem.toml names an entry_point",
        ),
        ({"cases__toml": CALLS, "problem__toml": 'entry_point = "f"', "starter__py": "def ff(a, b):"}, "without"),
        ({"cases__toml": CASES, "problem__toml": 'kind = "stdin"'}, 'kind = "answer", or leave it out'),
        ({"cases__toml": "[[case]]\nargs = 1\nexpected = 1", "problem__toml": 'entry_point = "f"'}, "needs args"),
        ({"cases__toml": "[[case]]\nargs = [nan]\nexpected = 1", "problem__toml": 'entry_point = "f"'}, "JSON"),
        ({"cases__toml": "[[case]]\nargs = []\nexpected = 2020-01-01", "problem__toml": 'entry_point = "f"'}, "JSON"),
        ({"cases__toml": CASES, "cases___1__in": ""}, "cases in cases.toml and cases/: leave one"),
        ({"cases___1__in": ""}, "has no 1.out"),
        ({"cases___1__out": ""}, "has no 1.in"),
        ({"cases___1__txt": ""}, "no test case"),
        ({"cases___1__in": "", "cases___1__out": "", "problem__toml": "public_cases = [2]"}, "makes 2 public"),
        ({"cases__toml": CASES, "problem__toml": "public_cases = []"}, "mark them there"),
        ({"cases__toml": CASES, "problem__toml": 'titel = "x"'}, "unknown key 'titel'; did you mean 'title'?"),
        ({"cases__toml": CASES, "problem__toml": "x = 1"}, "known are title"),
        ({"cases__toml": CASES, "problem__toml": "title = 1"}, "title = 1"),
        ({"cases__toml": CASES, "problem__toml": "time_limit_seconds = true"}, "time_limit_seconds = True"),
        ({"cases__toml": CASES, "problem__toml": "time_limit_seconds = -1"}, "above zero"),
        ({"cases__toml": CASES, "problem__toml": "time_limit_seconds = nan"}, "above zero"),
        ({"cases__toml": CASES, "problem__toml": f"time_limit_seconds = {10**400}"}, "above zero"),
        ({"cases__toml": CASES, "problem__toml": "memory_limit_mib = " + "9" * 5000}, "above zero"),
        ({"cases__toml": CASES, "problem__toml": "title = " + "9" * 5000}, "wrong type"),
        ({"cases__toml": CASES, "problem__toml": "memory_limit_mib = 0.5"}, "wrong type"),
        ({"cases__toml": CALLS, "problem__toml": 'entry_point = "a.b"'}, "not a Python name"),
        ({"cases__toml": CASES, "problem__toml": 'starter_code = ""', "starter__py": ""}, "leave one"),
    ],
)
def test_a_folder_that_can_not_be_used_is_refused(tmp_path: Path, files: dict[str, str], words: str) -> None:
    assert words in refusal(made(tmp_path, **files))


def test_a_missing_statement_is_named(tmp_path: Path) -> None:
    assert f"there is no {tmp_path / 'statement.md'}" in refusal(tmp_path)


def test_files_that_are_no_text_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, cases__toml=CASES)
    (tmp_path / "cases.toml").write_bytes(b'[[case]]\ninput = "\xff"')
    assert "cases.toml is not UTF-8 (byte 18)" in refusal(tmp_path)
    (tmp_path / "cases.toml").unlink()
    (tmp_path / "cases.toml").mkdir()
    assert "not a plain file" in refusal(tmp_path)
    (tmp_path / "cases.toml").rmdir()
    os.mkfifo(tmp_path / "cases.toml")
    assert "not a plain file" in refusal(tmp_path)
    monkeypatch.setattr(folder, "MAX_FILE_BYTES", 4)
    assert "not a plain file of at most 0 MiB" in refusal(tmp_path)


def test_too_many_cases_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MAX_CASES", 1)
    assert "has 2 cases: give at most 1" in refusal(made(tmp_path, cases__toml=CASES))


def test_links_may_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    path = made(tmp_path / "problem", cases__toml=CASES)
    (path / "statement.md").unlink()
    (path / "statement.md").symlink_to(tmp_path / "secret")
    message = refusal(path)
    assert "leads out of the folder" in message
    (path / "statement.md").unlink()
    (path / "statement.md").symlink_to("statement.md")
    assert "statement.md" in refusal(path)
    (path / "real.md").write_text(STATEMENT)
    (path / "statement.md").unlink()
    (path / "statement.md").symlink_to("real.md")
    assert problems.load(str(path)).statement == STATEMENT


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([*CASES.splitlines(), *CALLS.splitlines(), "public = true", "[case]", "x = 1"])))
def test_fuzzed_case_files_give_a_question_or_a_sentence(tmp_path: Path, lines: list[str]) -> None:
    made(tmp_path, cases__toml="\n".join(lines))
    message = ""
    try:
        problems.load(str(tmp_path))
    except ProblemError as error:
        message = str(error)
    assert "\n" not in message


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=80), st.sampled_from(["cases.toml", "problem.toml", "statement.md", "starter.py"]))
def test_fuzzed_bytes_give_a_question_or_a_sentence(tmp_path: Path, noise: bytes, file: str) -> None:
    made(tmp_path, cases__toml=CASES, problem__toml="", starter__py="")
    (tmp_path / file).write_bytes(noise)
    message = ""
    try:
        problems.load(str(tmp_path))
    except ProblemError as error:
        message = str(error)
    assert "\n" not in message
