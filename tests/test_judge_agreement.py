"""The judge on real programs in the real sandbox: LiveCodeBench's verdicts, HumanEval's reference solutions."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import problems
from problems import Case, Problem, ProblemError, humaneval, livecodebench, split
from sandbox import Limits, Sandbox
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


@pytest.mark.slow
async def test_programs_get_livecodebenchs_verdict(sandbox: Sandbox) -> None:
    """All of them; of those that are too slow most are stopped earlier, which none of them may use to be accepted."""
    files = (DATA / "lcb_rows.jsonl", DATA / "lcb_genuine_rows.jsonl")
    names = {question_id: f"{file}#{question_id}" for file in files for question_id in livecodebench.question_ids(file)}
    pairs = [json.loads(line) for line in (DATA / "judge_pairs.jsonl").read_text().splitlines()]
    slow = [number for number, pair in enumerate(pairs) if pair["lcb_verdict"] == "time_limit"]
    stopped_earlier = set(slow) - set(slow[::3])

    async def agrees(number: int) -> bool:
        pair, limits = pairs[number], Limits(cpu_seconds=2.0) if number in stopped_earlier else Limits()
        problem = compared(problems.load(names[pair["question_id"]]), "livecodebench")
        verdict = await Judge(sandbox, problem, split(problem, "all", 0), limits=limits).program(pair["code"])
        return verdict.accepted == (pair["lcb_verdict"] == "pass")

    same = await asyncio.gather(*map(agrees, range(338)))
    assert {number for number, one in enumerate(same) if not one} == RIGHT_AFTER_ALL


def humaneval_question(row: dict[str, str]) -> tuple[Problem, str]:
    """A question and its reference solution: function cases where its test can be read, else one script."""
    name, source = row["task_id"], humaneval.reference(row)
    try:
        return humaneval.problem(row, name), source
    except ProblemError:
        script = f"{source}\n{row['test']}\ncheck({row['entry_point']})\nprint('passed')\n"
        return Problem(name, name, row["prompt"], (Case("", "passed"),)), script


@pytest.mark.slow
async def test_humanevals_reference_solutions_are_accepted(sandbox: Sandbox) -> None:
    with gzip.open(DATA / "HumanEval.jsonl.gz", "rt") as file:
        questions = [humaneval_question(json.loads(line)) for line in file]

    async def judged(problem: Problem, source: str) -> Verdict:
        return await Judge(sandbox, problem, split(problem, "all", 0)).program(source)

    verdicts = await asyncio.gather(*(judged(*question) for question in questions))
    failed = {p.name: v for (p, _), v in zip(questions, verdicts, strict=True) if v.status is not Status.ACCEPTED}
    assert failed == {}
    assert len(questions) == 164
    assert sum(problem.kind == "function" for problem, _ in questions) > 120
