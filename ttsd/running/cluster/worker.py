"""One engine in a process of its own, on whatever machine it was placed."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ttsd.config import Config
from ttsd.loop import Event, Past
from ttsd.machine.capacity import Capacity
from ttsd.record.protocol import Answer
from ttsd.running import run
from ttsd.running.batch import Failure, decided, to_its_end
from ttsd.running.budget import Meter
from ttsd.running.cluster.keeper import DistantStore
from ttsd.running.engine import load_tokenizer, takes_turns
from ttsd.running.tasks import Task
from ttsd.running.watchdog import speaker

if TYPE_CHECKING:
    from ray.actor import ActorHandle


@dataclass(frozen=True, slots=True)
class Need:
    """What a worker is started for: its part of the runs, how many completions one draws at a time, and `--at-once`."""

    runs: int
    group: int
    learns: bool
    runs_at_once: int | None


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a worker is: Ray's name of the machine, and the cores that the worker may use there."""

    node: str
    cores: int


def with_its_cores(config: Config, cores: int, runs: int, *, learns: bool) -> Config:
    """The settings of a worker that has `cores` for itself: judge slots, and threads of sampler and trainer.

    Nothing is left to be guessed from the machine: neighbours are on it, and Ray tells each actor OMP_NUM_THREADS=1.
    """
    from ttsd.backbone import cpu_threads

    threads = cpu_threads(config.model.threads, alone=takes_turns(config, runs, learns=learns), cores=cores)
    slots = config.judge.slots or max(1, cores - int(runs > 1))
    judge = config.judge.model_copy(update={"slots": slots})
    model = config.model.model_copy(update={"threads": threads})
    return config.model_copy(update={"judge": judge, "model": model})


class Silent:
    """Watches a run and says nothing: it is on another machine."""

    def begin(self, run: int, job: str, past: Past, meter: Meter, group_size: int) -> None: ...

    def show(self, event: Event) -> None: ...


class Worker:
    """One engine. Its process is an actor's; everything it needs to know comes pickled from the driver."""

    def __init__(self, config: Config, keeper: ActorHandle, folder: str, state_dir: Path) -> None:
        os.chdir(folder)  # where relative names of questions and models mean what they mean to the driver
        self._config = config
        self._record = DistantStore(keeper, config.store.path, state_dir)
        self._stack = AsyncExitStack()
        self._session: run.Session | None = None
        self._lines: list[str] = []

    async def machine(self) -> Machine:
        import ray

        return Machine(ray.get_runtime_context().get_node_id(), len(os.sched_getaffinity(0)))

    async def start(self, need: Need, cores: int) -> tuple[Capacity, str]:
        """Loads the engine, which may use `cores`; how many runs at once, and what confines programs."""
        speaker.set(self._lines.append)
        room = decided(need.runs_at_once, need.group, need.runs, self._config)
        config = with_its_cores(self._config, cores, room.runs, learns=need.learns)
        tokenizer = load_tokenizer(config)
        opening = run.open_session(config, self._record, tokenizer, learns=need.learns, runs_at_once=room.runs)
        self._session = await self._stack.enter_async_context(opening)
        return room, self._session.sandbox.tier

    async def execute(self, task: Task) -> Answer | Failure:
        assert self._session is not None
        return await to_its_end(self._session, task, lambda _: Silent())

    async def said(self) -> list[str]:
        """What the watchdog had to say since the last time."""
        lines, self._lines[:] = list(self._lines), []
        return lines

    async def usage(self) -> str:
        assert self._session is not None
        return str(self._session.usage())

    async def stop(self) -> None:
        await self._stack.aclose()
