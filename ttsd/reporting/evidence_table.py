"""The table of `ttsd evidence`: plain numbers of each method, and the same in Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ttsd.methods import BEST_OF_K
from ttsd.record.store import Row, Store
from ttsd.reporting.milestones import Milestone, gain, milestone
from ttsd.reporting.report.book import Book, curves, reach
from ttsd.reporting.report.record import Run, read
from ttsd.statistics import Evidence, Resamples, mean_bounds

REFERENCE = BEST_OF_K.name
LEVELS = (0.5, 0.8)
TITLES = (
    "questions x seeds",
    "method",
    "discovered",
    "mean attempts",
    "mean rounds",
    *(f"attempts at {level:.0%}" for level in LEVELS),
    *(f"times fewer than {REFERENCE} at {level:.0%}" for level in LEVELS),
    "tokens read",
    "tokens written",
)
CAPTION = (
    "At most {} attempts a run; means count them all where nothing was discovered. In brackets: 90 % intervals, "
    "clustered by question.\nAt 50% and at 80%: where that share of runs had made its discovery. "
    "A round is one wait for verdicts: a group of attempts, or one turn."
)


def figures(store: Store, budget: int) -> list[Row]:
    """Plain numbers of each method on the questions that have runs of all; None for what is unknown or unbounded."""
    record = read(store)
    book, methods = Book(record), record.methods
    common = book.common(methods)
    if not common:
        return []
    resamples, seeds = Resamples(len(common)), len({run.seed for run in record.runs})
    reference = book.across(common, REFERENCE) if REFERENCE in methods else None
    theirs = {level: milestone(level, reference, resamples) if reference else None for level in LEVELS}
    rows = []
    for method in methods:
        found = book.across(common, method)
        row: Row = {"method": method, "questions": len(common), "seeds": seeds, **_discovered(found, budget, resamples)}
        for level in LEVELS:
            row |= _at_level(level, found, theirs[level], resamples)
        runs = [run for run in record.runs if run.method == method and run.question in common]
        row |= {"compared": reference is not None, "mean_rounds": _mean_rounds(book, common, method)}
        rows.append(row | _spent(runs))
    return rows


def _discovered(found: Sequence[Evidence], budget: int, resamples: Resamples) -> Row:
    end = min(float(budget), reach(found))
    discovered = curves(found, np.array([end]))
    low, high = mean_bounds(discovered, resamples)
    capped = np.array([one.capped_mean(end) for one in found])
    capped_low, capped_high = resamples.bounds(resamples.means(capped))
    row: Row = {"budget": int(end)}
    row |= _span("discovered", float(discovered.mean()), float(low[0]), float(high[0]))
    return row | _span("mean_attempts", float(capped.mean()), float(capped_low), float(capped_high))


def _at_level(level: float, found: Sequence[Evidence], theirs: Milestone | None, resamples: Resamples) -> Row:
    mine, name = milestone(level, found, resamples), f"ratio_at_{level:.0%}"
    row = _span(f"attempts_at_{level:.0%}", mine.attempts, *map(float, resamples.bounds(mine.draws, widened=False)))
    if theirs is None:
        return row | _span(name, math.nan, math.nan, math.nan) | {f"{name}_over": False}
    gained = gain(mine, theirs, resamples)
    row |= _span(name, gained.times, gained.interval.low, gained.interval.high)
    return row | {f"{name}_over": gained.over}


def _mean_rounds(book: Book, common: Sequence[str], method: str) -> float | None:
    """Rounds until the discovery or the end, over questions; None where they are not known."""
    found = [book.get(question, method, "rounds") for question in common]
    known = [one.capped_mean(reach([one])) for one in found if one is not None]
    return round(float(np.mean(known)), 2) if len(known) == len(found) else None


def _spent(runs: Sequence[Run]) -> Row:
    seconds = sum(run.work["draw_seconds"] + run.work["distil_seconds"] for run in runs)
    read, written = (int(sum(run.work[name] for run in runs)) for name in ("prompt_tokens", "completion_tokens"))
    return {"runs": len(runs), "prompt_tokens": read, "completion_tokens": written, "seconds": round(seconds)}


def _span(name: str, value: float, low: float, high: float) -> Row:
    values = {name: value, f"{name}_low": low, f"{name}_high": high}
    return {key: float(f"{number:.6g}") if math.isfinite(number) else None for key, number in values.items()}


def markdown(found: Mapping[str, Sequence[Row]], budget: int) -> str:
    """The table of all subsets, under what its numbers mean."""
    rows = [list(TITLES), ["---"] * len(TITLES)]
    rows += [cells for subset, figures_ in found.items() for cells in table(subset, figures_)]
    lines = ["| " + " | ".join(cells) + " |" for cells in rows]
    return "\n".join([CAPTION.format(budget), "", *lines]) + "\n"


def table(subset: str, rows: Sequence[Row]) -> list[list[str]]:
    """One subset's rows of the table, from its `figures`."""
    if not rows:
        return [[subset, "(no question has runs of every method yet)", *[""] * (len(TITLES) - 2)]]
    return [[f"{subset}, {row['questions']} questions x {row['seeds']}", *_cells(row)] for row in rows]


def _cells(row: Row) -> list[str]:
    discovered = [f"{row[name]:.0%}" for name in ("discovered", "discovered_low", "discovered_high")]
    attempts = [f"{row[name]:.0f}" for name in ("mean_attempts", "mean_attempts_low", "mean_attempts_high")]
    spans = ["{} ({} to {})".format(*three) for three in (discovered, attempts)]
    rounds = "–" if row["mean_rounds"] is None else f"{row['mean_rounds']:.3g}"
    levels = [_with_interval(row, f"attempts_at_{level:.0%}", 0) for level in LEVELS]
    ratios = [
        "1" if row["method"] == REFERENCE else _with_interval(row, f"ratio_at_{level:.0%}", 1) for level in LEVELS
    ]
    tokens = [f"{row[name] / 1e6:.2f} M" for name in ("prompt_tokens", "completion_tokens")]
    return [row["method"], *spans, rounds, *levels, *ratios, *tokens]


def _with_interval(row: Row, name: str, digits: int) -> str:
    value, low, high = (row[name + end] for end in ("", "_low", "_high"))
    if value is None:
        unknown = name.startswith("ratio") and not row["compared"]
        return "–" if unknown else "not reached"
    over, end = "over " * bool(row.get(f"{name}_over")), "more" if high is None else f"{high:.{digits}f}"
    return f"{over}{value:.{digits}f} ({low:.{digits}f} to {end})"
