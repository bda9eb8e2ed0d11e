"""Reads MBPP and MBPP+: small functions described in a sentence, with assertions as tests, which become cases.

The first assertion belongs to the prompt, as everywhere MBPP is used: without it nobody could know the function's name.
MBPP+ stores more inputs and their results as literals, like HumanEval+ (humaneval.py says what is refused and why).
"""

from __future__ import annotations

from problems import asserts
from problems.asserts import Call
from problems.problem import Problem, ProblemError
from problems.rows import Row, text
from problems.source import Release, Source

SCHEMA = "MBPP's schema"


def question_id(row: Row) -> str:
    """Returns an id such as `601`."""
    found = row.get("task_id")
    if isinstance(found, bool) or not isinstance(found, int | str):
        raise ProblemError("it has no task_id")
    return str(found).rpartition("/")[2]


def problem(row: Row, name: str) -> Problem:
    """Returns the question in `row`, called `name`; raises ProblemError."""
    listed, example = _listed(row, name)
    function = listed[0].function
    table = _table(row, function, name)
    where = f"{name}: test_list"
    cases = [call.case(where, public=call is listed[0]) for call in listed]
    known = {case.input for case in cases}
    return Problem(
        name=name,
        title=function,
        statement=f"{_description(row).strip()}\n\nFor example:\n\n    {example.strip()}",
        cases=(*cases, *(case for call in table if (case := call.case(f"{name}: test")).input not in known)),
        entry_point=function,
        starter_code=asserts.definition(function, len(listed[0].arguments)),
        checker=asserts.checker(table),
    )


def reference(row: Row) -> str:
    """Returns the published solution."""
    return text(row, "code", "the row", SCHEMA)


def _description(row: Row) -> str:
    """Returns what MBPP calls `text`; its sanitized part and MBPP+ call it `prompt`."""
    return text(row, "prompt" if "prompt" in row else "text", "it", SCHEMA)


def _listed(row: Row, name: str) -> tuple[list[Call], str]:
    """Returns what `test_list` says, and the first test as it is written."""
    tests = row.get("test_list")
    if not isinstance(tests, list) or not tests or not all(isinstance(test, str) for test in tests):
        raise ProblemError(f"{name} has no list of tests in the field 'test_list': give it one, as in {SCHEMA}")
    if str(row.get("test_setup_code") or "").strip():
        raise ProblemError(f"{name} has test_setup_code, which would have to be run: such questions are not supported")
    where = f"{name}: test_list"
    calls = list(asserts.calls(asserts.tree("\n".join(tests), where).body, where))
    if len({call.function for call in calls}) != 1:
        raise ProblemError(f"{where} tests {len({call.function for call in calls})} functions: it must test one")
    return calls, tests[0]


def _table(row: Row, function: str, name: str) -> list[Call]:
    """Returns the further calls of MBPP+, none for MBPP itself."""
    test = row.get("test")
    if not isinstance(test, str):
        return []
    where = f"{name}: test"
    module = asserts.tree(test, where)
    table = asserts.table(module, module.body, function, where)
    if table is None:
        raise ProblemError(f"{where} is not a table of inputs and results: such questions are not supported")
    return table


RELEASES = {
    "plus": Release("evalplus/mbppplus", ("data/*.parquet",)),
    "full": Release("google-research-datasets/mbpp", ("full/*.parquet",)),
    "sanitized": Release("google-research-datasets/mbpp", ("sanitized/*.parquet",)),
}
SOURCE = Source("mbpp", "mbpp", SCHEMA, RELEASES, question_id, problem, reference=reference)
