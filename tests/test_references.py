"""Right programs of other authors: their form, and that the judge has accepted them."""

from __future__ import annotations

from pathlib import Path

import pytest

import problems
from tests.folders import made
from ttsd.config import Config
from ttsd.running.references import references, tidy


def test_a_program_is_in_plain_layout() -> None:
    assert tidy("def add(x,  y) :  # adds\n    return x+y\n") == "def add(x, y):\n    return x + y"
    assert tidy("print 'old'") == "print 'old'"


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
    assert found == {(str(tmp_path / "right"), "def add(x, y):\n    return x + y")}
