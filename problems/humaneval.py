"""Reads HumanEval and HumanEval+: functions, with tests written as Python, whose `f(x) == y` become cases.

HumanEval+ stores its results as literals in the `test` field of the hub's rows, so nothing has to be run to know them.
Its floats may differ by 1e-6, as there. Tests that compute, loop or compare in other ways are refused, and so is
EvalPlus's own release: it has inputs without results, which come from running its solutions.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from problems import asserts
from problems.asserts import Call
from problems.problem import Problem, ProblemError
from problems.rows import Row, text
from problems.source import Release, Source

SCHEMA = "HumanEval's schema"


def question_id(row: Row) -> str:
    """Returns `7` of `HumanEval/7`."""
    return text(row, "task_id", "it", SCHEMA).rpartition("/")[2]


def problem(row: Row, name: str) -> Problem:
    """Returns the question in `row`, called `name`; raises ProblemError."""
    function = text(row, "entry_point", name, SCHEMA)
    if "plus_input" in row:
        raise ProblemError(f"{name} has inputs without results (plus_input): give the rows of the hub's datasets")
    found = list(_calls(text(row, "test", name, SCHEMA), f"{name}: test"))
    return Problem(
        name=name,
        title=function,
        statement=f"Complete the function `{function}`. Its docstring says what it must do.",
        cases=tuple(call.case(f"{name}: test") for call in found),
        entry_point=function,
        starter_code=text(row, "prompt", name, SCHEMA),
        checker=asserts.checker(found),
    )


def reference(row: Row) -> str:
    """Returns the published solution."""
    return text(row, "prompt", "the row", SCHEMA) + text(row, "canonical_solution", "the row", SCHEMA)


def _calls(test: str, where: str) -> Iterator[Call]:
    module = asserts.tree(test, where)
    checks = [node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == "check"]
    if len(checks) != 1:
        raise ProblemError(f"{where} has {len(checks)} functions check(candidate): it must have one")
    table = asserts.table(module, checks[0].body, "candidate", where)
    for call in asserts.calls(checks[0].body, where) if table is None else table:
        if call.function != "candidate":
            raise ProblemError(f"{where}, line {call.line}: it tests {call.function!r} instead of the candidate")
        yield call


RELEASES = {
    "plus": Release("evalplus/humanevalplus", ("data/*.parquet",)),
    "base": Release("openai/openai_humaneval", ("openai_humaneval/*.parquet",)),
}
SOURCE = Source("humaneval", "humaneval", SCHEMA, RELEASES, question_id, problem, reference=reference)
