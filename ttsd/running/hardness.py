"""How hard questions are for a model: counts of attempts, pass@64 with an interval, and the paper's bands.

The bands are the paper's: hard is pass@64 below 0.5, very hard below 0.03. A pool of 64 attempts can say no more of
pass@64 than that one succeeded or none, so each has its interval; it takes some 1,000 to tell the two apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from ttsd.nouns import Attempt
from ttsd.statistics import Interval, Pool, proportion_interval

AT = 64
HARD, VERY_HARD = 0.5, 0.03  # pass@64 below
BANDS = ("easy", "hard", "very-hard")


@dataclass(frozen=True, slots=True)
class Sample:
    """Attempts on one question with one kind of prompt: which passed everything, and the share that each passed."""

    accepted: tuple[bool, ...]
    visible: tuple[float, ...]
    tokens: float = 0.0  # of a completion, on average

    @classmethod
    def of(cls, attempts: Sequence[Attempt]) -> Sample:
        """Counts `attempts`."""
        verdicts = [attempt.verdict for attempt in attempts]
        tokens = fmean(attempt.completion.tokens for attempt in attempts) if attempts else 0.0
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
    """One question: attempts at the question alone, and those with feedback, by kind."""

    question: str
    plain: Sample
    feedback: Mapping[str, Sample] = field(default_factory=dict)

    @property
    def pass_at_64(self) -> float:
        """Estimates it without bias; from fewer attempts, what 64 with their share of successes would give."""
        sample = self.plain
        if sample.attempts < AT:
            return float(1 - (1 - sample.accuracy) ** AT)
        return float(Pool(sample.attempts, sample.successes).discovered(AT))

    @property
    def interval(self) -> Interval:
        """Returns bounds on pass@64: those on one attempt's chance, carried to 64 attempts."""
        bounds = proportion_interval(self.plain.successes, self.plain.attempts)
        return Interval(*(float(1 - (1 - bound) ** AT) for bound in bounds))

    @property
    def band(self) -> str:
        return band_of(self.pass_at_64)

    @property
    def certain(self) -> bool:
        """Tells whether the whole interval is within the band."""
        return band_of(self.interval.low) == band_of(self.interval.high)


def band_of(pass_at_64: float) -> str:
    return BANDS[(pass_at_64 < HARD) + (pass_at_64 < VERY_HARD)]


def rows(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """Returns one row a question, for a table or a script."""
    return [
        {
            "question": one.question,
            "attempts": one.plain.attempts,
            "successes": one.plain.successes,
            "accuracy": short(one.plain.accuracy),
            "visible": short(fmean(one.plain.visible)),
            "pass@64": short(one.pass_at_64),
            "low": short(one.interval.low),
            "high": short(one.interval.high),
            "band": one.band,
            "certain": one.certain,
            "tokens": round(one.plain.tokens),
        }
        for one in measured
    ]


def short(value: float | None) -> float | None:
    """Rounds to three significant digits."""
    return None if value is None else float(f"{value:.3g}")


def write_subsets(measured: Sequence[Measured], out: Path) -> list[Path]:
    """Writes `NAME-hard.toml` and so on next to `out`, for each band that has questions; hard has the very hard too."""
    bands = {band: [one.question for one in measured if one.band == band] for band in BANDS}
    bands["hard"] = [one.question for one in measured if one.band != "easy"]
    written = []
    for band, questions in bands.items():
        if questions:
            path = out.with_name(f"{out.name.removesuffix('.toml')}-{band}.toml")
            lines = [f"  {json.dumps(question, ensure_ascii=False)}," for question in questions]
            listed = "\n".join(["questions = [", *lines, "]"])
            path.write_text(f"# {band} for this model, by ttsd probe\n{listed}\n", "utf-8")
            written.append(path)
    return written
