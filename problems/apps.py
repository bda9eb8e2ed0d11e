"""Reads APPS and TACO: programs that read standard input, and functions of LeetCode's kind.

Both keep tests in the field `input_output`, JSON of lists `inputs` and `outputs`, with a function's name in `fn_name`.
A function's result stands in a list of one element there; where all do, that list is taken off. No test is public.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from problems.asserts import definition
from problems.problem import Case, Problem, ProblemError
from problems.rows import Row, json_text, known, text
from problems.source import Release, Source
from problems.values import any_length_integers, positive

SCHEMA = "the schema of APPS"
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def question_id(row: Row) -> str:
    """Returns the row's own id, else ten digits of its statement's hash."""
    for key in ("problem_id", "id", "task_id"):
        if isinstance(found := row.get(key), str | int) and not isinstance(found, bool) and str(found).strip():
            return str(found).strip()
    return hashlib.sha256(text(row, "question", "it", SCHEMA).encode("utf-8", "replace")).hexdigest()[:10]


def facts(row: Row) -> dict[str, str]:
    """Returns the fields of `row` that an index has."""
    return {
        "date": known(row, "date")[:10],
        "difficulty": known(row, "difficulty").lower(),
        "platform": known(row, "source"),
    }


@any_length_integers()
def problem(row: Row, name: str) -> Problem:
    """Returns the question in `row`, called `name`; raises ProblemError."""
    tests = _tests(row, name)
    function = tests.get("fn_name") or None
    if function is not None and not isinstance(function, str):
        raise ProblemError(f"{name} has an fn_name that is no text but a {type(function).__name__}")
    statement = text(row, "question", name, SCHEMA)
    cases = tuple((_stdin_cases if function is None else _function_cases)(tests, name))
    memory = _number(row.get("memory_limit"))
    return Problem(
        name=name,
        title=_title(row, statement) or name,
        statement=statement,
        cases=cases,
        entry_point=function,
        starter_code="" if function is None else _starter_code(row, function, cases[0]),
        default_split="half",
        time_limit_seconds=_number(row.get("time_limit")),
        memory_limit_mib=max(1, int(memory)) if memory else None,
    )


def reference(row: Row) -> str | None:
    """Returns the first published solution, if there is one."""
    solutions = row.get("solutions")
    try:
        found = json.loads(solutions) if isinstance(solutions, str) and solutions.strip() else solutions
    except (ValueError, RecursionError):
        return None
    return found[0] if isinstance(found, list) and found and isinstance(found[0], str) else None


def _starter_code(row: Row, function: str, first: Case) -> str:
    given = known(row, "starter_code")
    return given if given.strip() else definition(function, len(first.input.splitlines()))


def _title(row: Row, statement: str) -> str:
    return known(row, "name", "title") or " ".join(statement[:200].split())[:60]


def _tests(row: Row, name: str) -> Mapping[str, object]:
    where = f"{name}: input_output"
    tests = row.get("input_output")
    if isinstance(tests, str):
        tests = json_text(tests, where) if tests.strip() else None
    if not isinstance(tests, dict):
        raise ProblemError(f"{name} has no tests in the field 'input_output': give it some, as in {SCHEMA}")
    inputs, outputs = tests.get("inputs"), tests.get("outputs")
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs) or not inputs:
        raise ProblemError(f"{where} has no lists of as many inputs as outputs")
    return tests


def _stdin_cases(tests: Mapping[str, object], name: str) -> Iterator[Case]:
    for index, (given, expected) in enumerate(zip(tests["inputs"], tests["outputs"], strict=True)):  # type: ignore[call-overload]
        where = f"{name}: input_output, test {index},"
        yield Case(_lines(given, where), _lines(expected, where))


def _lines(given: object, where: str) -> str:
    """Returns the text of an input or output, which may be a list of lines."""
    if isinstance(given, list) and all(isinstance(line, str | int | float) for line in given):
        return "\n".join(map(str, given)) + "\n"
    if not isinstance(given, str):
        raise ProblemError(f"{where} is no text but a {type(given).__name__}")
    return given


def _function_cases(tests: Mapping[str, object], name: str) -> Iterator[Case]:
    inputs, outputs = tests["inputs"], tests["outputs"]
    assert isinstance(inputs, list)
    assert isinstance(outputs, list)
    wrapped = all(isinstance(output, list) and len(output) == 1 for output in outputs)
    for index, (given, expected) in enumerate(zip(inputs, outputs, strict=True)):
        if not isinstance(given, list):
            raise ProblemError(f"{name}: input_output, test {index}, has no list of arguments")
        lines = [json.dumps(argument, ensure_ascii=False) for argument in given]
        yield Case("\n".join(lines), json.dumps(expected[0] if wrapped else expected, ensure_ascii=False))


def _number(limit: object) -> float | None:
    """Returns the number in `2.0 seconds`, as TACO has it; None where there is none above zero."""
    found = _NUMBER.search(limit) if isinstance(limit, str) else None
    return positive(float(found[0]) if found else limit)


RELEASES = {part: Release("codeparrot/apps", (f"{part}.jsonl",)) for part in ("test", "train")}
SOURCE = Source("apps", "apps", SCHEMA, RELEASES, question_id, problem, facts, reference)
TACO_RELEASES = {
    part: Release("BAAI/TACO", (f"ALL/{part}/*.parquet",), "refs/convert/parquet") for part in ("test", "train")
}
TACO = replace(SOURCE, name="taco", scheme="taco", schema="TACO's schema", releases=TACO_RELEASES)
