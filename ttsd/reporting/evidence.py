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

from problems.micro import p_solve
from problems.subsets import questions
from ttsd.config import Config
from ttsd.loop import Event, Past
from ttsd.reporting.evidence_table import REFERENCE, figures, markdown
from ttsd.reporting.report import build_report
from ttsd.running import batch, resume
from ttsd.running.methods import METHODS
from ttsd.running.store import Answer, Row, Store
from ttsd.running.writer import View

PROBE_RUNS, PROBE_STEPS = 8, 2
# A learning or conversing run is expected to take between this share of best-of-k's mean attempts and all of them.
LUCKY = 0.25


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


@dataclass(frozen=True, slots=True)
class Pace:
    """What this machine does with this model."""

    attempts_per_second: float
    tokens_per_attempt: float  # read and written


@dataclass(frozen=True, slots=True)
class Remaining:
    """What is missing will cost between `low` and `high` attempts."""

    runs: int
    low: float
    high: float

    def sentence(self, pace: Pace) -> str:
        if not self.runs:
            return "all runs are done"
        minutes = [attempts / pace.attempts_per_second / 60 for attempts in (self.low, self.high)]
        tokens = [attempts * pace.tokens_per_attempt / 1e6 for attempts in (self.low, self.high)]
        return (
            f"{self.runs} runs to do: {minutes[0]:.0f} to {minutes[1]:.0f} minutes at {pace.attempts_per_second:.3g} "
            f"attempts a second, {tokens[0]:.3g} to {tokens[1]:.3g} million tokens"
        )


def folder_name(subset: str) -> str:
    """What the files of `subset` are called, be it a list's name, a TOML file or a question."""
    return Path(subset.replace("#", "-")).name.removesuffix(".toml").replace(":", "-")


async def gather(study: Study, overview: batch.Overview, *, dry_run: bool = False) -> list[batch.Failure]:
    """Says what is missing will cost, runs it unless `dry_run`, and writes the table; returns the runs that failed."""
    study.out.mkdir(parents=True, exist_ok=True)
    missing = {subset: study.missing(subset) for subset in study.subsets}
    left = remaining(study, missing)
    overview.say(left.sentence(await _pace(study, missing, overview)) if left.runs else "all runs are done")
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


def remaining(study: Study, missing: dict[str, list[batch.Wanted]]) -> Remaining:
    """How many attempts the missing runs will make, by what one guess's chance is known to be."""
    spans = []
    for subset, wanted in missing.items():
        with Store(study.configured(subset).store.path) as store:
            spans += [expected(one, chance(store, one.job.question)) for one in wanted]
    return Remaining(len(spans), sum(low for low, _ in spans), sum(high for _, high in spans))


def expected(wanted: batch.Wanted, p: float | None) -> tuple[float, float]:
    """How many attempts a run will make, at least and at most, by the chance `p` of one guess (None: unknown)."""
    budget = float(wanted.config.budget.attempts)
    if wanted.config.budget.continue_after_discovery:
        return budget, budget
    if p is None:
        return min(float(wanted.config.sampling.group_size), budget), budget
    guessing = (1 - (1 - p) ** budget) / p if p else budget
    return LUCKY * guessing, guessing


def chance(store: Store, question: str) -> float | None:
    """The chance that one guess solves `question`: as published with the bundled suite, else as recorded so far."""
    if (published := p_solve(question)) is not None:
        return published
    sql = """select count(*), coalesce(sum(discovered), 0) from attempts
        join runs using (run) where question = ? and method = ? and verdict != 'aborted'"""
    ((attempts, successes),) = store.query(sql, [question, REFERENCE])
    return successes / attempts if successes else None


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

    def begin(self, run: int, job: str, past: Past, budget: int, group_size: int) -> None:
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
        return Pace(kept["attempts_per_second"], kept.get("tokens_per_attempt", 0.0))
    overview.say(f"measuring this machine on the first {PROBE_STEPS} steps of {PROBE_RUNS} runs")
    subset, watch = next(name for name, wanted in missing.items() if wanted), Timer()
    begun, config = [_shortened(one) for one in missing[subset][:PROBE_RUNS]], study.configured(subset)
    results = await batch.batch(begun, config, runs_at_once=study.runs_at_once, overview=watch)
    made = max(sum(answer.attempts for answer in results.answers), 1)
    with Store(config.store.path) as store:
        ((tokens,),) = store.query("select avg(prompt_tokens + completion_tokens) from attempts")
    pace = Pace(round(made / max(watch.seconds, 1e-3), 4), round(tokens or 0.0, 1))
    kept = {"attempts_per_second": pace.attempts_per_second, "tokens_per_attempt": pace.tokens_per_attempt}
    remembered.write_text(json.dumps(kept) + "\n", "utf-8")
    return pace


def _shortened(wanted: batch.Wanted) -> batch.Wanted:
    config = wanted.config
    attempts = min(PROBE_STEPS * config.sampling.group_size, config.budget.attempts)
    budget = config.budget.model_copy(update={"attempts": attempts})
    return batch.Wanted(wanted.job, config.model_copy(update={"budget": budget}))
