"""Discovery curves as rows of points, pooled and of each question."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ttsd.record.store import Row
from ttsd.reporting.report.book import Book, curves, grid, last_cost, pooled_bounds, rounded
from ttsd.reporting.report.record import COSTS, Cost
from ttsd.statistics import Array, Pool, Resamples, Times, rising

POINTS = 120  # of a curve


def discovery_curves(book: Book) -> tuple[list[Row], list[Row]]:
    """Curves of each method: pooled over the questions that all of them attempted, and question by question."""
    methods = book.record.methods
    common = book.common(methods)
    pooled = [row for cost in COSTS for method in methods for row in pooled_curve(book, common, method, cost)]
    return pooled, [row for question in book.record.questions for row in question_curves(book, question)]


def pooled_curve(book: Book, common: Sequence[str], method: str, cost: Cost) -> list[Row]:
    if not common or any(book.get(question, method, cost) is None for question in common):
        return []
    pooled = book.across(common, method, cost)
    horizon = min(one.horizon for one in pooled)
    end = horizon if math.isfinite(horizon) else _farthest(book, common, cost)
    at = grid(pooled, cost, end, POINTS)
    low, high = rising(*pooled_bounds(pooled, at, Resamples(len(common))))
    return _points({"method": method, "cost": cost}, at, curves(pooled, at).mean(axis=0), low, high)


def _farthest(book: Book, common: Sequence[str], cost: Cost) -> float:
    """Returns how far a curve that has reached 1 is shown."""
    return max(last_cost(e) for m in book.record.methods for q in common if (e := book.get(q, m, cost)) is not None)


def question_curves(book: Book, question: str) -> list[Row]:
    rows = []
    for method in book.record.methods:
        found = book.get(question, method)
        if found is None:
            continue
        end = found.horizon if math.isfinite(found.horizon) else _farthest(book, [question], "attempts")
        at = grid([found], "attempts", end, POINTS // 3) if isinstance(found, Pool) else _corners(found, end)
        low, high = rising(*found.interval(at))
        rows += _points({"question": question, "method": method}, at, found.discovered(at), low, high)
    return rows


def _corners(found: Times, end: float) -> Array:
    """Returns the points at which a step curve moves, and its ends."""
    inside = found.times[found.observed & (found.times <= end)]
    return np.unique(np.concatenate([[1.0], inside, [end]]))


def _points(names: Row, at: Array, estimate: Array, low: Array, high: Array) -> list[Row]:
    columns = zip(*(map(rounded, column) for column in (at, estimate, low, high)), strict=True)
    return [names | dict(zip(("at", "discovery", "low", "high"), values, strict=True)) for values in columns]
