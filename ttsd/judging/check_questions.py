"""Says of each question whether it can be used, and whether its own right program is accepted, if it has one."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

import problems
from problems.problem import Problem, ProblemError
from problems.subsets import questions
from ttsd.config import Config
from ttsd.errors import UserError
from ttsd.judging.answer_judge import scorer_spec
from ttsd.judging.by_hand import Judgement, judge_batch
from ttsd.judging.sandbox_settings import limits_of
from ttsd.judging.scoring import ScorerError, open_scorer


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found. `wrong` is empty where nothing is; `reference` is the verdict on the question's own program.

    `public` cases are those that the statement shows, `visible` ones those that a run shows by default.
    """

    question: str
    wrong: str = ""
    kind: str = ""
    cases: int = 0
    public: int = 0
    visible: int = 0
    several_answers: bool = False
    reference: str | None = None


async def check_questions(names: Iterable[str], config: Config) -> AsyncGenerator[Finding, None]:
    """Returns one finding a question, in order.

    Judges of the user's own are loaded, in a process of their own, and not called. Programs are run in the sandbox,
    which starts only if there are any.
    """
    found = [_read(name) for name in names]
    requests = [(finding.question, program) for finding, program in found if program is not None]
    lines = [json.dumps({"question": question, "program": program}) for question, program in requests]
    async with aclosing(_judgements(lines, config)) as judgements:
        for finding, program in found:
            if program is not None:
                yield _with_verdict(finding, await anext(judgements))
            elif finding.kind == "judge" and not finding.wrong:
                yield replace(finding, wrong=await _broken_judge(finding.question, config))
            else:
                yield finding


def expanded(names: Iterable[str]) -> list[str]:
    """Returns the questions that `names` stand for; a folder that is no question stands for its subfolders."""
    found: list[str] = []
    for name in names:
        path = Path(name)
        if path.is_dir() and not (path / "statement.md").exists():
            found += sorted(str(inner) for inner in path.iterdir() if inner.is_dir() and inner.name[0] not in "._")
        else:
            found += questions([name])
    if not found:
        raise UserError(
            f"there is no question in {', '.join(names)}; give a problem folder, a folder of them, or names"
        )
    return list(dict.fromkeys(found))


async def _judgements(lines: list[str], config: Config) -> AsyncGenerator[Judgement, None]:
    if not lines:
        return
    async with aclosing(judge_batch(lines, config)) as judgements:
        async for judgement in judgements:
            yield judgement


def _read(name: str) -> tuple[Finding, str | None]:
    try:
        problem = problems.load(name)
        finding = Finding(
            name,
            _contradiction(problem),
            problem.kind,
            len(problem.cases),
            sum(case.public for case in problem.cases),
            len(problems.split(problem, problem.default_split, 0).visible),
            problem.several_answers,
        )
        runs = not finding.wrong and problem.kind in ("stdin", "function")
        return finding, problems.reference(name) if runs else None
    except ProblemError as error:
        return Finding(name, wrong=str(error)), None


async def _broken_judge(name: str, config: Config) -> str:
    """Says why the judge of a question can't be loaded; empty where it can."""
    limits = limits_of(config)
    spec = scorer_spec(problems.load(name), limits)
    async with open_scorer(spec, seconds=limits.wall_seconds, workers=1) as scorer:
        try:
            await scorer.start()
        except ScorerError as error:
            return f"Its judge can't be loaded ({error}): correct it."
    return ""


def _contradiction(problem: Problem) -> str:
    """Finds one input with two outputs, which no program can give."""
    cases: dict[str, list[int]] = defaultdict(list)
    for index, case in enumerate(problem.cases):
        cases[case.input].append(index)
    for first, *others in cases.values():
        for other in others:
            if problem.cases[other].expected.split() != problem.cases[first].expected.split():
                return f"Cases {first} and {other} have the same input and different expected outputs: correct one."
    return ""


def _with_verdict(finding: Finding, judgement: Judgement) -> Finding:
    verdict = str(judgement["verdict"]).replace("_", " ")
    if judgement["accepted"]:
        return replace(finding, reference=verdict)
    wrong = (
        f"Its own right program is not accepted: {verdict} on case {judgement['first_failure']}, "
        f"{judgement['passed']} of {judgement['total']} cases passed."
    )
    return replace(finding, reference=verdict, wrong=wrong)
