"""`ttsd evidence`: every method on the questions of some subsets, with any model, and what that says.

For each subset a database of its own in the output folder, filled by `batch` (so the same command resumes), the
report, and rows of the table `evidence.md`. All figures come from the databases.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from problems.subsets import questions
from ttsd.config import Config
from ttsd.errors import UserError
from ttsd.methods import METHODS
from ttsd.record import resume
from ttsd.record.store import Row, Store
from ttsd.reporting.evidence_table import figures, markdown
from ttsd.reporting.report import build_report
from ttsd.running import batch
from ttsd.running.estimate import NOTHING
from ttsd.running.preview import looked_at
from ttsd.running.tasks import Wanted, plan


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

    def wanted(self, subset: str) -> list[Wanted]:
        config = self.configured(subset)
        return plan(questions([subset]), self.methods, self.seeds, config, self.windows, self.fractions)

    def missing(self, subset: str) -> list[Wanted]:
        """Runs that have not come to their end yet."""
        with looked_at(self.configured(subset)) as store:
            return [one for one in self.wanted(subset) if resume.finished(store, one.job, one.config) is None]


def folder_name(subset: str) -> str:
    """What the files of `subset` are called, be it a list's name, a TOML file or a question."""
    return Path(subset.replace("#", "-")).name.removesuffix(".toml").replace(":", "-")


async def gather(study: Study, overview: batch.Overview, *, dry_run: bool = False) -> list[batch.Failure]:
    """Says what is missing will cost, runs it unless `dry_run`, and writes the table; returns the runs that failed."""
    missing = [subset for subset in study.subsets if study.missing(subset)]
    overview.say(await _announced(study, missing))
    if dry_run:
        return []
    study.out.mkdir(parents=True, exist_ok=True)
    failures: list[batch.Failure] = []
    for subset in study.subsets:
        if subset in missing:
            wanted, config = study.wanted(subset), study.configured(subset)
            results = await batch.batch(wanted, config, runs_at_once=study.runs_at_once, overview=overview)
            failures += results.failures
        write(study)
    return failures


async def _announced(study: Study, missing: Sequence[str]) -> str:
    """What all of it will cost, in one sentence. A model that no plan can be made for is no reason not to begin."""
    cost, sources = NOTHING, dict[str, None]()
    for subset in missing:
        wanted, config = study.wanted(subset), study.configured(subset)
        try:
            expected = (await batch.preview(wanted, config, runs_at_once=study.runs_at_once)).estimate
        except UserError as error:
            return f"no estimate: {error}"
        if expected is not None:
            cost += expected.cost
            sources |= dict.fromkeys(expected.sources)
    return f"to do: {cost} ({'; '.join(sources)})" if missing else "all runs are done"


def write(study: Study) -> Path:
    """The reports and `evidence.md` of what is in the databases by now."""
    path = study.out / "evidence.md"
    for subset, store in _opened(study):
        build_report(store, study.out / folder_name(subset))
    found = {folder_name(subset): rows for subset, rows in summary(study).items()}
    path.write_text(markdown(found, study.config.budget.attempts), "utf-8")
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
