"""HumanEval, MBPP and Codeforces: rows in their schemas become questions, or are refused with a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

import problems
from problems import Case, ProblemError, codeforces, collection, humaneval, mbpp
from problems.problem import checked
from problems.source import Source
from tests.rows import HUMANEVAL, codeforces_row, humaneval_row, mbpp_row

PLUS = """
import numpy as np

def is_floats(x) -> bool:
    return isinstance(x, float)

def assertion(out, exp, atol):
    exact_match = out == exp
    if atol == 0 and is_floats(exp):
        atol = 1e-6
    assert exact_match
"""
TABLE = """inputs = [[[1, 2]], [[]]]
results = [3, 0]
for i, (inp, exp) in enumerate(zip(inputs, results)):
    assertion({function}(*inp), exp, 0)
"""


def indented(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


def made(source: Source, row: Mapping[str, object]) -> problems.Problem:
    return checked(source.problem(row, f"{source.scheme}:{source.question_id(row)}"))


def test_humaneval() -> None:
    problem = made(humaneval.SOURCE, humaneval_row())
    assert (problem.name, problem.entry_point, problem.title) == ("humaneval:7", "add", "add")
    assert problem.cases == (Case("[1, 2]", "3"), Case("[]", "0"))
    assert problem.starter_code == humaneval_row()["prompt"]
    assert humaneval.reference(humaneval_row()).endswith('"""Add."""\n    return sum(numbers)\n')


def test_humaneval_plus() -> None:
    test = f"{PLUS}\ndef check(candidate):\n{indented(TABLE.format(function='candidate'))}"
    assert made(humaneval.SOURCE, humaneval_row(test=test)) == made(humaneval.SOURCE, humaneval_row())


def test_mbpp_shows_its_first_test() -> None:
    problem = made(mbpp.SOURCE, mbpp_row())
    assert (problem.name, problem.entry_point, problem.starter_code) == ("mbpp:11", "add", "def add(a):\n    ")
    assert problem.statement.endswith("For example:\n\n    assert add([1, 2]) == 3")
    assert problem.cases == (Case("[1, 2]", "3", public=True), Case("[5]", "5"))


def test_mbpp_plus_adds_the_cases_that_are_new() -> None:
    row = mbpp_row(prompt="Add.", test=PLUS + TABLE.format(function="add"), test_imports=[])
    problem = made(mbpp.SOURCE, row)
    assert problem.statement.startswith("Add.\n")
    assert problem.cases == (Case("[1, 2]", "3", public=True), Case("[5]", "5"), Case("[]", "0"))
    assert mbpp.reference(row) == "def add(n):\n  return sum(n)"


def test_codeforces() -> None:
    problem = made(codeforces.SOURCE, codeforces_row())
    assert (problem.name, problem.kind, problem.default_split) == ("codeforces:852/A", "stdin", "half")
    assert problem.cases == (Case("12\n", "3\n", public=True), Case("5\n", "5\n"))
    assert (problem.time_limit_seconds, problem.memory_limit_mib) == (2.0, 256)
    assert "Input\n\nA number." in problem.statement
    assert problem.statement.endswith("Example 1\n\nInput:\n12\n\nOutput:\n3")
    facts = codeforces.facts(codeforces_row())
    assert (facts.date, facts.difficulty, facts.platform) == ("2017-09-04T14:35:00", "2500", "codeforces")
    assert codeforces.facts({}).date == ""


@pytest.mark.parametrize(
    ("source", "row", "words"),
    [
        (humaneval.SOURCE, humaneval_row(test=None), "no text in the field 'test'"),
        (humaneval.SOURCE, humaneval_row(test="assert add([]) == 0"), "0 functions check(candidate)"),
        (humaneval.SOURCE, humaneval_row(test="def check(candidate): assert add([]) == 0"), "instead of the candidate"),
        (humaneval.SOURCE, humaneval_row(test="def check(candidate): pass"), "no test case"),
        (humaneval.SOURCE, humaneval_row(plus_input=[[1]]), "inputs without results"),
        (mbpp.SOURCE, mbpp_row(test_list=[]), "no list of tests"),
        (mbpp.SOURCE, mbpp_row(test_list=[1]), "no list of tests"),
        (mbpp.SOURCE, mbpp_row(test_list=["assert f(1) == 1", "assert g(1) == 1"]), "tests 2 functions"),
        (mbpp.SOURCE, mbpp_row(test_list=["assert set(f(1)) == {1}"]), "is no plain value"),
        (mbpp.SOURCE, mbpp_row(test_list=["import math"]), "tests 0 functions"),
        (mbpp.SOURCE, mbpp_row(test_list=["assert f((1, 2)) == 1"]), "passes a tuple"),
        (mbpp.SOURCE, mbpp_row(test_setup_code="import os"), "would have to be run"),
        (mbpp.SOURCE, mbpp_row(test="def check(): pass"), "not a table"),
        (codeforces.SOURCE, codeforces_row(interaction_format="Ask."), "talks to a judge"),
        (codeforces.SOURCE, codeforces_row(input_mode="file"), "from 'file'"),
        (codeforces.SOURCE, codeforces_row(input_mode="\x1b[2J\n"), r"from '\x1b[2J\n'"),
        (codeforces.SOURCE, codeforces_row(official_tests=[{"input": "1"}]), "official_tests 0, has no input"),
        (codeforces.SOURCE, codeforces_row(examples={}, official_tests=None), "no test case"),
        (codeforces.SOURCE, codeforces_row(examples="x"), "not a list but a str"),
    ],
)
def test_what_can_not_be_judged_is_refused(source: Source, row: Mapping[str, object], words: str) -> None:
    with pytest.raises(ProblemError) as refused:
        made(source, row)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("source", collection.SOURCES.values(), ids=lambda source: source.name)
def test_a_row_without_an_id_is_refused(source: Source) -> None:
    with pytest.raises(ProblemError):
        source.question_id({"task_id": None})


@pytest.mark.parametrize("source", collection.SOURCES.values(), ids=lambda source: source.name)
@pytest.mark.parametrize("value", [None, True, 1e999, [], {}, "x" * 10, -1])
def test_facts_of_any_row(source: Source, value: object) -> None:
    row = dict.fromkeys(("contest_start", "rating", "title", "entry_point", "contest_date", "difficulty"), value)
    assert all(isinstance(getattr(source.facts(row | {"text": "t"}), name), str) for name in ("date", "difficulty"))


@pytest.mark.skipif(not HUMANEVAL.is_file(), reason="there is no shared/data beside this checkout")
def test_most_of_humaneval_becomes_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTSD_CACHE", str(tmp_path))
    pulled = collection.pull_files(humaneval.SOURCE, HUMANEVAL)
    assert (len(pulled.usable()), len(pulled.refused())) == (152, 12)
    assert problems.load("humaneval:1").cases[2] == Case('"(()(())((())))"', '["(()(())((())))"]')
    assert (problems.reference("humaneval:1") or "").startswith("from typing import List")
