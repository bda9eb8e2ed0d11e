"""From counted runs to the numbers that are shown: curves, tables and comparisons, as plain rows for CSV and JSON.

Every number is estimated at a budget that all compared evidence reaches; where evidence ends, curves end.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ttsd.record.store import Row
from ttsd.reporting.alarms import alarms, attempt_alarms
from ttsd.reporting.report.book import Book, curves, grid, pooled_bounds, reach, rounded
from ttsd.reporting.report.curve_rows import discovery_curves
from ttsd.reporting.report.record import COSTS, Cost, Run, Tally
from ttsd.statistics import Array, Evidence, Resamples, Times, compare, log_rank, ratio_of_means, speed_up

LEVELS = (0.5, 0.8)  # shares of discoveries whose attempts are reported


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


def find(record: Tally) -> Findings:
    """Returns all numbers of the report."""
    book = Book(record)
    methods = record.methods
    common = book.common(methods)
    every = [e for method in methods for e in book.across(common, method)]
    budget = int(min(reach(every), book.budget(methods))) if every else None
    resamples = Resamples(len(common)) if common else None
    pooled, by_question = discovery_curves(book)
    return Findings(
        budget=budget,
        common=common,
        limited_by=_shortest(book, common, methods, budget),
        methods=[_method(book, method, common, budget, resamples) for method in methods],
        comparisons=[_comparison(book, one, other) for one, other in itertools.combinations(methods, 2)],
        questions=[row for question in record.questions for row in _question(book, question)],
        runs=[_run_row(record, run) for run in record.runs],
        pooled_curves=pooled,
        question_curves=by_question,
        learning=[{"run": run, **point} for run, points in record.curves.items() for point in points],
    )


def _shortest(book: Book, common: Sequence[str], methods: Sequence[str], budget: int | None) -> str:
    """Names what ends first, runs or the budget that a method was given, where runs of others went on."""
    known = {f"{m} on {q}": e for q in common for m in methods if (e := book.get(q, m)) is not None}
    went_on = (e.horizon for e in known.values() if isinstance(e, Times) and math.isfinite(e.horizon))
    if budget is None or max(went_on, default=0.0) <= budget:
        return ""
    first = min(known, key=lambda name: known[name].horizon)
    given = min(methods, key=lambda method: book.budget([method]))
    return first if known[first].horizon <= book.budget([given]) else f"the budget of {given}"


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
        **{name: rounded(sum(run.work[name] for run in runs)) for name in runs[0].work},
        "estimator": "pass@k" if all(run.pooled for run in runs) else "survival",
    }
    if budget is None or resamples is None:
        return row
    pooled = book.across(common, method)
    at = np.array([float(budget)])
    low, high = pooled_bounds(pooled, at, resamples)
    capped = np.array([one.capped_mean(budget) for one in pooled])
    capped_low, capped_high = resamples.bounds(resamples.means(capped))
    return row | {
        "k": budget,
        "discovery": rounded(curves(pooled, at).mean()),
        **_bounds("discovery", low[0], high[0]),
        "capped_mean_attempts": rounded(capped.mean()),
        **_bounds("capped_mean", capped_low, capped_high),
        **_milestones(pooled, resamples),
    }


def _milestones(pooled: Sequence[Evidence], resamples: Resamples) -> Row:
    """Returns the attempts at which mean discovery first reaches each of LEVELS, with bounds; None: unknown.

    Evidence is followed as far as it goes: a pool of best-of-k reaches several times as far as a run's budget.
    """
    at = np.arange(1, int(reach(pooled)) + 1).astype(float)
    known = curves(pooled, at)
    mean, resampled = known.mean(axis=0), resamples.means(known)
    row: Row = {}
    for level in LEVELS:
        name = f"attempts_at_{level:.0%}".removesuffix("%")
        low, high = resamples.bounds(_first(level, resampled, at), widened=False)
        row |= {name: rounded(float(_first(level, mean, at))), **_bounds(name, low, high)}
    return row


def _first(level: float, curve: Array, at: Array) -> Array:
    reached = curve >= level - 1e-12
    return np.where(reached.any(axis=-1), at[reached.argmax(axis=-1)], np.inf)


def _comparison(book: Book, one: str, other: str) -> Row:
    """Compares two methods on the questions that both attempted, at the budget that both reach."""
    row: Row = {"method": one, "against": other}
    questions = book.common((one, other))
    if not questions:
        return row | {"questions": 0}
    resamples = Resamples(len(questions))
    mine, theirs = book.across(questions, one), book.across(questions, other)
    budget = int(min(reach([*mine, *theirs]), book.budget((one, other))))
    at = np.array([float(budget)])
    gained = compare(curves(mine, at)[:, 0], curves(theirs, at)[:, 0], resamples)
    capped, their_capped = (np.array([e.capped_mean(budget) for e in side]) for side in (mine, theirs))
    average, bounds = ratio_of_means(capped, their_capped, resamples)
    single = len(questions) == 1
    unseen = single or gained.better == gained.worse == 0  # resamples of equal differences only repeat them
    row |= {
        "questions": len(questions),
        "k": budget,
        "difference": rounded(gained.difference),
        **_bounds("difference", gained.bounds.low, gained.bounds.high, known=not unseen),
        "p": rounded(gained.p) if not single else None,
        "questions_better": gained.better,
        "questions_worse": gained.worse,
        "capped_mean_ratio": rounded(average),
        **_bounds("capped_mean_ratio", bounds.low, bounds.high, known=not single),
    }
    return row | {name: value for cost in COSTS for name, value in _speed_up(book, one, other, cost).items()}


def _speed_up(book: Book, one: str, other: str, cost: Cost) -> Row:
    questions = book.common((one, other), cost)
    if not questions:
        return {}
    mine, theirs = book.across(questions, one, cost), book.across(questions, other, cost)
    at = grid([*mine, *theirs], cost, reach([*mine, *theirs]))
    found = speed_up(curves(mine, at), curves(theirs, at), at, Resamples(len(questions)))
    return {
        f"speed_up_{cost}": rounded(found.ratio),
        **_bounds(f"speed_up_{cost}", found.bounds.low, found.bounds.high, known=len(questions) > 1),
        f"speed_up_{cost}_at": rounded(found.at),
    }


def _question(book: Book, question: str) -> list[Row]:
    rows = []
    solved = any(run.discovery is not None for run in book.record.runs if run.question == question)
    for method in book.record.methods:
        runs, found = book.record.of(question, method), book.get(question, method)
        if found is None:
            continue
        at = float(int(min(found.horizon, book.budget([method]))))
        (low,), (high,) = found.interval(np.array([at]))
        rows.append(
            {
                "question": question,
                "method": method,
                "solved_by_any": solved,
                "several_answers": question in book.record.several_answers,
                "runs": len(runs),
                "runs_discovered": sum(run.discovery is not None for run in runs),
                "first_discovery": min((run.discovery for run in runs if run.discovery), default=None),
                "attempts": sum(run.attempts for run in runs),
                "k": int(at),
                "discovery": rounded(found.discovered([at])[0]),
                **_bounds("discovery", low, high),
                "capped_mean_attempts": rounded(found.capped_mean(int(at))),
                "visible_only_attempts": sum(run.visible_only for run in runs),
                "best_visible": rounded(max(run.best_visible for run in runs)),
                **_log_rank(book, question, method),
            }
        )
    return rows


def _bounds(name: str, low: Array | float, high: Array | float, *, known: bool = True) -> Row:
    """Returns the ends of an interval of `name`."""
    return {f"{name}_{end}": rounded(float(one)) if known else None for end, one in (("low", low), ("high", high))}


def _log_rank(book: Book, question: str, method: str) -> Row:
    """Returns the log-rank p-value against the first method, where both have one time a run."""
    first = book.record.methods[0]
    reference, mine = book.get(question, first), book.get(question, method)
    if method == first or not isinstance(reference, Times) or not isinstance(mine, Times):
        return {"log_rank_p": None}
    return {"log_rank_p": rounded(log_rank(reference, mine))}


def _run_row(record: Tally, run: Run) -> Row:
    metrics = record.metrics.get(run.run, [])
    return {
        "run": run.run,
        "question": run.question,
        "method": run.method,
        "seed": run.seed,
        "status": run.status,
        "attempts": run.attempts,
        "discovery_attempt": run.discovery,
        "hidden_cases": run.hidden_cases,
        "tokens": run.spent["tokens"],
        "tokens_until_discovery": run.until["tokens"],
        "seconds": rounded(run.spent["seconds"]),
        "seconds_until_discovery": rounded(run.until["seconds"]),
        "visible_only_attempts": run.visible_only,
        "best_visible": rounded(run.best_visible),
        "alarms": "; ".join([*alarms(metrics), *attempt_alarms(record.curves.get(run.run, []))] if metrics else []),
    }
