"""What the charts' script needs: specifications once, and the rows of each chart, of report and view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter

from ttsd.record.store import Row, Store
from ttsd.reporting.report import figures
from ttsd.reporting.report.book import Book
from ttsd.reporting.report.curve_rows import discovery_curves
from ttsd.reporting.report.record import COSTS, Tally, counted, learning_curves


def discovery_data(store: Store) -> Row:
    """Returns the discovery curves of everything in `store`, counted now."""
    rows, runs = counted(store)
    record = Tally(runs, rows=rows)
    pooled, questions = discovery_curves(Book(record))
    return discovery_charts(record.methods, pooled, questions)


def learning_data(store: Store, run: int) -> Row:
    """Returns the learning curves of one run."""
    return learning_charts(learning_curves(store, run))


def discovery_charts(methods: Sequence[str], pooled: Sequence[Row], questions: Sequence[Row]) -> Row:
    specs = {f"pooled-{cost}": figures.discovery_chart(methods, cost) for cost in COSTS}
    return {
        "specs": specs | {"question": figures.question_chart(methods)},
        "pooled": {cost: [row for row in pooled if row["cost"] == cost] for cost in COSTS},
        "questions": grouped(questions),
    }


def learning_charts(curves: Mapping[int, Sequence[Row]]) -> Row:
    return {
        "specs": {f"learning-{name}": figures.learning_chart(name) for name in figures.PANELS},
        "learning": {str(run): _columns(points) for run, points in curves.items()},
    }


def grouped(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Returns rows by their question; those of one question are neighbours."""
    return {question: list(own) for question, own in groupby(rows, key=itemgetter("question"))}


def _columns(points: Sequence[Row]) -> dict[str, list[float | None]]:
    """Quantities as columns, short numbers, without those that no point has."""
    names = ["attempt", *(name for name in figures.PANELS if any(point.get(name) is not None for point in points))]
    return {name: [_short(point.get(name)) for point in points] for name in names}


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
