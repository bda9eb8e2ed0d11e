"""At how many attempts a share of runs has made its discovery, and how many times fewer that is than a reference's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ttsd.reporting.report.book import curves, reach
from ttsd.statistics import Array, Evidence, Interval, Resamples


@dataclass(frozen=True, slots=True)
class Milestone:
    """Attempts at which a share of runs is discovered (infinite: beyond what was seen), and in each resample."""

    attempts: float
    resampled: Array
    seen: float


@dataclass(frozen=True, slots=True)
class Gain:
    """How many times fewer attempts; `over`: at least that many, for the reference was not followed to the end."""

    times: float
    interval: Interval
    over: bool


def milestone(level: float, evidence: Sequence[Evidence], resamples: Resamples) -> Milestone:
    """Where mean discovery is `level` first. Evidence is followed as far as it goes.

    best-of-k's samples of all seeds are one pool, which reaches several times as far as its budget.
    """
    seen = reach(evidence)
    at: Array = np.arange(1, int(seen) + 1).astype(float)
    known = curves(evidence, at)
    (attempts,) = _first(level, known.mean(axis=0)[None], at)
    return Milestone(float(attempts), _first(level, resamples.means(known), at), seen)


def gain(mine: Milestone, theirs: Milestone, resamples: Resamples) -> Gain:
    """How many times fewer attempts `mine` are than `theirs`, the reference's; NaN where mine don't get there.

    A resample that doesn't get there counts against the one that didn't, but of the reference no more is trusted
    than was seen.
    """
    low, _ = resamples.bounds(_times(np.minimum(theirs.resampled, theirs.seen), mine.resampled), widened=False)
    _, high = resamples.bounds(_times(theirs.resampled, mine.resampled), widened=False)
    times = min(theirs.attempts, theirs.seen) / mine.attempts if math.isfinite(mine.attempts) else math.nan
    return Gain(times, Interval(float(low), float(high)), math.isinf(theirs.attempts))


def _times(theirs: Array, mine: Array) -> Array:
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(mine), theirs / mine, 0.0)


def _first(level: float, curves: Array, at: Array) -> Array:
    there = curves >= level - 1e-12
    return np.where(there.any(axis=-1), at[there.argmax(axis=-1)], np.inf)
