"""Finds out of each question whether it can be used: its cases, its judge or checker, its own right program."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace

import problems
from problems.problem import Case, Problem, ProblemError
from problems.values import argument
from sandbox import Limits, Sandbox
from ttsd.config import Config
from ttsd.errors import UserError
from ttsd.judging.answer_judge import scorer_spec
from ttsd.judging.by_hand import Judgement, judge_batch
from ttsd.judging.checking import compared, open_check
from ttsd.judging.judge import own_limits
from ttsd.judging.same_output import right
from ttsd.judging.sandbox_settings import check_limits, limits_of, open_sandbox
from ttsd.judging.scoring import ScorerError, open_scorer

MAX_CHECKED_CASES = 10  # on whose expected outputs a checker is tried


@dataclass(frozen=True, slots=True)
class Finding:
    """Holds what was found. `wrong` is empty where nothing is.

    `reference` is the verdict on the question's own program. `public` cases are those that the statement shows,
    `visible` ones those that a run shows by default. `comparison` says in words how outputs are compared, and `granted`
    whether that was found in the statement.
    """

    question: str
    wrong: str = ""
    kind: str = ""
    cases: int = 0
    public: int = 0
    visible: int = 0
    several_answers: bool = False
    comparison: str = ""
    granted: bool = False
    reference: str | None = None


async def check_questions(names: Iterable[str], config: Config) -> AsyncGenerator[Finding, None]:
    """Yields one finding a question, in order.

    Judges of the user's own are loaded, in a process of their own, and not called; checkers are tried on expected
    outputs. Programs are run in the sandbox, which starts only if there are any.
    """
    limits = limits_of(config)
    found = [_read(name, config) for name in names]
    requests = [(finding.question, program) for finding, program in found if program is not None]
    async with aclosing(judge_batch(requests, config)) as judgements, AsyncExitStack() as stack:
        sandbox: Sandbox | None = None
        for finding, program in found:
            if finding.comparison.endswith("published checker") and sandbox is None:
                sandbox = await stack.enter_async_context(open_sandbox(config))
            broken = "" if finding.wrong else await _broken(finding, limits, sandbox)
            if program is not None:
                finding = _with_verdict(finding, await anext(judgements))
            yield replace(finding, wrong=broken or finding.wrong)


def _read(name: str, config: Config) -> tuple[Finding, str | None]:
    """Returns what can be found without running anything, and the question's own program if it is to be run."""
    try:
        problem = problems.load(name)
        check_limits(problem, config)
        judged = compared(problem, config.judge.comparison)
        finding = Finding(
            name,
            _contradiction(judged) or _too_long(problem, limits_of(config)),
            problem.kind,
            len(problem.cases),
            sum(case.public for case in problem.cases),
            len(problems.split(problem, problem.default_split, 0).visible),
            problem.several_answers,
            str(judged.comparison) if problem.asks_for_program else "",
            judged.comparison.granted,
        )
        runs = not finding.wrong and problem.asks_for_program
        return finding, problems.reference(name) if runs else None
    except ProblemError as error:
        return Finding(name, wrong=str(error)), None


async def _broken(finding: Finding, limits: Limits, sandbox: Sandbox | None) -> str:
    """Returns what is wrong with the question's judge or checker; nothing where it has none."""
    if finding.kind != "judge" and not finding.comparison.endswith("checker"):
        return ""
    problem = problems.load(finding.question)
    try:
        if finding.kind != "judge":
            return await _broken_checker(problem, limits, sandbox)
        async with open_scorer(scorer_spec(problem, limits), seconds=limits.wall_seconds, workers=1) as scorer:
            await scorer.start()
    except ScorerError as error:
        return f"its judge can't be loaded ({error}): correct it"
    except UserError as error:
        return str(error)
    return ""


async def _broken_checker(problem: Problem, limits: Limits, sandbox: Sandbox | None) -> str:
    """Returns a sentence where the checker does not accept an expected output; cases without any are passed over."""
    cases = [case for case in problem.cases if case.expected.strip()][:MAX_CHECKED_CASES]
    async with open_check(problem, sandbox, own_limits(problem, limits), workers=1) as check:
        for case, score in zip(cases, await check(cases, [case.expected.encode() for case in cases]), strict=True):
            if score.value < 1:
                said = f" ({score.feedback})" if score.feedback else ""
                number = problem.cases.index(case)
                return f"its checker does not accept the expected output of case {number}{said}: correct one of them"
    return ""


def _contradiction(problem: Problem) -> str:
    """Returns a sentence where no program can be right: two cases have one input, and neither output is the other's."""
    cases: dict[str, list[int]] = defaultdict(list)
    for index, case in enumerate(problem.cases):
        cases[_input(problem, case)].append(index)
    for first, *others in cases.values():
        for other in others:
            if not _compatible(problem, problem.cases[first], problem.cases[other]):
                return f"cases {first} and {other} have the same input and different expected outputs: correct one"
    return ""


def _input(problem: Problem, case: Case) -> str:
    """Returns what equal inputs have in common: arguments by their values, texts but for blanks at their end."""
    if problem.entry_point is None:
        return case.input.rstrip()
    return repr([argument(line) for line in case.input.split("\n")] if case.input else [])


def _compatible(problem: Problem, one: Case, other: Case) -> bool:
    """Tells whether one output can be right for both cases, by the comparison that the judge uses."""
    checker, function = problem.comparison, problem.entry_point is not None
    return checker.kind in ("own", "published") or any(
        right(output.expected.encode(), case, checker, function=function)
        for output, case in ((one, other), (other, one))
    )


def _too_long(problem: Problem, limits: Limits) -> str:
    """Returns a sentence where an expected output is longer than any program may print."""
    for index, case in enumerate(problem.cases):
        if (size := len(case.expected.encode())) >= limits.output_bytes and problem.asks_for_program:
            return (
                f"the expected output of case {index} has {size} bytes, and a program may print fewer than "
                f"{limits.output_bytes}: set judge.output_mib to {(size >> 20) + 1}, or shorten it"
            )
    return ""


def _with_verdict(finding: Finding, judgement: Judgement) -> Finding:
    verdict = str(judgement["verdict"]).replace("_", " ")
    if judgement["accepted"]:
        return replace(finding, reference=verdict)
    wrong = (
        f"its own right program is not accepted: {verdict} on case {judgement['first_failure']}, "
        f"{judgement['passed']} of {judgement['total']} cases passed"
    )
    return replace(finding, reference=verdict, wrong=wrong)
