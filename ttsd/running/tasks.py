"""What is to be run: every question with every method and seed, and what of it is left to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import problems
from problems.problem import Problem
from ttsd.config import Config
from ttsd.methods import METHODS, MULTI_TURN, SDPO, Method
from ttsd.record import resume
from ttsd.record.protocol import Row
from ttsd.record.resume import Job
from ttsd.record.store import Store


@dataclass(frozen=True, slots=True)
class Wanted:
    """A job and its settings."""

    job: Job
    config: Config

    def __str__(self) -> str:
        return self.job.label(self.config)


@dataclass(frozen=True, slots=True)
class Task:
    """What is wanted, with its question loaded, and the run that it resumes (None: a new one)."""

    wanted: Wanted
    problem: Problem
    resumed: Row | None


def plan(
    questions: Sequence[str],
    methods: Sequence[str],
    seeds: int,
    config: Config,
    windows: Sequence[int | None] = (None,),
    fractions: Sequence[float | None] = (None,),
) -> list[Wanted]:
    """All runs, seed by seed, so that an interrupted batch has seen every question.

    multi-turn runs once with each of `windows`, sdpo with each of the teacher's `fractions` (None: what the
    configuration says). A method that pools its attempts spends its whole budget: only then is its pass@k unbiased.
    """
    arms: dict[str, Sequence[float | None]] = {MULTI_TURN.name: windows, SDPO.name: fractions}
    return [
        Wanted(Job(question, method, seed), _arm(METHODS[method], config, value))
        for seed in range(seeds)
        for question in questions
        for method in methods
        for value in arms.get(method, (None,))
    ]


def _arm(method: Method, config: Config, value: float | None) -> Config:
    """`value`: of the setting that the method is compared by; None: the configuration's."""
    if method.pools:
        return _changed(config, "budget", continue_after_discovery=True)
    if method.arm is None or value is None:
        return config
    return _changed(config, method.arm.section, **{method.arm.setting: value})


def _changed(config: Config, section: str, **settings: object) -> Config:
    return config.model_copy(update={section: getattr(config, section).model_copy(update=settings)})


def sorted_out(wanted: Sequence[Wanted], store: Store) -> tuple[list[int], list[Task]]:
    """Runs that are finished, and what is left to do."""
    loaded = {one.job.question: problems.load(one.job.question) for one in wanted}
    done, tasks = [], []
    for asked in wanted:
        one = replace(asked, config=resume.as_begun(store, asked.job, asked.config))
        finished = resume.finished(store, one.job, one.config)
        if finished is not None:
            done.append(finished)
        else:
            tasks.append(Task(one, loaded[one.job.question], resume.unfinished(store, one.job, one.config)))
    return done, tasks


def learns(tasks: Iterable[Task]) -> bool:
    return any(task.wanted.job.kind.learns for task in tasks)


def group_of(tasks: Iterable[Task], config: Config) -> int:
    """The most completions that one of these runs draws at a time."""
    return max(1 if task.wanted.job.kind.converses else config.sampling.group_size for task in tasks)
