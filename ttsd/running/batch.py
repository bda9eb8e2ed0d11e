"""`ttsd batch`: methods x seeds x questions on one engine, many at once, resumable.

Every run is its own loop on the shared session: while one takes its gradient step, others sample and judge. The
trainer and the judge serve them in the order they ask, so none is starved. A run that fails takes no other with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from ttsd.config import Config
from ttsd.machine.capacity import Capacity, capacity
from ttsd.machine.memory import found_memory
from ttsd.record.protocol import Answer
from ttsd.record.resume import Job
from ttsd.running import run
from ttsd.running.engine import load_tokenizer
from ttsd.running.estimate import announcement
from ttsd.running.preview import Preview, looked_at, previewed
from ttsd.running.readings import teaching
from ttsd.running.self_teacher import SelfTeacher
from ttsd.running.shared_time import Usage
from ttsd.running.tasks import Task, Wanted, group_of, learns, sorted_out
from ttsd.running.writer import View
from ttsd.sampling.background import beside

if TYPE_CHECKING:
    from ttsd.backbone import Tokenizer


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that ended with a fault; the next `ttsd batch` resumes it."""

    job: Job
    error: str


@dataclass(frozen=True, slots=True)
class Results:
    """How every wanted run ended, and how busy the engine was (None: there was nothing to do)."""

    runs: list[Answer | Failure]
    usage: Usage | None = None

    @property
    def answers(self) -> list[Answer]:
        return [one for one in self.runs if isinstance(one, Answer)]

    @property
    def failures(self) -> list[Failure]:
        return [one for one in self.runs if isinstance(one, Failure)]


class Overview(Protocol):
    """Whoever watches many runs."""

    def say(self, text: str) -> None: ...

    def expect(self, runs: int) -> None:
        """So many runs are to do now; what was done before is another piece of work, as of another list."""

    def view(self, name: str) -> View:
        """A place for one run, which is about to begin."""

    def end(self, name: str, answer: Answer | Failure) -> None: ...


async def batch(wanted: Sequence[Wanted], config: Config, *, runs_at_once: int | None, overview: Overview) -> Results:
    """Brings every wanted run to its end, `runs_at_once` at a time (None: as many as memory allows).

    Finished runs are not repeated.
    """
    with run.open_store(config) as store:
        done, tasks = sorted_out(wanted, store)
        overview.say(f"{len(tasks)} runs to do, {len(done)} done before")
        overview.expect(len(tasks))
        finished: list[Answer | Failure] = [store.answer(number) for number in done]
        if not tasks:
            return Results(finished)
        tokenizer = await beside(checked, tasks, config)
        room = room_for(tasks, len(tasks), runs_at_once, config)
        overview.say(await announcement(tasks, config, store, tokenizer, at_once=room.runs))
        async with run.open_session(config, store, tokenizer, learns=learns(tasks), runs_at_once=room.runs) as session:
            overview.say(f"ready (sandbox: {session.sandbox.tier}); {room}")
            results = await all_of(session, tasks, room.runs, overview)
            usage = session.usage()
        overview.say(str(usage))
        return Results(finished + results, usage)


async def preview(wanted: Sequence[Wanted], config: Config, *, runs_at_once: int | None) -> Preview:
    """What `batch` would begin with."""
    with looked_at(config) as store:
        tasks = sorted_out(wanted, store)[1]
        if not tasks:
            return Preview()
        tokenizer = await beside(checked, tasks, config)
        room = room_for(tasks, len(tasks), runs_at_once, config)
        return await previewed(tasks, config, store, tokenizer, at_once=room.runs)


def checked(tasks: Sequence[Task], config: Config) -> Tokenizer:
    """The tokenizer, once every question is known to fit. UserError if one doesn't."""
    tokenizer = load_tokenizer(config)
    for task in tasks:
        teaching(task.problem, tokenizer, config)
    return tokenizer


def room_for(tasks: Sequence[Task], runs: int, runs_at_once: int | None, config: Config) -> Capacity:
    """How many of `runs` such runs share an engine on this machine, and why."""
    return decided(runs_at_once, group_of(tasks, config), runs, config)


def decided(runs_at_once: int | None, group: int, runs: int, config: Config) -> Capacity:
    """`runs_at_once` as asked for, or (None) what this machine's memory holds of runs that draw `group` at once."""
    if runs_at_once is not None:
        return min(Capacity(runs_at_once, "--at-once"), Capacity(runs, "there are no more"), key=lambda one: one.runs)
    from ttsd.backbone import model_sizes, resolve

    sizes = model_sizes(resolve(config.model.path))
    return capacity(config, sizes, group, runs, found_memory(config.model))


async def all_of(
    session: run.Session, tasks: Sequence[Task], at_once: int, overview: Overview
) -> list[Answer | Failure]:
    places = asyncio.Semaphore(at_once)

    async def one(task: Task) -> Answer | Failure:
        async with places:
            result = await to_its_end(session, task, overview.view)
            overview.end(str(task.wanted), result)
            return result

    running = [asyncio.create_task(one(task)) for task in tasks]
    try:
        return list(await asyncio.gather(*running))
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def to_its_end(
    session: run.Session, task: Task, view: Callable[[str], View], teacher: SelfTeacher | None = None
) -> Answer | Failure:
    own = replace(session, config=task.wanted.config)
    try:
        return await run.execute(own, task.wanted.job, task.problem, view(str(task.wanted)), task.resumed, teacher)
    except Exception as error:  # a fault of one run must not end its neighbours; a dead engine ends them all
        await session.engine.sampler.health()
        return Failure(task.wanted.job, f"{type(error).__name__}: {error}")
