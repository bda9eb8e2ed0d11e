"""How hard questions are for a model: counts of attempts, pass@64 with an interval, the paper's bands, what runs cost.

The bands are the paper's: hard is pass@64 below 0.5, very hard below 0.03. A pool of 64 attempts can say no more of
pass@64 than that one succeeded or none, so the interval stands beside it; it takes some 1,000 to tell the two apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from ttsd.nouns import Attempt
from ttsd.statistics import LEVEL, Interval, Pool, proportion_interval

AT = 64
HARD, VERY_HARD = 0.5, 0.03  # pass@64 below
BANDS = ("easy", "hard", "very-hard")


@dataclass(frozen=True, slots=True)
class Drawn:
    """Attempts on one question under one kind of prompt: which of them passed everything, and how much was visible."""

    accepted: tuple[bool, ...]
    visible: tuple[float, ...]
    tokens: float = 0.0  # of a completion, on average

    @classmethod
    def of(cls, rollouts: Sequence[Attempt]) -> Drawn:
        verdicts = [rollout.verdict for rollout in rollouts]
        tokens = fmean(len(rollout.completion.token_ids) for rollout in rollouts) if rollouts else 0.0
        return cls(tuple(one.accepted for one in verdicts), tuple(one.visible_fraction for one in verdicts), tokens)

    @property
    def attempts(self) -> int:
        return len(self.accepted)

    @property
    def successes(self) -> int:
        return sum(self.accepted)

    @property
    def accuracy(self) -> float:
        return self.successes / self.attempts


@dataclass(frozen=True, slots=True)
class Measured:
    """One question: the student's attempts, and those of the self-teacher in each form of hindsight that was tried."""

    question: str
    student: Drawn
    teacher: Mapping[str, Drawn] = field(default_factory=dict)

    @property
    def pass_at_64(self) -> float:
        """Unbiased; of fewer attempts, what 64 draws with their share of successes would give."""
        drawn = self.student
        if drawn.attempts < AT:
            return float(1 - (1 - drawn.accuracy) ** AT)
        return float(Pool(drawn.attempts, drawn.successes).discovered(AT))

    def interval(self, k: int = AT, level: float = LEVEL) -> Interval:
        """Of pass@k: the bounds on one draw's chance, carried to k draws."""
        bounds = proportion_interval(self.student.successes, self.student.attempts, level)
        return Interval(*(float(1 - (1 - bound) ** k) for bound in bounds))

    @property
    def band(self) -> str:
        return band_of(self.pass_at_64)

    @property
    def certain(self) -> bool:
        """Whether the whole interval lies in the band."""
        interval = self.interval()
        return band_of(interval.low) == band_of(interval.high)

    def expected_attempts(self, budget: int) -> float:
        """Of a best-of-k run that ends at its discovery or at `budget`."""
        p = self.student.accuracy
        return (1 - (1 - p) ** budget) / p if p else float(budget)


def band_of(pass_at_64: float) -> str:
    return BANDS[(pass_at_64 < HARD) + (pass_at_64 < VERY_HARD)]


def rows(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """One row a question, for a table or a script."""
    return [
        {
            "question": one.question,
            "attempts": one.student.attempts,
            "successes": one.student.successes,
            "accuracy": short(one.student.accuracy),
            "visible": short(fmean(one.student.visible)),
            "pass@64": short(one.pass_at_64),
            "low": short(one.interval().low),
            "high": short(one.interval().high),
            "band": one.band,
            "certain": one.certain,
            "tokens": round(one.student.tokens),
        }
        for one in measured
    ]


def short(value: float | None) -> float | None:
    """Three significant digits."""
    return None if value is None else float(np.format_float_positional(value, 3, fractional=False))


@dataclass(frozen=True, slots=True)
class Estimate:
    """For all questions together, one run each; sampling and judging alone, without gradient steps."""

    what: str
    attempts: float
    tokens: float
    hours: float | None


def estimates(measured: Sequence[Measured], seconds: float | None, budget: int) -> list[Estimate]:
    """What runs of `budget` attempts would cost, if every discovery came as it does by chance, and if none came.

    `seconds`: of an attempt; None where nothing was timed.
    """
    found = []
    for what, spent in (
        (f"best-of-k to its discovery, budget {budget}", [one.expected_attempts(budget) for one in measured]),
        (f"no discovery, budget {budget}", [float(budget) for _ in measured]),
    ):
        tokens = sum(number * one.student.tokens for number, one in zip(spent, measured, strict=True))
        hours = None if seconds is None else sum(spent) * seconds / 3600
        found.append(Estimate(what, sum(spent), tokens, hours))
    return found


def write_subsets(measured: Sequence[Measured], out: Path) -> list[Path]:
    """A subset file for each band that has questions, beside `out`: `NAME-hard.toml`; hard holds the very hard too."""
    bands = {band: [one.question for one in measured if one.band == band] for band in BANDS}
    bands["hard"] = [one.question for one in measured if one.band != "easy"]
    written = []
    for band, questions in bands.items():
        if questions:
            path = out.with_name(f"{out.name.removesuffix('.toml')}-{band}.toml")
            path.write_text(f"# {band} for this model, by ttsd probe\nquestions = {_listed(questions)}\n", "utf-8")
            written.append(path)
    return written


def _listed(questions: Sequence[str]) -> str:
    return "[\n" + "".join(f"  {json.dumps(question, ensure_ascii=False)},\n" for question in questions) + "]"
