"""The evidence that is counted: what the runs of a question and a method say about discovery within a cost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from ttsd.reporting.report.record import COSTS, Cost, Run, Tally
from ttsd.statistics import Array, Evidence, Pool, Resamples, Times, mean_bounds

GRID = 400  # points on which curves are estimated


class Book:
    """The evidence of each question and method, per cost."""

    def __init__(self, record: Tally) -> None:
        self.record = record
        self._evidence: dict[tuple[str, str, Cost], Evidence] = {}
        for question, method in itertools.product(record.questions, record.methods):
            for cost in COSTS:
                found = evidence(record.of(question, method), cost)
                if found is not None:
                    self._evidence[question, method, cost] = found

    def get(self, question: str, method: str, cost: Cost = "attempts") -> Evidence | None:
        return self._evidence.get((question, method, cost))

    def common(self, methods: Sequence[str], cost: Cost = "attempts") -> tuple[str, ...]:
        """Returns the questions on which all of `methods` have evidence."""
        return tuple(q for q in self.record.questions if all(self.get(q, m, cost) for m in methods))

    def budget(self, methods: Sequence[str]) -> float:
        """Returns the attempts that a run of each of `methods` was given.

        A pool of several runs holds more than that.
        """
        given = {method: [run.budget for run in self.record.runs if run.method == method] for method in methods}
        return float(min(max(budgets) for budgets in given.values()))

    def across(self, questions: Sequence[str], method: str, cost: Cost = "attempts") -> list[Evidence]:
        return [self._evidence[question, method, cost] for question in questions]


def evidence(runs: Sequence[Run], cost: Cost) -> Evidence | None:
    """Returns what runs of one question and method say about discovery within a cost; None: unknown."""
    if not runs or any(run.spent[cost] is None for run in runs):
        return None
    spent = [run.spent[cost] or 0.0 for run in runs]
    answered = sum(run.answered for run in runs)
    if answered and all(run.pooled for run in runs):
        return Pool(answered, sum(run.successes for run in runs), 1.0 if cost == "attempts" else sum(spent) / answered)
    until = [run.until[cost] for run in runs]
    if any(run.discovery is not None and known is None for run, known in zip(runs, until, strict=True)):
        return None
    times = [known if known is not None else most for known, most in zip(until, spent, strict=True)]
    return Times(np.array(times, dtype=float), np.array([run.discovery is not None for run in runs]))


def reach(evidence: Sequence[Evidence]) -> float:
    """Returns the largest cost that all evidence speaks about; where all is complete, the largest that occurred."""
    horizon = min(one.horizon for one in evidence)
    return horizon if math.isfinite(horizon) else max(last_cost(one) for one in evidence)


def last_cost(one: Evidence) -> float:
    """Returns the largest cost that occurred."""
    return one.horizon if isinstance(one, Pool) else float(one.times.max())


def grid(evidence: Sequence[Evidence], cost: Cost, end: float, points: int = GRID) -> Array:
    """Costs from the least to `end`, evenly spaced in their logarithm; attempts and rounds as whole numbers."""
    if cost in ("attempts", "rounds"):
        return np.unique(np.append(np.round(np.geomspace(1, end, points)), end))
    least = min(one.cost if isinstance(one, Pool) else float(one.times.min()) for one in evidence)
    costs = np.geomspace(max(min(least, end) * 0.99, end * 1e-6), end, points)
    costs[-1] = end
    return costs


def curves(evidence: Sequence[Evidence], at: Array) -> Array:
    """Returns (questions, grid) discovery probabilities."""
    return np.stack([one.discovered(at) for one in evidence])


def pooled_bounds(pooled: Sequence[Evidence], at: Array, resamples: Resamples) -> tuple[Array, Array]:
    """Returns bounds on the mean discovery; of a single question, those of its own runs."""
    if len(pooled) == 1:
        return pooled[0].interval(at)
    return mean_bounds(curves(pooled, at), resamples)


def rounded(value: float | None) -> float | int | None:
    """Rounds to six significant digits; whole numbers as such; None for what is unknown or unbounded."""
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.6g}")
    return int(short) if short.is_integer() else short
