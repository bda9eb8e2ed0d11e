"""`ttsd evidence`: every method on the questions of some subsets, with any model, and what that says.

For each subset a database of its own in the output folder, filled by `batch` (so the same command resumes), the
report, and rows of the table `evidence.md`. All figures come from the databases.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from problems.subsets import questions
from ttsd.config import Config
from ttsd.loop import Event, Past
from ttsd.machine.step_time import Span
from ttsd.reporting.evidence_table import figures, markdown
from ttsd.reporting.report import build_report
from ttsd.running import batch, resume
from ttsd.running.estimate import NOTHING, UNSPENT, Cost, Pace, chance, cost_of
from ttsd.running.meter import Meter
from ttsd.running.methods import METHODS
from ttsd.running.store import Answer, Row, Store
from ttsd.running.writer import View

PROBE_RUNS, PROBE_STEPS = 8, 2


@dataclass(frozen=True, slots=True)
class Study:
    """What is to be run. `config` holds everything but the place of the record; `runs_at_once` None: what fits."""

    subsets: tuple[str, ...]
    config: Config
    out: Path
    methods: tuple[str, ...] = tuple(METHODS)
    seeds: int = 3
    windows: tuple[int | None, ...] = (None,)
    fractions: tuple[float | None, ...] = (None,)
    runs_at_once: int | None = None

    def configured(self, subset: str) -> Config:
        path = str(self.out / f"{folder_name(subset)}.sqlite")
        store = self.config.store.model_copy(update={"path": path, "state_dir": None})
        return self.config.model_copy(update={"store": store})

    def wanted(self, subset: str) -> list[batch.Wanted]:
        config = self.configured(subset)
        return batch.plan(questions([subset]), self.methods, self.seeds, config, self.windows, self.fractions)

    def missing(self, subset: str) -> list[batch.Wanted]:
        """Runs that have not come to their end yet."""
        with Store(self.configured(subset).store.path) as store:
            return [one for one in self.wanted(subset) if resume.finished(store, one.job, one.config) is None]


def folder_name(subset: str) -> str:
    """What the files of `subset` are called, be it a list's name, a TOML file or a question."""
    return Path(subset.replace("#", "-")).name.removesuffix(".toml").replace(":", "-")


async def gather(study: Study, overview: batch.Overview, *, dry_run: bool = False) -> list[batch.Failure]:
    """Says what is missing will cost, runs it unless `dry_run`, and writes the table; returns the runs that failed."""
    study.out.mkdir(parents=True, exist_ok=True)
    missing = {subset: study.missing(subset) for subset in study.subsets}
    if any(missing.values()):
        pace = await _pace(study, missing, overview)
        overview.say(f"to do: {remaining(study, missing, pace)} ({pace.source})")
    else:
        overview.say("all runs are done")
    if dry_run:
        return []
    failures: list[batch.Failure] = []
    for subset in study.subsets:
        if missing[subset]:
            wanted, config = study.wanted(subset), study.configured(subset)
            results = await batch.batch(wanted, config, runs_at_once=study.runs_at_once, overview=overview)
            failures += results.failures
        write(study)
    return failures


def write(study: Study) -> Path:
    """The reports and `evidence.md` of what is in the databases by now."""
    path = study.out / "evidence.md"
    for subset, store in _opened(study):
        build_report(store, study.out / folder_name(subset))
    path.write_text(markdown(summary(study), study.config.budget.attempts), "utf-8")
    return path


def summary(study: Study) -> dict[str, list[Row]]:
    """`figures` of each subset that has a database, for the table and for scripts."""
    return {subset: figures(store, study.config.budget.attempts) for subset, store in _opened(study)}


def _opened(study: Study) -> Iterator[tuple[str, Store]]:
    paths = {subset: Path(study.configured(subset).store.path) for subset in study.subsets}
    for subset, path in paths.items():
        if path.exists():
            with Store.existing(path) as store:
                yield subset, store


def remaining(study: Study, missing: dict[str, list[batch.Wanted]], pace: Pace) -> Cost:
    """What the missing runs will take from their beginning on, by what one guess's chance is known to be."""
    left = NOTHING
    for subset, wanted in missing.items():
        with Store(study.configured(subset).store.path) as store:
            for one in wanted:
                p = chance(store, one.job.question, one.config.model.path)
                left += cost_of(one.config, UNSPENT, p, pace)
    return left


class Timer:
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

    def begin(self, run: int, job: str, past: Past, meter: Meter, group_size: int) -> None:
        pass

    def show(self, event: Event) -> None:
        pass

    def end(self, name: str, answer: Answer | batch.Failure) -> None:
        self.seconds = time.monotonic() - self._began


async def _pace(study: Study, missing: dict[str, list[batch.Wanted]], overview: batch.Overview) -> Pace:
    """Measured once, on the beginnings of runs that will be resumed, then remembered in the output folder."""
    remembered = study.out / "pace.json"
    if remembered.exists():
        kept = json.loads(remembered.read_text("utf-8"))
        return _as_measured(kept["attempts_per_second"], kept.get("tokens_per_attempt", 0.0))
    overview.say(f"measuring this machine on the first {PROBE_STEPS} steps of {PROBE_RUNS} runs")
    subset, watch = next(name for name, wanted in missing.items() if wanted), Timer()
    begun, config = [_shortened(one) for one in missing[subset][:PROBE_RUNS]], study.configured(subset)
    results = await batch.batch(begun, config, runs_at_once=study.runs_at_once, overview=watch)
    made = max(sum(answer.attempts for answer in results.answers), 1)
    with Store(config.store.path) as store:
        ((tokens,),) = store.query("select avg(prompt_tokens + completion_tokens) from attempts")
    rate, each = round(made / max(watch.seconds, 1e-3), 4), round(tokens or 0.0, 1)
    remembered.write_text(json.dumps({"attempts_per_second": rate, "tokens_per_attempt": each}) + "\n", "utf-8")
    return _as_measured(rate, each)


def _as_measured(attempts_per_second: float, tokens: float) -> Pace:
    seconds = 1 / max(attempts_per_second, 1e-4)  # it was rounded
    source = f"measured here: {attempts_per_second:.3g} attempts a second"
    return Pace(Span(seconds, seconds), Span(tokens, tokens), source)


def _shortened(wanted: batch.Wanted) -> batch.Wanted:
    config = wanted.config
    attempts = min(PROBE_STEPS * config.sampling.group_size, config.budget.attempts)
    budget = config.budget.model_copy(update={"attempts": attempts})
    return batch.Wanted(wanted.job, config.model_copy(update={"budget": budget}))
