"""`ttsd batch`: methods x seeds x questions on one engine, many at once, resumable.

Every run is its own loop on the shared session: while one takes its gradient step, others sample and judge. The
trainer and the judge serve them in the order in which they ask. A run that fails does not end the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import problems
from ttsd.config import Config
from ttsd.errors import RunHeld
from ttsd.machine.capacity import Capacity, capacity, endpoint_capacity
from ttsd.machine.gpus import hardware_for
from ttsd.methods import Method
from ttsd.prompts import PromptWriter
from ttsd.record.protocol import Answer
from ttsd.record.run import Run
from ttsd.record.store import Store
from ttsd.running import run as running
from ttsd.running.engine import load_tokenizer
from ttsd.running.estimate import announcement
from ttsd.running.shared_time import Usage
from ttsd.running.writer import View
from ttsd.sampling.background import in_thread
from ttsd.sampling.plain_text import PlainText

if TYPE_CHECKING:
    from ttsd.backbone import Tokenizer


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that ended with a fault, or (`held`) that another process works on; the next `ttsd batch` resumes it."""

    run: str
    error: str
    held: bool = False


@dataclass(frozen=True, slots=True)
class Results:
    """How every run ended, and how busy the engine was (None: there was nothing to do)."""

    runs: list[Answer | Failure]
    usage: Usage | None = None

    @property
    def answers(self) -> list[Answer]:
        """Returns the answers of the runs that came to their end."""
        return [one for one in self.runs if isinstance(one, Answer)]

    @property
    def failures(self) -> list[Failure]:
        """Returns the runs that failed."""
        return [one for one in self.runs if isinstance(one, Failure) and not one.held]

    @property
    def held(self) -> list[Failure]:
        """Returns the runs that were skipped because another process works on them."""
        return [one for one in self.runs if isinstance(one, Failure) and one.held]


class Overview(Protocol):
    """Shows many runs to somebody."""

    def say(self, text: str) -> None: ...

    def expect(self, runs: int) -> None:
        """Says how many runs are to do now."""

    def view(self, name: str) -> View:
        """Returns a place for one run that is about to begin."""

    def end(self, name: str, answer: Answer | Failure) -> None: ...


def planned(questions: Sequence[str], methods: Sequence[Method], seeds: int, config: Config) -> list[Run]:
    """Returns all runs once, seed by seed, so that an interrupted batch has seen every question.

    A method whose attempts are independent samples spends its whole budget: only then is its pass@k unbiased.
    """
    loaded = {problem.name: problem for problem in map(problems.load, questions)}
    return [
        Run(loaded[name], configured(config, method), seed)
        for seed in range(seeds)
        for name in loaded
        for method in dict.fromkeys(methods)
    ]


def configured(config: Config, method: Method) -> Config:
    """Returns the settings of a run of `method` in a batch."""
    config = config.model_copy(update={"method": method.name})
    return config.changed("budget", continue_after_discovery=True) if method.iid else config


def sorted_out(runs: Sequence[Run], store: Store) -> tuple[list[Answer], list[tuple[Run, int | None]]]:
    """Returns the answers of finished runs, and the others, each with the number of the stored run to continue."""
    done, left = [], list[tuple[Run, int | None]]()
    for run in runs:
        row = store.newest(run)
        if row is not None and (answer := store.settled(row, run)):
            done.append(answer)
        else:
            left.append((run, row["run"] if row else None))
    return done, left


async def batch(runs: Sequence[Run], config: Config, *, runs_at_once: int | None, overview: Overview) -> Results:
    """Brings every run to its end, `runs_at_once` at a time (None: as many as memory allows). Repeats none."""
    with running.open_store(config) as store:
        done, left = sorted_out(runs, store)
        overview.say(f"{len(left)} runs to do, {len(done)} done before")
        overview.expect(len(left))
        finished: list[Answer | Failure] = [*done]
        if not left:
            return Results(finished)
        todo = [run for run, _ in left]
        tokenizer = await in_thread(checked, todo, config)
        room = room_for(todo, len(todo), runs_at_once, config)
        overview.say(await announcement(todo, store, at_once=room.runs))
        learns = any(run.method.learns for run in todo)
        async with running.open_session(config, store, tokenizer, learns=learns, runs_at_once=room.runs) as session:
            overview.say(f"ready (sandbox: {session.sandbox.tier}); {room}")
            results = await all_of(session, left, room.runs, overview)
            usage = session.usage()
        overview.say(str(usage))
        return Results(finished + results, usage)


def checked(runs: Iterable[Run], config: Config) -> Tokenizer | PlainText:
    """Returns the tokenizer, once every question is known to fit. UserError if one doesn't."""
    tokenizer = load_tokenizer(config)
    for run in runs:
        PromptWriter(run.problem, tokenizer, run.config)
    return tokenizer


def room_for(runs: Iterable[Run], count: int, runs_at_once: int | None, config: Config) -> Capacity:
    """Returns how many of `count` such runs share an engine: `runs_at_once`, or (None) what the memory holds."""
    if runs_at_once is not None:
        return min(Capacity(runs_at_once, "--at-once"), Capacity(count, "all of them"), key=lambda one: one.runs)
    configs = {run.method.name: run.config for run in runs}.values()
    if not config.model.local:
        return min((endpoint_capacity(one, count) for one in configs), key=lambda one: one.runs)
    from ttsd.backbone import model_sizes, resolve

    sizes, hardware = model_sizes(resolve(config.model.path, config.model.revision)), hardware_for(config.model)
    return min((capacity(one, sizes, count, hardware) for one in configs), key=lambda one: one.runs)


async def all_of(
    session: running.Session, left: Sequence[tuple[Run, int | None]], at_once: int, overview: Overview
) -> list[Answer | Failure]:
    """Brings runs to their ends, `at_once` at a time."""
    places = asyncio.Semaphore(at_once)

    async def one(run: Run, number: int | None) -> Answer | Failure:
        async with places:
            result = await to_its_end(session, run, number, overview.view)
            overview.end(str(run), result)
            return result

    return await running_together(one(run, number) for run, number in left)


async def running_together(
    runs: Iterable[Coroutine[None, None, Answer | Failure]],
) -> list[Answer | Failure]:
    """Returns what all of them return; a fault of one ends the others and is raised."""
    tasks = [asyncio.create_task(run) for run in runs]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def to_its_end(
    session: running.Session, run: Run, number: int | None, view: Callable[[str], View]
) -> Answer | Failure:
    """Executes one run. Its fault must not end its neighbours; a dead engine ends them all."""
    try:
        return await running.execute(session, run, view(str(run)), number)
    except RunHeld as error:
        return Failure(str(run), str(error), held=True)
    except Exception as error:
        await session.engine.sampler.health()
        return Failure(str(run), f"{type(error).__name__}: {error}")
