"""What is resumed: the same job under the same settings continues its run, and a finished run is not repeated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ttsd.config import UNRECORDED, Config, recorded_config
from ttsd.errors import UserError
from ttsd.methods import Method, kind_of
from ttsd.record.protocol import Row

if TYPE_CHECKING:
    from ttsd.record.store import Store

# What may differ when a run is resumed: how far it goes, where the record lies, and how many processes help.
FREE_SETTINGS = {
    ("budget", "attempts"),
    ("budget", "tokens"),
    ("budget", "seconds"),
    ("store", "path"),
    ("store", "state_dir"),
    ("store", "track"),
    ("judge", "slots"),
}


@dataclass(frozen=True, slots=True)
class Job:
    """What makes a run: the same job asked for again is the same run. `method`: its recorded name."""

    question: str
    method: str
    seed: int

    @property
    def kind(self) -> Method:
        return kind_of(self.method)

    def label(self, config: Config) -> str:
        """The job in words, with the method's arm."""
        return f"{self.question} {self.kind.label(config)} seed {self.seed}"


def as_begun(store: Store, job: Job, config: Config) -> Config:
    """`config`, or with the defaults of earlier versions where only those give settings that the job was run under.

    So the same command resumes what it began before the defaults changed, and does not repeat it.
    """
    runs = store.runs_of(job.question, job.method, job.seed)
    before = _with_old_defaults(config) if runs else config
    begun_then = any(_same(row, before) for row in runs) and not any(_same(row, config) for row in runs)
    return before if begun_then else config


def _with_old_defaults(config: Config) -> Config:
    changes = {}
    for name, old in UNRECORDED.items():
        given = getattr(config, name)
        left_out = {key: value for key, value in old.items() if key not in given.model_fields_set}
        changes[name] = given.model_copy(update=left_out)
    return config.model_copy(update=changes)


def unfinished(store: Store, job: Job, config: Config) -> Row | None:
    """The run of this job to resume: one that was stopped, or that spent a smaller budget; None: start a new one.

    UserError if a run was stopped under other settings.
    """
    runs = _runs_of(store, job, config)
    row = next((row for row in runs if row["status"] == "running" and _binds(store, row, config)), None)
    if row is None:
        return next((row for row in runs if _same(row, config) and _wants_more(store, row, config)), None)
    if changed := changed_settings(row["config"], config):
        raise UserError(
            f"run {row['run']} of this question was stopped under other settings: {', '.join(changed)}; "
            "give the same settings to resume it, or --fresh to start another run"
        )
    return row


def finished(store: Store, job: Job, config: Config) -> int | None:
    """The number of the newest run of this job that needs no more attempts under these settings, if there is one."""
    config = as_begun(store, job, config)
    closed = (row for row in _runs_of(store, job, config) if row["status"] != "running")
    return next((row["run"] for row in closed if _same(row, config) and not _wants_more(store, row, config)), None)


def is_over(row: Row, config: Config) -> bool:
    """Whether a run has made its discovery and is to stop there."""
    return row["discovery_attempt"] is not None and not config.budget.continue_after_discovery


def changed_settings(recorded: Mapping[str, Any], config: Config) -> list[str]:
    """Settings that keep a run from being resumed, in words. One that did not exist then counts as its default."""
    before = recorded_config(recorded).model_dump()
    return [
        f"{section}.{name} ({before[section][name]!r} before, now {value!r})"
        for section, settings in config.model_dump().items()
        for name, value in settings.items()
        if (section, name) not in FREE_SETTINGS and before[section][name] != value
    ]


def _runs_of(store: Store, job: Job, config: Config) -> list[Row]:
    """The job's runs, the newest first. Another arm is another method, not a changed setting."""
    runs, arm = store.runs_of(job.question, job.method, job.seed), job.kind.arm
    if arm is None:
        return runs
    wanted = arm.value(config)
    return [row for row in runs if arm.value(recorded_config(row["config"])) == wanted]


def _binds(store: Store, row: Row, config: Config) -> bool:
    """A run that has no attempt yet is resumed under its own settings only, and keeps nobody from others."""
    return _same(row, config) or store.answer(row["run"]).attempts > 0


def _same(row: Row, config: Config) -> bool:
    return not changed_settings(row["config"], config)


def _wants_more(store: Store, row: Row, config: Config) -> bool:
    if is_over(row, config) or store.answer(row["run"]).attempts >= config.budget.attempts:
        return False
    if row["ended"] not in ("tokens", "seconds"):
        return True
    before, now = (getattr(one.budget, row["ended"]) for one in (recorded_config(row["config"]), config))
    return now is None or (before is not None and now > before)
