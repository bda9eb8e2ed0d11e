"""Judges answers that are no programs: final answers, and whatever a judge of the user's own can score.

There is one case and it is visible; its expected answer, where there is one, appears in no feedback.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from problems.problem import Problem
from sandbox.interface import Limits
from ttsd.judging.extract import extract_answer
from ttsd.judging.feedback import (
    MAX_CHARACTERS,
    MAX_FIELD_CHARACTERS,
    NO_ANSWER,
    TRUNCATED,
    clip,
    limit_feedback,
    score_feedback,
    unfinished_feedback,
    wrong_answer_feedback,
)
from ttsd.judging.scoring import Score, Scorer
from ttsd.nouns import Completion, Status, Verdict
from ttsd.terminal import readable
from ttsd.thinking import without_thinking

MAX_ANSWER_CHARACTERS = 1 << 20


class AnswerJudge:
    """Judges a question of the kinds `answer` and `judge`; it is called like the judge of programs."""

    def __init__(self, problem: Problem, scorer: Scorer, limits: Limits) -> None:
        self.limits = limits
        self._problem = problem
        self._scorer = scorer

    async def __call__(self, completion: Completion) -> tuple[str | None, Verdict]:
        """Returns what was judged (None: there is no final answer), and the verdict."""
        truncated = completion.finish_reason == "length"
        answer = self._answer(completion.text)
        if answer is None:
            missing = (Status.TRUNCATED, TRUNCATED) if truncated else (Status.NO_PROGRAM, NO_ANSWER)
            return None, _verdict(*missing)
        return answer, await self._judged(answer, truncated=truncated)

    async def program(self, source: str) -> Verdict:
        """Judges an answer given by hand: a bare one, or one that is marked as the final answer."""
        return await self._judged(self._answer(source) or source.strip())

    def _answer(self, text: str) -> str | None:
        if self._problem.kind == "answer":
            return extract_answer(text)
        return without_thinking(text).strip()[:MAX_ANSWER_CHARACTERS]

    async def _judged(self, answer: str, *, truncated: bool = False) -> Verdict:
        called = f"judge {self._problem.judge!r} of {self._problem.name}"
        score = await self._scorer.asked(answer, called, f"answer {clip(answer, MAX_FIELD_CHARACTERS)!r}")
        if score.ended:
            status = Status.TIME_LIMIT if score.ended == "time" else Status.MEMORY_LIMIT
            return _verdict(status, limit_feedback(status))
        if self._problem.kind == "answer":
            return _compared(answer, score)
        if score.value >= 1:
            return _verdict(Status.ACCEPTED, "", score.value)
        said = readable(clip(score.feedback, MAX_CHARACTERS))
        return _verdict(Status.WRONG_ANSWER, score_feedback(score.value, said, truncated=truncated), score.value)


def _compared(answer: str, score: Score) -> Verdict:
    if score.value:
        return _verdict(Status.ACCEPTED, "")
    shown = readable(clip(answer, MAX_FIELD_CHARACTERS))
    if score.unfinished:
        return _verdict(Status.UNFINISHED, unfinished_feedback(shown, readable(score.unfinished)))
    return _verdict(Status.WRONG_ANSWER, wrong_answer_feedback(shown))


def scorer_spec(problem: Problem, limits: Limits) -> Mapping[str, Any]:
    """Returns what the scorer has to run (scoring/worker.py)."""
    if problem.judge is not None:
        return {"kind": "judge", "judge": problem.judge}
    assert problem.answer_rule is not None
    rule, expected = problem.answer_rule, problem.cases[0].expected
    return {
        "kind": "answer",
        "expected": expected,
        "exact": rule.exact,
        "tolerance": rule.tolerance,
        "memory_bytes": limits.memory_bytes,
        "cpu_seconds": limits.cpu_seconds,
    }


def _verdict(status: Status, feedback: str, score: float | None = None) -> Verdict:
    passed = int(status is Status.ACCEPTED)
    return Verdict(status, passed, 1, 0, 0, first_failure=None if passed else 0, feedback=feedback, score=score)
