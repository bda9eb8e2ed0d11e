"""From counted runs to the numbers that are drawn: curves, tables and comparisons, as plain rows for CSV and JSON.

Every number is estimated at a budget that all compared evidence reaches; where evidence ends, curves end.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from ttsd.reporting.alarms import alarms as metric_alarms
from ttsd.reporting.report.record import COSTS, Cost, Record, Run
from ttsd.running.store import Row
from ttsd.statistics import (
    Array,
    Evidence,
    Pool,
    Resamples,
    Times,
    compare,
    log_rank,
    mean_bounds,
    ratio_of_means,
    rising,
    speed_up,
)

GRID = 400  # points on which curves are estimated
DRAWN = 120  # and drawn


@dataclass(frozen=True, slots=True)
class Findings:
    """Rows of plain values. `budget` is the number of attempts at which methods are compared (None: no runs)."""

    budget: int | None
    common: tuple[str, ...]  # questions that every method attempted: the pooled ones
    limited_by: str
    methods: list[Row]
    comparisons: list[Row]
    questions: list[Row]
    runs: list[Row]
    pooled_curves: list[Row]
    question_curves: list[Row]
    learning: list[Row]


class Book:
    """The evidence of each question and method, per cost."""

    def __init__(self, record: Record) -> None:
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
        """Questions on which all of `methods` have evidence."""
        return tuple(q for q in self.record.questions if all(self.get(q, m, cost) for m in methods))

    @property
    def longest(self) -> float:
        """How far the longest runs went, in attempts: what a question's discovery is given at, where it is known."""
        every = [one for (_, _, cost), one in self._evidence.items() if cost == "attempts"]
        runs = [_last(one) for one in every if isinstance(one, Times)]
        return max(runs or [one.horizon for one in every])

    def across(self, questions: Sequence[str], method: str, cost: Cost = "attempts") -> list[Evidence]:
        return [self._evidence[question, method, cost] for question in questions]


def find(record: Record) -> Findings:
    """All numbers of the report."""
    book = Book(record)
    methods = record.methods
    common = book.common(methods)
    every = [e for method in methods for e in book.across(common, method)]
    budget = int(reach(every)) if every else None
    resamples = Resamples(len(common)) if common else None
    return Findings(
        budget=budget,
        common=common,
        limited_by=_shortest(book, common, methods, budget),
        methods=[_method(book, method, common, budget, resamples) for method in methods],
        comparisons=[_comparison(book, one, other) for one, other in itertools.combinations(methods, 2)],
        questions=[row for question in record.questions for row in _question(book, question)],
        runs=[_run_row(record, run) for run in record.runs],
        pooled_curves=[
            row for cost in COSTS for method in methods for row in _pooled_curve(book, common, method, cost)
        ],
        question_curves=[row for question in record.questions for row in _question_curves(book, question)],
        learning=[{"run": run, **point} for run, points in record.curves.items() for point in points],
    )


def evidence(runs: Sequence[Run], cost: Cost) -> Evidence | None:
    """What some runs of one question and method say about discovery within a cost; None where it isn't known."""
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
    """The largest cost that all evidence speaks about; where all of it is complete, the largest that occurred."""
    horizon = min(one.horizon for one in evidence)
    return horizon if math.isfinite(horizon) else max(_last(one) for one in evidence)


def _last(one: Evidence) -> float:
    """The largest cost that occurred."""
    return one.horizon if isinstance(one, Pool) else float(one.times.max())


def grid(evidence: Sequence[Evidence], cost: Cost, end: float, points: int = GRID) -> Array:
    """Costs from the least that occurred to `end`, evenly spaced in their logarithm; whole numbers of attempts."""
    if cost == "attempts":
        return np.unique(np.append(np.round(np.geomspace(1, end, points)), end))
    least = min(one.cost if isinstance(one, Pool) else float(one.times.min()) for one in evidence)
    costs = np.geomspace(max(min(least, end) * 0.99, end * 1e-6), end, points)
    costs[-1] = end
    return costs


def curves(evidence: Sequence[Evidence], at: Array) -> Array:
    """(questions, grid) discovery probabilities."""
    return np.stack([one.discovered(at) for one in evidence])


def _shortest(book: Book, common: Sequence[str], methods: Sequence[str], budget: int | None) -> str:
    """Names the evidence that ends first, where runs of others went on."""
    known = {f"{m} on {q}": e for q in common for m in methods if (e := book.get(q, m)) is not None}
    went_on = (e.horizon for e in known.values() if isinstance(e, Times) and math.isfinite(e.horizon))
    if budget is None or max(went_on, default=0.0) <= budget:
        return ""
    return min(known, key=lambda name: known[name].horizon)


def _method(book: Book, method: str, common: Sequence[str], budget: int | None, resamples: Resamples | None) -> Row:
    runs = [run for run in book.record.runs if run.method == method]
    row: Row = {
        "method": method,
        "questions": len({run.question for run in runs}),
        "questions_discovered": len({run.question for run in runs if run.discovery is not None}),
        "runs": len(runs),
        "runs_discovered": sum(run.discovery is not None for run in runs),
        "runs_going_on": sum(run.status == "running" for run in runs),
        "attempts": sum(run.attempts for run in runs),
        "visible_only_attempts": sum(run.visible_only for run in runs),
        "visible_only_runs": sum(run.visible_only > 0 for run in runs),
        **{name: _rounded(sum(run.work[name] for run in runs)) for name in runs[0].work},
        "estimator": "pass@k" if all(run.pooled for run in runs) else "survival",
    }
    if budget is None or resamples is None:
        return row
    pooled = book.across(common, method)
    at = np.array([float(budget)])
    low, high = _pooled_bounds(pooled, at, resamples)
    capped = np.array([one.capped_mean(budget) for one in pooled])
    capped_low, capped_high = resamples.bounds(resamples.means(capped))
    return row | {
        "k": budget,
        "discovery": _rounded(curves(pooled, at).mean()),
        "discovery_low": _rounded(low[0]),
        "discovery_high": _rounded(high[0]),
        "capped_mean_attempts": _rounded(capped.mean()),
        "capped_mean_low": _rounded(float(capped_low)),
        "capped_mean_high": _rounded(float(capped_high)),
    }


def _pooled_bounds(pooled: Sequence[Evidence], at: Array, resamples: Resamples) -> tuple[Array, Array]:
    """Bounds on the mean discovery; of a single question, those of its own runs."""
    if len(pooled) == 1:
        return pooled[0].interval(at)
    return mean_bounds(curves(pooled, at), resamples)


def _comparison(book: Book, one: str, other: str) -> Row:
    """Two methods on the questions that both attempted, at the budget that both reach."""
    row: Row = {"method": one, "against": other}
    questions = book.common((one, other))
    if not questions:
        return row | {"questions": 0}
    resamples = Resamples(len(questions))
    mine, theirs = book.across(questions, one), book.across(questions, other)
    budget = int(reach([*mine, *theirs]))
    at = np.array([float(budget)])
    gained = compare(curves(mine, at)[:, 0], curves(theirs, at)[:, 0], resamples)
    capped, their_capped = (np.array([e.capped_mean(budget) for e in side]) for side in (mine, theirs))
    average, bounds = ratio_of_means(capped, their_capped, resamples)
    single = len(questions) == 1
    unseen = single or gained.better == gained.worse == 0  # resamples of equal differences only repeat them
    row |= {
        "questions": len(questions),
        "k": budget,
        "difference": _rounded(gained.difference),
        "difference_low": None if unseen else _rounded(gained.bounds.low),
        "difference_high": None if unseen else _rounded(gained.bounds.high),
        "p": _rounded(gained.p) if not single else None,
        "questions_better": gained.better,
        "questions_worse": gained.worse,
        "capped_mean_ratio": _rounded(average),
        "capped_mean_ratio_low": None if single else _rounded(bounds.low),
        "capped_mean_ratio_high": None if single else _rounded(bounds.high),
    }
    return row | {name: value for cost in COSTS for name, value in _speed_up(book, one, other, cost).items()}


def _speed_up(book: Book, one: str, other: str, cost: Cost) -> Row:
    questions = book.common((one, other), cost)
    if not questions:
        return {}
    mine, theirs = book.across(questions, one, cost), book.across(questions, other, cost)
    at = grid([*mine, *theirs], cost, reach([*mine, *theirs]))
    found = speed_up(curves(mine, at), curves(theirs, at), at, Resamples(len(questions)))
    single = len(questions) == 1
    return {
        f"speed_up_{cost}": _rounded(found.ratio),
        f"speed_up_{cost}_low": None if single else _rounded(found.bounds.low),
        f"speed_up_{cost}_high": None if single else _rounded(found.bounds.high),
        f"speed_up_{cost}_at": _rounded(found.at),
    }


def _question(book: Book, question: str) -> list[Row]:
    rows = []
    solved = any(run.discovery is not None for run in book.record.runs if run.question == question)
    for method in book.record.methods:
        runs, found = book.record.of(question, method), book.get(question, method)
        if found is None:
            continue
        at = float(int(min(found.horizon, book.longest)))
        (low,), (high,) = found.interval(np.array([at]))
        rows.append(
            {
                "question": question,
                "method": method,
                "solved_by_any": solved,
                "runs": len(runs),
                "runs_discovered": sum(run.discovery is not None for run in runs),
                "first_discovery": min((run.discovery for run in runs if run.discovery), default=None),
                "attempts": sum(run.attempts for run in runs),
                "k": int(at),
                "discovery": _rounded(found.discovered([at])[0]),
                "discovery_low": _rounded(low),
                "discovery_high": _rounded(high),
                "capped_mean_attempts": _rounded(found.capped_mean(int(at))),
                "visible_only_attempts": sum(run.visible_only for run in runs),
                "best_visible": _rounded(max(run.best_visible for run in runs)),
                **_log_rank(book, question, method),
            }
        )
    return rows


def _log_rank(book: Book, question: str, method: str) -> Row:
    """Log-rank p-value against the first method, where both have one time a run."""
    first = book.record.methods[0]
    reference, mine = book.get(question, first), book.get(question, method)
    if method == first or not isinstance(reference, Times) or not isinstance(mine, Times):
        return {"log_rank_p": None}
    return {"log_rank_p": _rounded(log_rank(reference, mine))}


def _run_row(record: Record, run: Run) -> Row:
    metrics = record.metrics.get(run.run, [])
    return {
        "run": run.run,
        "question": run.question,
        "method": run.method,
        "seed": run.seed,
        "status": run.status,
        "attempts": run.attempts,
        "discovery_attempt": run.discovery,
        "tokens": run.spent["tokens"],
        "tokens_until_discovery": run.until["tokens"],
        "seconds": _rounded(run.spent["seconds"]),
        "seconds_until_discovery": _rounded(run.until["seconds"]),
        "visible_only_attempts": run.visible_only,
        "best_visible": _rounded(run.best_visible),
        "alarms": "; ".join([*metric_alarms(metrics), *alarms(record.curves.get(run.run, []))] if metrics else []),
    }


def _pooled_curve(book: Book, common: Sequence[str], method: str, cost: Cost) -> list[Row]:
    if not common or any(book.get(question, method, cost) is None for question in common):
        return []
    pooled = book.across(common, method, cost)
    horizon = min(one.horizon for one in pooled)
    end = horizon if math.isfinite(horizon) else _farthest(book, common, cost)
    at = grid(pooled, cost, end, DRAWN)
    low, high = rising(*_pooled_bounds(pooled, at, Resamples(len(common))))
    return _points({"method": method, "cost": cost}, at, curves(pooled, at).mean(axis=0), low, high)


def _farthest(book: Book, common: Sequence[str], cost: Cost) -> float:
    """How far a curve is drawn that has reached 1."""
    return max(_last(e) for m in book.record.methods for q in common if (e := book.get(q, m, cost)) is not None)


def _question_curves(book: Book, question: str) -> list[Row]:
    rows = []
    for method in book.record.methods:
        found = book.get(question, method)
        if found is None:
            continue
        end = found.horizon if math.isfinite(found.horizon) else _farthest(book, [question], "attempts")
        at = grid([found], "attempts", end, DRAWN // 3) if isinstance(found, Pool) else _corners(found, end)
        low, high = rising(*found.interval(at))
        rows += _points({"question": question, "method": method}, at, found.discovered(at), low, high)
    return rows


def _corners(found: Times, end: float) -> Array:
    """The points at which a step curve moves, and its ends."""
    inside = found.times[found.observed & (found.times <= end)]
    return np.unique(np.concatenate([[1.0], inside, [end]]))


def _points(names: Row, at: Array, estimate: Array, low: Array, high: Array) -> list[Row]:
    rounded = zip(*(map(_rounded, column) for column in (at, estimate, low, high)), strict=True)
    return [names | dict(zip(("at", "discovery", "low", "high"), values, strict=True)) for values in rounded]


def alarms(points: Sequence[Mapping[str, float | None]]) -> list[str]:
    """What the judge saw in a run that learns and what is known to go before failure; `health` knows the trainer's.

    First and last are medians over a third of the curve, so that one odd step is no alarm.
    """
    if len(points) < 3:
        return []
    found = []
    for name, alarm in ALARMS.items():
        values = [float(value) for point in points if (value := point.get(name)) is not None]
        part = len(values) // 3
        if part and (text := alarm(median(values[:part]), median(values[-part:]), max(values))):
            found.append(text)
    return found


Alarm = Callable[[float, float, float], str | None]  # of the first, the last and the largest value
ALARMS: dict[str, Alarm] = {
    "truncated": lambda first, last, most: (
        f"{last:.0%} of the answers reach the length limit: raise sampling.max_tokens" if last > 0.5 else None
    ),
    "visible_fraction": lambda first, last, most: (
        f"passed visible cases fell from {most:.0%} to {last:.0%}: lower lora.lr"
        if most >= 0.2 and last < most / 4
        else None
    ),
    "distinct_programs": lambda first, last, most: (
        f"only {last:.0%} of the programs still differ: lower lora.lr" if last < 0.15 and last < first / 2 else None
    ),
}


def _rounded(value: float | None) -> float | int | None:
    """Six significant digits; whole numbers as such; None for what is unknown or unbounded."""
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.6g}")
    return int(short) if short.is_integer() else short
