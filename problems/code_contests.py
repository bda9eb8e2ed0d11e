"""Reads CodeContests: programs that read standard input, in DeepMind's schema or in SandboxFusion's of the same set.

DeepMind's rows have `public_tests`, which are public, `private_tests` and `generated_tests`, each with lists `input`
and `output`. SandboxFusion's have `content`, JSON `labels`, and JSON `test`; none of their tests is public. Generated
tests are mutations of others, so a few inputs break the statement's own promises.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from problems.problem import Case, Problem, ProblemError
from problems.rows import Row, in_list, json_text, known, sides, text, text_case
from problems.source import Release, Source
from problems.values import positive

SCHEMA = "the schema of CodeContests"
_PLATFORMS = {1: "codechef", 2: "codeforces", 3: "hackerearth", 4: "codejam", 5: "atcoder", 6: "aizu"}
_PYTHON_3 = 3


def question_id(row: Row) -> str:
    """Returns the beginning of the question's name, as in `1575_A`, else the row's id."""
    beginning = "-".join(_name(row).partition(". ")[0].split())
    found = beginning or row.get("id")
    if not isinstance(found, str | int) or isinstance(found, bool):
        raise ProblemError("it has neither a name nor an id")
    return str(found)


def facts(row: Row) -> dict[str, str]:
    """Returns the fields of `row` that an index has."""
    labels, rating, source = _labels(row), row.get("cf_rating"), row.get("source")
    platform = _PLATFORMS.get(source, "") if isinstance(source, int) else str(labels.get("source", "")).lower()
    difficulty = str(rating) if isinstance(rating, int) and rating > 0 else str(labels.get("difficulty", "")).lower()
    return {"difficulty": difficulty, "platform": platform}


def problem(row: Row, name: str) -> Problem:
    """Returns the question in `row`, called `name`; raises ProblemError."""
    for key in ("input_file", "output_file"):
        if row.get(key):
            raise ProblemError(f"{name} uses the file {str(row[key])[:20]!r} instead of standard input and output")
    cases = _listed_cases(row, name) if "test" in row else _columns_of_cases(row, name)
    memory = positive(row.get("memory_limit_bytes"))
    return Problem(
        name=name,
        title=_name(row) or name,
        statement=known(row, "description", "content") or text(row, "description", name, SCHEMA),
        cases=tuple(cases),
        default_split="half",
        time_limit_seconds=_seconds(row.get("time_limit")),
        memory_limit_mib=None if memory is None else max(1, int(memory) >> 20),
    )


def reference(row: Row) -> str | None:
    """Returns the first published solution in Python 3, if there is one."""
    solutions = row.get("solutions")
    columns = [solutions.get(key) for key in ("language", "solution")] if isinstance(solutions, dict) else []
    pairs = zip(*columns, strict=False) if all(isinstance(column, list) for column in columns) else ()
    return next((source for language, source in pairs if language == _PYTHON_3 and isinstance(source, str)), None)


def _name(row: Row) -> str:
    return known(row, "name") or known(_labels(row), "name")


def _labels(row: Row) -> Mapping[str, Any]:
    labels = row.get("labels")
    try:
        found = json.loads(labels) if isinstance(labels, str) else labels
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _columns_of_cases(row: Row, name: str) -> Iterator[Case]:
    seen: set[str] = set()
    for key in ("public_tests", "private_tests", "generated_tests"):
        tests = row.get(key)
        if not tests:
            continue
        inputs, outputs = sides(tests)
        if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
            raise ProblemError(f"{name} has {key} without lists of as many inputs as outputs")
        for index, pair in enumerate(zip(inputs, outputs, strict=True)):
            case = text_case(*pair, f"{name}, {key} {index},", public=key == "public_tests")
            if case.input not in seen:
                seen.add(case.input)
                yield case


def _listed_cases(row: Row, name: str) -> Iterator[Case]:
    tests = row["test"]
    tests = json_text(tests, f"{name}: test") if isinstance(tests, str) else tests
    for index, test in enumerate(in_list(tests, f"{name} has tests")):
        given, expected = sides(test)
        given = given.get("stdin") if isinstance(given, dict) else given
        expected = expected.get("stdout") if isinstance(expected, dict) else expected
        yield text_case(given, expected, f"{name}, test {index},")


def _seconds(limit: object) -> float | None:
    """Returns a limit of whole seconds and nanoseconds as one number; None where there is none."""
    if not isinstance(limit, dict):
        return None
    seconds, nanos = (positive(limit.get(key)) or 0.0 for key in ("seconds", "nanos"))
    return positive(seconds + nanos / 1e9)


RELEASES = {part: Release("deepmind/code_contests", (f"data/{part}-*.parquet",)) for part in ("test", "valid", "train")}
SOURCE = Source("code_contests", "code_contests", SCHEMA, RELEASES, question_id, problem, facts, reference)
