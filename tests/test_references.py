"""Right programs of other authors: their form, and that the judge has accepted them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import problems
from problems.problem import Case, Problem
from tests.folders import made
from ttsd.config import Config
from ttsd.running.references import references, tidy

ADD = Problem("q", "add", "Add.", (Case("1\n2", "3"),), entry_point="add", starter_code="def add(a, b):\n    ")


def test_parameters_have_the_names_of_the_starter_code() -> None:
    program = "def add(x,  y) :  # adds\n    more = lambda x: x + y\n    return more(x)\n"
    assert tidy(program, ADD) == "def add(a, b):\n    more = lambda a: a + b\n    return more(a)"
    assert tidy("def add(b, a):\n    return b - a", ADD) == "def add(a, b):\n    return a - b"


@pytest.mark.parametrize(
    "program",
    ["def add(x, y):\n    a = 1\n    return x + y", "def add(x):\n    return x", "def other(x, y):\n    return x"],
)
def test_where_names_are_taken_or_do_not_belong_they_stay(program: str) -> None:
    assert tidy(program, ADD) == program


def test_what_does_not_parse_stays_as_it_is() -> None:
    assert tidy("print 'old'", ADD) == "print 'old'"
    assert tidy("print( 1 )", replace(ADD, entry_point=None, starter_code="")) == "print(1)"


@pytest.mark.slow
async def test_only_programs_that_the_judge_accepts_are_used(tmp_path: Path) -> None:
    cases = "[[case]]\nargs = [1, 2]\nexpected = 3\n"
    settings = 'entry_point = "add"\nstarter_code = "def add(a, b):"\n'
    programs = {"right": "def add(x, y):\n    return x + y", "wrong": "def add(x, y):\n    return x - y", "none": None}
    names = []
    for name, program in programs.items():
        own = {} if program is None else {"solution__py": program}
        names.append(str(made(tmp_path / name, cases__toml=cases, problem__toml=settings, **own)))
    found = {name async for name in references(map(problems.load, names), Config())}
    assert found == {(str(tmp_path / "right"), "def add(a, b):\n    return a + b")}
