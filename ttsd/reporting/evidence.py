"""`ttsd micro evidence`: every method on the questions of the bundled suite, and what that says, as a table.

For each subset a database of its own in the output folder, filled by `batch` (so the same command goes on), the
report, and rows of the table in `evidence.md`. All figures come from the databases.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from problems.micro import p_solve
from problems.subsets import questions
from ttsd.config import Config
from ttsd.loop import Event, Past
from ttsd.reporting.report import build_report
from ttsd.reporting.report.findings import Book, curves, reach
from ttsd.reporting.report.record import Run, read
from ttsd.running import batch, resume
from ttsd.running.methods import BEST_OF_K, METHODS
from ttsd.running.run import View
from ttsd.running.store import Answer, Row, Store
from ttsd.statistics import Array, Evidence, Interval, Resamples, mean_bounds

REFERENCE = BEST_OF_K.name
LEVELS = (0.5, 0.8)
TITLES = (
    "questions x seeds",
    "method",
    "discovered",
    "mean attempts",
    *(f"attempts at {level:.0%}" for level in LEVELS),
    *(f"times fewer than {REFERENCE} at {level:.0%}" for level in LEVELS),
    "tokens",
)
CAPTION = (
    "At most {} attempts a run; the mean counts them all where nothing was discovered. In brackets: 90 % intervals, "
    "clustered by question.\nAt 50% and at 80%: where that share of runs had made its discovery."
)
PROBE_RUNS, PROBE_STEPS = 8, 2
# A learning or conversing run is expected to take between this share of best-of-k's mean attempts and all of them.
LUCKY = 0.25


@dataclass(frozen=True, slots=True)
class Study:
    """What is to be run. `config` holds everything but the place of the record."""

    subsets: tuple[str, ...]
    config: Config
    out: Path
    seeds: int = 3
    windows: tuple[int | None, ...] = (2, 4, 8)
    fractions: tuple[float | None, ...] = (0.0, 1.0)
    runs_at_once: int = 12

    def configured(self, subset: str) -> Config:
        path = str(self.out / f"{folder_name(subset)}.sqlite")
        store = self.config.store.model_copy(update={"path": path, "state_dir": None})
        return self.config.model_copy(update={"store": store})

    def wanted(self, subset: str) -> list[batch.Wanted]:
        return batch.plan(
            questions([subset]), list(METHODS), self.seeds, self.configured(subset), self.windows, self.fractions
        )


def folder_name(subset: str) -> str:
    """What the files of `subset` are called, be it a list's name, a TOML file or a question."""
    return Path(subset).stem.replace(":", "-")


async def gather(study: Study, overview: batch.Overview) -> list[batch.Failure]:
    """Runs what is missing, says beforehand how long that will take, and writes the table; the runs that failed."""
    study.out.mkdir(parents=True, exist_ok=True)
    overview.say(announced(study, await _pace(study, overview)))
    failures: list[batch.Failure] = []
    for subset in study.subsets:
        results = await batch.batch(
            study.wanted(subset), study.configured(subset), runs_at_once=study.runs_at_once, overview=overview
        )
        failures += results.failures
        write(study)
    return failures


def write(study: Study) -> Path:
    """The reports and `evidence.md` of what is in the databases by now."""
    budget, rows = study.config.budget.attempts, [list(TITLES), ["---"] * len(TITLES)]
    for subset in study.subsets:
        path = Path(study.configured(subset).store.path)
        if path.exists():
            with Store.existing(path) as store:
                build_report(store, study.out / folder_name(subset))
                rows += table(subset, store, budget)
    path = study.out / "evidence.md"
    lines = [CAPTION.format(budget), "", *("| " + " | ".join(cells) + " |" for cells in rows)]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


class Stopwatch:
    """Watches runs in silence; from the first one's beginning to the last one's end are `seconds`."""

    def __init__(self) -> None:
        self._began = 0.0
        self.seconds = 0.0

    def say(self, text: str) -> None:
        pass

    def expect(self, runs: int) -> None:
        pass

    def view(self, name: str) -> View:
        self._began = self._began or time.monotonic()
        return self

    def begin(self, job: str, past: Past, budget: int, group_size: int) -> None:
        pass

    def show(self, event: Event) -> None:
        pass

    def end(self, name: str, answer: Answer | batch.Failure) -> None:
        self.seconds = time.monotonic() - self._began


async def _pace(study: Study, overview: batch.Overview) -> float:
    """Attempts a second on this machine: measured once, on the beginnings of runs that will go on, then remembered."""
    remembered = study.out / "pace.json"
    if remembered.exists():
        return float(json.loads(remembered.read_text("utf-8"))["attempts_per_second"])
    overview.say(f"measuring this machine on the first {PROBE_STEPS} steps of {PROBE_RUNS} runs")
    subset, watch = study.subsets[0], Stopwatch()
    begun = [_shortened(one) for one in study.wanted(subset)[:PROBE_RUNS]]
    results = await batch.batch(begun, study.configured(subset), runs_at_once=study.runs_at_once, overview=watch)
    made = sum(answer.attempts for answer in results.answers)
    pace = max(made, 1) / max(watch.seconds, 1e-3)
    remembered.write_text(json.dumps({"attempts_per_second": round(pace, 3)}) + "\n", "utf-8")
    return pace


def _shortened(wanted: batch.Wanted) -> batch.Wanted:
    config = wanted.config
    attempts = min(PROBE_STEPS * config.sampling.group_size, config.budget.attempts)
    budget = config.budget.model_copy(update={"attempts": attempts})
    return batch.Wanted(wanted.job, config.model_copy(update={"budget": budget}))


def announced(study: Study, pace: float) -> str:
    """How long what is missing will take."""
    low, high, missing = 0.0, 0.0, 0
    for subset in study.subsets:
        config = study.configured(subset)
        with Store(config.store.path) as store:
            left = [one for one in study.wanted(subset) if resume.finished(store, one.job, one.config) is None]
        missing += len(left)
        low += sum(min(expected(one)) for one in left)
        high += sum(max(expected(one)) for one in left)
    if not missing:
        return "all runs are done"
    return (
        f"{missing} runs to do: {low / pace / 60:.0f} to {high / pace / 60:.0f} minutes at {pace:.3g} attempts a second"
    )


def expected(wanted: batch.Wanted) -> tuple[float, float]:
    """How many attempts a run will make, at least and at most, by the chance p of one guess."""
    budget, p = wanted.config.budget.attempts, p_solve(wanted.job.question)
    if wanted.config.budget.continue_after_discovery:
        return float(budget), float(budget)
    guessing = (1 - (1 - p) ** budget) / p if p else float(budget)
    return LUCKY * guessing, guessing


def table(subset: str, store: Store, budget: int) -> list[list[str]]:
    """One subset's rows of `evidence.md`: what `budget` attempts discover, and at which cost."""
    rows = figures(store, budget)
    if not rows:
        return [[subset, "(no question has runs of every method yet)", *[""] * (len(TITLES) - 2)]]
    return [[f"{subset}, {row['questions']} questions x {row['seeds']}", *_cells(row)] for row in rows]


def figures(store: Store, budget: int) -> list[Row]:
    """Plain numbers of each method on the questions that have runs of all; None for what is unknown or unbounded."""
    record = read(store)
    book = Book(record)
    common = book.common(record.methods)
    if not common:
        return []
    resamples, seeds = Resamples(len(common)), len({run.seed for run in record.runs})
    reference = {level: reached(level, book.across(common, REFERENCE), resamples) for level in LEVELS}
    rows = []
    for method in record.methods:
        found = book.across(common, method)
        row: Row = {"method": method, "questions": len(common), "seeds": seeds, **_discovered(found, budget, resamples)}
        for level, theirs in reference.items():
            row |= _at_level(level, reached(level, found, resamples), theirs, resamples)
        rows.append(row | _spent([run for run in record.runs if run.method == method and run.question in common]))
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


def _at_level(level: float, mine: Reached, theirs: Reached, resamples: Resamples) -> Row:
    gained, name = gain(mine, theirs, resamples), f"ratio_at_{level:.0%}"
    row = _span(f"attempts_at_{level:.0%}", mine.attempts, *map(float, resamples.bounds(mine.draws, widened=False)))
    row |= _span(name, gained.times, gained.interval.low, gained.interval.high)
    return row | {f"{name}_over": gained.over}


def _spent(runs: Sequence[Run]) -> Row:
    tokens = sum(run.work["prompt_tokens"] + run.work["completion_tokens"] for run in runs)
    seconds = sum(run.work["draw_seconds"] + run.work["distil_seconds"] for run in runs)
    return {"runs": len(runs), "tokens": int(tokens), "seconds": round(seconds)}


def _span(name: str, value: float, low: float, high: float) -> Row:
    values = {name: value, f"{name}_low": low, f"{name}_high": high}
    return {key: float(f"{number:.6g}") if math.isfinite(number) else None for key, number in values.items()}


def _cells(row: Row) -> list[str]:
    discovered = [f"{row[name]:.0%}" for name in ("discovered", "discovered_low", "discovered_high")]
    attempts = [f"{row[name]:.0f}" for name in ("mean_attempts", "mean_attempts_low", "mean_attempts_high")]
    spans = ["{} ({} to {})".format(*three) for three in (discovered, attempts)]
    levels = [_told(row, f"attempts_at_{level:.0%}", 0) for level in LEVELS]
    ratios = ["1" if row["method"] == REFERENCE else _told(row, f"ratio_at_{level:.0%}", 1) for level in LEVELS]
    return [row["method"], *spans, *levels, *ratios, f"{row['tokens'] / 1e6:.2f} M"]


def _told(row: Row, name: str, digits: int) -> str:
    value, low, high = (row[name + end] for end in ("", "_low", "_high"))
    if value is None:
        return "not reached"
    over, end = "over " * bool(row.get(f"{name}_over")), "more" if high is None else f"{high:.{digits}f}"
    return f"{over}{value:.{digits}f} ({low:.{digits}f} to {end})"


@dataclass(frozen=True, slots=True)
class Reached:
    """At how many attempts a share of runs is discovered (infinite: beyond what was seen), and in each resample."""

    attempts: float
    draws: Array
    seen: float


@dataclass(frozen=True, slots=True)
class Gain:
    """How many times fewer attempts; `over`: at least that many, for the reference was not followed to the end."""

    times: float
    interval: Interval
    over: bool


def reached(level: float, evidence: Sequence[Evidence], resamples: Resamples) -> Reached:
    """Where mean discovery is `level` first. Evidence is followed as far as it goes.

    best-of-k's samples of all seeds are one pool, which reaches several times as far as its budget.
    """
    seen = reach(evidence)
    at: Array = np.arange(1, int(seen) + 1).astype(float)
    known = curves(evidence, at)
    (attempts,) = _reached(level, known.mean(axis=0)[None], at)
    return Reached(float(attempts), _reached(level, resamples.means(known), at), seen)


def gain(mine: Reached, theirs: Reached, resamples: Resamples) -> Gain:
    """How many times fewer attempts `mine` are than `theirs`, the reference's; NaN where mine don't get there.

    A resample that doesn't get there counts against the one that didn't, but of the reference no more is trusted
    than was seen.
    """
    low, _ = resamples.bounds(_times(np.minimum(theirs.draws, theirs.seen), mine.draws), widened=False)
    _, high = resamples.bounds(_times(theirs.draws, mine.draws), widened=False)
    times = min(theirs.attempts, theirs.seen) / mine.attempts if math.isfinite(mine.attempts) else math.nan
    return Gain(times, Interval(float(low), float(high)), math.isinf(theirs.attempts))


def _times(theirs: Array, mine: Array) -> Array:
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(mine), theirs / mine, 0.0)


def _reached(level: float, curves: Array, at: Array) -> Array:
    there = curves >= level - 1e-12
    return np.where(there.any(axis=-1), at[there.argmax(axis=-1)], np.inf)


def summary(study: Study) -> dict[str, list[Row]]:
    """`figures` of each subset, for scripts."""
    found = {}
    for subset in study.subsets:
        with Store.existing(study.configured(subset).store.path) as store:
            found[subset] = figures(store, study.config.budget.attempts)
    return found
