"""A user's folder whose cases are a pytest module."""

from __future__ import annotations

from pathlib import Path

import pytest

import problems
from problems import Case, ProblemError, pytest_cases

MODULE = '''
"""Tests."""
import pytest
from solution import double

BIG = 10 ** 6

def test_small() -> None:
    """A docstring."""
    assert double(2) == 4
    assert double("a") == "aa"

@pytest.mark.parametrize("given, expected", [(3, 6), pytest.param(-1, -2, id="negative"), (BIG, 2 * BIG)])
def test_more(given, expected):
    assert double(given) == expected
'''


def made(path: Path, **files: str) -> Path:
    (path / "statement.md").write_text("# Double\n\nGive the double.\n")
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(text)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ProblemError) as refused:
        problems.load(str(path))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_folder_with_a_module(tmp_path: Path) -> None:
    problem = problems.load(str(made(tmp_path, test_double__py=MODULE)))
    assert (problem.kind, problem.entry_point, problem.default_split) == ("function", "double", "all")
    assert problem.starter_code == "def double(a):\n    "
    assert problem.cases == (
        Case("2", "4"),
        Case('"a"', '"aa"'),
        Case("3", "6"),
        Case("-1", "-2"),
        Case("1000000", "2000000"),
    )


def test_public_test_functions_leave_the_others_hidden(tmp_path: Path) -> None:
    made(tmp_path, tests__py=MODULE, problem__toml='public_cases = ["test_small"]\nentry_point = "double"')
    problem = problems.load(str(tmp_path))
    assert [case.public for case in problem.cases] == [True, True, False, False, False]
    assert problem.default_split == "public"


def test_several_modules_and_a_reference(tmp_path: Path) -> None:
    made(tmp_path, test_a__py="def test(): assert f(1) == 1", test_b__py="def test(): assert f(2) == 2")
    made(tmp_path, solution__py="def f(n): return n")
    assert [case.input for case in problems.load(str(tmp_path)).cases] == ["1", "2"]
    assert problems.reference(str(tmp_path)) == "def f(n): return n"


def test_decorators_multiply(tmp_path: Path) -> None:
    table = "@pytest.mark.parametrize('b', [1, 2])\n@pytest.mark.parametrize(('a',), [[3], [4]])\n"
    made(tmp_path, tests__py=f"{table}def test(a, b): assert f(a, b) == 0")
    assert [case.input for case in problems.load(str(tmp_path)).cases] == ["3\n1", "3\n2", "4\n1", "4\n2"]


def test_the_module_is_never_run(tmp_path: Path) -> None:
    trap = f"import pathlib\ndef test():\n    assert f(1) == 1\n    pathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
    assert "line 4" in refusal(made(tmp_path, tests__py=trap))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("", "has no assertion"),
        ("def test(): pass", "has no assertion"),
        ("def check(): assert f(1) == 1", "line 1: only imports, constants and functions test_* can be read"),
        ("class TestF:\n    def test(self): assert f(1) == 1", "line 1: only imports"),
        ("X = open('x')\ndef test(): assert f(1) == 1", "line 1: \"open('x')\" is no plain value"),
        ("def test():\n    with pytest.raises(ValueError):\n        f(1)", "line 2: "),
        ("def test(tmp_path): assert f(1) == 1", "line 1: the parameters of test are not those"),
        ("@pytest.fixture\ndef test(): assert f(1) == 1", "line 1: only @pytest.mark.parametrize"),
        ("@pytest.mark.parametrize('a', range(3))\ndef test(a): assert f(a) == 1", "line 1: only @pytest.mark"),
        ("@pytest.mark.parametrize('a', [])\ndef test(a): assert f(a) == 1", "line 1: only @pytest.mark"),
        ("@pytest.mark.parametrize('a, b', [(1,)])\ndef test(a, b): assert f(a) == b", "a row has 1 values for 2"),
        ("@pytest.mark.parametrize('a', [pytest.param(1, marks=x)])\ndef test(a): assert f(a) == 1", "with marks"),
        (
            "@pytest.mark.parametrize('a', [1], indirect=True)\ndef test(a): assert f(a) == 1",
            "line 1: only @pytest.mark",
        ),
        ("@pytest.mark.parametrize('a', [1], ids=str)\ndef test(b): assert f(b) == 1", "are not those of"),
        ("def test(): assert f(1) == 1\ndef test_g(): assert g(1) == 1", "tests 'g' instead of 'f'"),
        ("def test():\n    assert f(1) == pytest.approx(0.1)", "line 2: 'pytest.approx(0.1)' is no plain value"),
        ("async def test(): assert f(1) == 1", "line 1: only imports"),
        ("def test(:", "is not Python"),
    ],
)
def test_a_module_that_says_more_than_cases_can(tmp_path: Path, module: str, words: str) -> None:
    message = refusal(made(tmp_path, tests__py=module))
    assert words in message
    assert "tests.py" in message


def test_what_belongs_elsewhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, tests__py=MODULE, problem__toml='public_cases = ["small"]')
    assert "makes 'small' public" in refusal(tmp_path)
    made(tmp_path, problem__toml='entry_point = "triple"')
    assert "tests 'double' instead of 'triple'" in refusal(tmp_path)
    made(tmp_path, problem__toml="", cases__toml="")
    assert "cases in cases.toml and tests.py: leave one" in refusal(tmp_path)
    (tmp_path / "cases.toml").unlink()
    monkeypatch.setattr(pytest_cases, "MAX_CASES", 2)
    assert "more than 2 cases" in refusal(tmp_path)
