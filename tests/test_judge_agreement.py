"""The judge on real programs in the real sandbox: LiveCodeBench's verdicts, HumanEval's reference solutions."""

from __future__ import annotations

import ast
import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

import problems
from problems import Case, Problem, livecodebench, split
from sandbox import Sandbox
from ttsd.judging.checking import compared
from ttsd.judging.judge import Judge
from ttsd.nouns import Status, Verdict

DATA = Path(__file__).parents[1].parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="there is no shared/data beside this checkout")

# abc396_d: LiveCodeBench runs a script as the body of a function, where `global` names a variable that the module
# does not have, and calls that a runtime error. Run as a script, as here, the program is right.
RIGHT_AFTER_ALL = {144}


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(slots=2) as running:
        yield running


def read_pairs() -> list[dict[str, str]]:
    return [json.loads(line) for line in (DATA / "judge_pairs.jsonl").read_text().splitlines()]


async def disagreements(sandbox: Sandbox, numbers: Sequence[int]) -> set[int]:
    """Of the pairs `numbers`, those that are accepted here and not by LiveCodeBench, or the other way round."""
    files = (DATA / "lcb_rows.jsonl", DATA / "lcb_genuine_rows.jsonl")
    names = {question_id: f"{file}#{question_id}" for file in files for question_id in livecodebench.question_ids(file)}
    pairs = read_pairs()

    async def agrees(number: int) -> bool:
        pair = pairs[number]
        problem = problems.load(names[pair["question_id"]])
        problem = compared(problem, "livecodebench")
        verdict = await Judge(sandbox, problem, split(problem, "all", 0)).program(pair["code"])
        return verdict.accepted == (pair["lcb_verdict"] == "pass")

    verdicts = await asyncio.gather(*map(agrees, numbers))
    return {number for number, same in zip(numbers, verdicts, strict=True) if not same}


@pytest.mark.slow
async def test_a_sample_of_programs_gets_livecodebenchs_verdict(sandbox: Sandbox) -> None:
    pairs = read_pairs()
    quick = [number for number, pair in enumerate(pairs) if pair["lcb_verdict"] != "time_limit"]
    slow = [number for number, pair in enumerate(pairs) if pair["lcb_verdict"] == "time_limit"]
    sample = [
        *sorted(quick, key=lambda number: (pairs[number]["lcb_verdict"], number))[::5],
        *slow[::9],
        *RIGHT_AFTER_ALL,
    ]
    assert await disagreements(sandbox, sample) == RIGHT_AFTER_ALL


@pytest.mark.slow
async def test_all_programs_get_livecodebenchs_verdict(sandbox: Sandbox) -> None:
    assert await disagreements(sandbox, range(338)) == RIGHT_AFTER_ALL


def as_calls(row: dict[str, str]) -> tuple[Case, ...]:
    """The asserts of HumanEval's `check` as cases; ValueError where one is no comparison of a call with a literal."""
    tree = ast.parse(row["test"])
    check = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "check")
    return tuple(as_call(statement) for statement in check.body if not is_idle(statement))


def is_idle(statement: ast.stmt) -> bool:
    idle = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return idle or (isinstance(statement, ast.Assert) and isinstance(statement.test, ast.Constant))


def as_call(statement: ast.stmt) -> Case:
    match statement:
        case ast.Assert(test=ast.Compare(left=ast.Call(args=args, keywords=[]), ops=[ast.Eq()], comparators=[wanted])):
            values = [ast.literal_eval(argument) for argument in args]
            if any(json.loads(json.dumps(value)) != value for value in values):
                raise ValueError("JSON would change the arguments")
            return Case("\n".join(map(json.dumps, values)), json.dumps(ast.literal_eval(wanted), allow_nan=False))
        case _:
            raise ValueError("not an equality")


def humaneval(row: dict[str, str]) -> tuple[Problem, str]:
    """A question and its reference solution: function cases where the asserts allow it, else one script."""
    source = row["prompt"] + row["canonical_solution"]
    name = row["task_id"]
    try:
        cases = as_calls(row)
        return Problem(
            name, name, row["prompt"], cases, entry_point=row["entry_point"], starter_code=row["prompt"]
        ), source
    except (ValueError, TypeError):
        script = f"{source}\n{row['test']}\ncheck({row['entry_point']})\nprint('passed')\n"
        return Problem(name, name, row["prompt"], (Case("", "passed"),)), script


@pytest.mark.slow
async def test_humanevals_reference_solutions_are_accepted(sandbox: Sandbox) -> None:
    with gzip.open(DATA / "HumanEval.jsonl.gz", "rt") as file:
        questions = [humaneval(json.loads(line)) for line in file]

    async def judged(problem: Problem, source: str) -> Verdict:
        return await Judge(sandbox, problem, split(problem, "all", 0)).program(source)

    verdicts = await asyncio.gather(*(judged(*question) for question in questions))
    failed = {p.name: v for (p, _), v in zip(questions, verdicts, strict=True) if v.status is not Status.ACCEPTED}
    assert failed == {}
    assert len(questions) == 164
    assert sum(problem.kind == "function" for problem, _ in questions) > 120
