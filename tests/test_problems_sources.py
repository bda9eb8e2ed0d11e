"""Published sets: rows in their schemas become questions, or are refused with a sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

import problems
from problems import Case, ProblemError, apps, asserts, code_contests, codeforces, collection, humaneval, mbpp
from problems.problem import checked
from problems.source import Source
from tests.rows import (
    DATA,
    HUMANEVAL,
    apps_row,
    code_contests_row,
    codeforces_row,
    humaneval_row,
    mbpp_row,
)

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
    facts = {"date": "2017-09-04T14:35:00", "difficulty": "2500", "platform": "codeforces"}
    assert codeforces.facts(codeforces_row()) == facts
    assert codeforces.facts({})["date"] == ""


def test_codeforces_has_checkers_and_tolerances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTSD_CACHE", str(tmp_path))
    checked = codeforces_row(id="1/A", generated_checker="print(1)", note="If several, print any.")
    problem = made(codeforces.SOURCE, checked)
    assert (problem.comparison.program, problem.several_answers) == ("print(1)", False)
    several = codeforces_row(
        id="1/B", output_format="Print a divisor. If there are multiple answers, print any of them."
    )
    granted = codeforces_row(id="1/C", output_format="The absolute or relative error must not exceed 10^{-6}.")
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, (checked, several, granted))))
    entries = collection.pull_files(codeforces.SOURCE, tmp_path / "r.jsonl").entries
    assert [(entry.several_answers, entry.comparison) for entry in entries] == [
        (False, "its published checker"),
        (True, ""),
        (False, "numbers within 1e-06"),
    ]


def test_mbpp_passes_tuples_and_sets() -> None:
    problem = made(mbpp.SOURCE, mbpp_row(test_list=["assert add((1, 2), {3}) == (3, 4)"]))
    assert problem.cases == (Case("(1, 2)\n{3}", "[3, 4]", public=True),)


def test_evalplus_floats_may_differ_a_little() -> None:
    test = f"{PLUS}\ndef check(candidate):\n{indented(TABLE.format(function='candidate').replace('3, 0', '0.5, 1.5'))}"
    assert made(humaneval.SOURCE, humaneval_row(test=test)).comparison == asserts.EVALPLUS
    row = mbpp_row(prompt="Add.", test=PLUS + TABLE.format(function="add").replace("3, 0", "0.5, 1.5"))
    assert made(mbpp.SOURCE, row).comparison == asserts.EVALPLUS


def test_apps() -> None:
    problem = made(apps.SOURCE, apps_row())
    assert (problem.name, problem.kind, problem.default_split) == ("apps:7", "stdin", "half")
    assert problem.cases == (Case("1 2\n", "3\n"), Case("4\n5\n", "9\n"))
    assert apps.reference(apps_row()) == "print(1)"
    assert apps.reference({"solutions": ""}) is apps.reference({"solutions": "{"}) is None
    assert apps.facts(apps_row())["difficulty"] == "interview"


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [([[3], [[4]]], ("3", "[4]")), ([3, [4]], ("3", "[4]")), ([[3, 4], [5]], ("[3, 4]", "[5]"))],
)
def test_apps_functions(outputs: list[object], expected: tuple[str, str]) -> None:
    tests = {"fn_name": "f", "inputs": [[1, [2]], ["a", []]], "outputs": outputs}
    problem = made(apps.SOURCE, apps_row(input_output=json.dumps(tests)))
    assert (problem.entry_point, problem.starter_code) == ("f", "def f(a, b):\n    ")
    assert problem.cases == (Case("1\n[2]", expected[0]), Case('"a"\n[]', expected[1]))


def test_taco() -> None:
    row = apps_row(problem_id=None, name="Sum", time_limit="2.5 seconds", memory_limit="64.0 megabytes")
    problem = made(apps.TACO, row)
    assert (problem.title, problem.time_limit_seconds, problem.memory_limit_mib) == ("Sum", 2.5, 64)
    assert problem.name == f"taco:{apps.question_id(row)}"
    assert len(apps.question_id(row)) == 10


def test_code_contests() -> None:
    problem = made(code_contests.SOURCE, code_contests_row())
    assert (problem.name, problem.title) == ("code_contests:1575_A", "1575_A. Sum")
    assert problem.cases == (Case("1 2\n", "3\n", public=True), Case("4 5\n", "9\n"), Case("6 7\n", "13\n"))
    assert (problem.time_limit_seconds, problem.memory_limit_mib) == (2.5, 256)
    assert code_contests.reference(code_contests_row()) == "print(3)"
    assert code_contests.facts(code_contests_row())["platform"] == "codeforces"
    fusion = {
        "id": 4,
        "content": "Add.",
        "labels": json.dumps({"name": "a3", "source": "CODECHEF", "difficulty": "MEDIUM"}),
        "test": json.dumps([{"input": {"stdin": "1 2"}, "output": {"stdout": "3\n"}}]),
    }
    problem = made(code_contests.SOURCE, fusion)
    assert (problem.name, problem.statement, problem.cases) == ("code_contests:a3", "Add.", (Case("1 2", "3\n"),))
    assert code_contests.facts(fusion)["difficulty"] == "medium"


@pytest.mark.skipif(not (DATA / "code_contests.jsonl").is_file(), reason="there is no shared/data beside this checkout")
def test_real_code_contests_are_pulled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTSD_CACHE", str(tmp_path))
    pulled = collection.pull_files(code_contests.SOURCE, DATA / "code_contests.jsonl")
    assert (len(pulled.usable()), len(pulled.refused())) == (20, 0)
    assert sum(entry.several_answers for entry in pulled.entries) >= 3
    assert sum(len(problems.load(f"code_contests:{entry.question_id}").cases) for entry in pulled.entries) == 2233


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
        (apps.SOURCE, apps_row(input_output=""), "no tests"),
        (apps.SOURCE, apps_row(input_output="{"), "is not JSON"),
        (apps.SOURCE, apps_row(input_output='{"inputs": ["1"], "outputs": []}'), "as many inputs as outputs"),
        (apps.SOURCE, apps_row(input_output='{"inputs": [{}], "outputs": ["1"]}'), "test 0, is no text"),
        (apps.SOURCE, apps_row(input_output='{"inputs": [1], "outputs": [1], "fn_name": "f"}'), "no list of arguments"),
        (apps.SOURCE, apps_row(input_output='{"inputs": [1], "outputs": [1], "fn_name": 2}'), "is no text"),
        (apps.SOURCE, apps_row(question=None), "no text in the field 'question'"),
        (code_contests.SOURCE, code_contests_row(input_file="in.txt"), "uses the file 'in.txt'"),
        (code_contests.SOURCE, code_contests_row(public_tests={"input": ["1"], "output": []}), "as many inputs"),
        (code_contests.SOURCE, code_contests_row(public_tests={"input": [1], "output": ["1"]}), "no input and output"),
        (
            code_contests.SOURCE,
            code_contests_row(public_tests={}, private_tests=None, generated_tests={}),
            "no test case",
        ),
        (code_contests.SOURCE, code_contests_row(test="{"), "is not JSON"),
        (code_contests.SOURCE, code_contests_row(test="{}"), "not a list but a dict"),
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


def test_numbers_that_no_float_holds_are_no_limits() -> None:
    huge = 10**400
    rows = [
        (codeforces.SOURCE, codeforces_row(time_limit=huge, memory_limit=huge, rating=huge)),
        (apps.TACO, apps_row(time_limit=huge, memory_limit=huge)),
        (code_contests.SOURCE, code_contests_row(time_limit={"seconds": huge}, memory_limit_bytes=huge)),
    ]
    for source, row in rows:
        problem = made(source, row)
        assert (problem.time_limit_seconds, problem.memory_limit_mib) == (None, None)
        assert all(isinstance(fact, str) for fact in source.facts(row).values())


def test_integers_of_any_length_are_read_and_shown() -> None:
    digits = "9" * 5000
    problem = made(apps.SOURCE, apps_row(input_output=f'{{"inputs": [[{digits}]], "outputs": ["1"]}}'))
    assert problem.cases == (Case(f"{digits}\n", "1"),)
    with pytest.raises(ProblemError, match=r"'\[9+\.\.\.' does not compare"):
        made(mbpp.SOURCE, mbpp_row(test_list=[f"assert [{digits}]"]))


def test_solutions_of_another_form_are_none() -> None:
    assert apps.reference({"solutions": "[" * 100_000}) is None
    for language, solution in ((5, 4), ([3], 4), (None, ["print(1)"]), ([], [])):
        assert code_contests.reference({"solutions": {"language": language, "solution": solution}}) is None


@pytest.mark.parametrize("source", collection.SOURCES.values(), ids=lambda source: source.name)
def test_a_row_without_an_id_is_refused(source: Source) -> None:
    with pytest.raises(ProblemError):
        source.question_id({"task_id": None})


@pytest.mark.parametrize("source", collection.SOURCES.values(), ids=lambda source: source.name)
@pytest.mark.parametrize("value", [None, True, 1e999, [], {}, "x" * 10, -1])
def test_facts_of_any_row(source: Source, value: object) -> None:
    row = dict.fromkeys(("contest_start", "rating", "title", "entry_point", "contest_date", "difficulty"), value)
    assert all(isinstance(fact, str) for fact in source.facts(row | {"text": "t"}).values())


@pytest.mark.skipif(not HUMANEVAL.is_file(), reason="there is no shared/data beside this checkout")
def test_most_of_humaneval_becomes_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTSD_CACHE", str(tmp_path))
    pulled = collection.pull_files(humaneval.SOURCE, HUMANEVAL)
    assert (len(pulled.usable()), len(pulled.refused())) == (154, 10)
    assert problems.load("humaneval:1").cases[2] == Case('"(()(())((())))"', '["(()(())((())))"]')
    assert (problems.reference("humaneval:1") or "").startswith("from typing import List")
