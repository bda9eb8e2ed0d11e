"""Reads Codeforces as published in open-r1/codeforces: programs that read standard input.

A question with several right answers comes with a checker, a Python program that prints 1 for a right output; it is not
trusted and runs in the sandbox. A question that talks to a judge or reads files is refused. Some published tests are
incomplete: an accepted program may then still be wrong. Limits are the contest's own, meant for compiled languages too.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from problems.checker import Checker
from problems.problem import Case, Problem, ProblemError
from problems.rows import Row, in_list, known, sides, text, text_case
from problems.source import Release, Source
from problems.values import positive

SCHEMA = "the schema of open-r1/codeforces"


def question_id(row: Row) -> str:
    """Returns an id such as `852/A`."""
    return text(row, "id", "it", SCHEMA)


def facts(row: Row) -> dict[str, str]:
    """Returns the fields of `row` that an index has."""
    started, rating = row.get("contest_start"), positive(row.get("rating"))
    return {
        "date": _date(started) if isinstance(started, int | float) else "",
        "difficulty": str(int(rating)) if rating else "",
        "platform": "codeforces",
    }


def problem(row: Row, name: str) -> Problem:
    """Returns the question in `row`, called `name`; raises ProblemError."""
    _refuse_unsupported(row, name)
    examples = tuple(_tests(row, "examples", name, public=True))
    shown = {case.input for case in examples}
    official = (case for case in _tests(row, "official_tests", name, public=False) if case.input not in shown)
    memory, program = positive(row.get("memory_limit")), known(row, "generated_checker")
    return Problem(
        name=name,
        title=text(row, "title", name, SCHEMA),
        statement=_statement(row, name),
        cases=(*examples, *official),
        default_split="half",
        time_limit_seconds=positive(row.get("time_limit")),
        memory_limit_mib=None if memory is None else max(1, int(memory)),
        checker=Checker("published", program=program) if program.strip() else None,
    )


def _refuse_unsupported(row: Row, name: str) -> None:
    if row.get("interaction_format"):
        raise ProblemError(f"{name} talks to a judge while it runs, which is not supported")
    if row.get("input_mode") not in (None, "", "stdio"):
        raise ProblemError(f"{name} reads its input from {str(row['input_mode'])[:20]!r}, not from standard input")


def _statement(row: Row, name: str) -> str:
    parts = [text(row, "description", name, SCHEMA)]
    for key, heading in (("input_format", "Input"), ("output_format", "Output"), ("note", "Note")):
        if (section := known(row, key)).strip():
            parts.append(f"{heading}\n\n{section}")
    for number, case in enumerate(_tests(row, "examples", name, public=True), 1):
        parts.append(f"Example {number}\n\nInput:\n{case.input.rstrip()}\n\nOutput:\n{case.expected.rstrip()}")
    return "\n\n".join(part.strip() for part in parts)


def _tests(row: Row, key: str, name: str, *, public: bool) -> Iterator[Case]:
    for index, test in enumerate(in_list(row.get(key) or [], f"{name} has {key}")):
        yield text_case(*sides(test), f"{name}, {key} {index},", public=public)


def _date(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return ""


RELEASES = {
    "all": Release("open-r1/codeforces", ("data/train-*.parquet", "data/test-*.parquet")),
    "test": Release("open-r1/codeforces", ("data/test-*.parquet",)),
}
SOURCE = Source("codeforces", "codeforces", SCHEMA, RELEASES, question_id, problem, facts)
