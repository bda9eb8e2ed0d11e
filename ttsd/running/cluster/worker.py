"""One engine in a process of its own, on whatever machine it was placed."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ttsd.config import Config
from ttsd.loop import Event
from ttsd.machine.capacity import Capacity
from ttsd.record.protocol import Answer, Past
from ttsd.record.run import Run
from ttsd.running import run as running
from ttsd.running.batch import Failure, room_for, to_its_end
from ttsd.running.budget import Meter
from ttsd.running.cluster.keeper import DistantStore
from ttsd.running.engine import load_tokenizer, takes_turns
from ttsd.running.watchdog import speaker

if TYPE_CHECKING:
    from ray.actor import ActorHandle


@dataclass(frozen=True, slots=True)
class Need:
    """What a worker is started for: all runs, how many of them are its part, and `--at-once`."""

    runs: tuple[Run, ...]
    part: int
    runs_at_once: int | None

    @property
    def learns(self) -> bool:
        """Tells whether at least one run trains."""
        return any(run.method.learns for run in self.runs)


@dataclass(frozen=True, slots=True)
class Machine:
    """Names the machine of a worker, as Ray does, and counts the cores that it may use there."""

    node: str
    cores: int


def with_its_cores(config: Config, cores: int, runs: int, *, learns: bool) -> Config:
    """Returns the settings of a worker that has `cores` for itself: judge slots, and threads of sampler and trainer.

    Nothing is guessed from the machine: other workers are on it, and Ray sets OMP_NUM_THREADS=1 for each actor.
    """
    from ttsd.backbone import cpu_threads

    threads = cpu_threads(config.model.threads, alone=takes_turns(config, runs, learns=learns), cores=cores)
    slots = config.judge.slots or max(1, cores - int(runs > 1))
    judge = config.judge.model_copy(update={"slots": slots})
    model = config.model.model_copy(update={"threads": threads})
    return config.model_copy(update={"judge": judge, "model": model})


class Silent:
    """Shows nothing: the run is on another machine."""

    def begin(self, number: int, run: Run, past: Past, meter: Meter) -> None: ...

    def show(self, event: Event) -> None: ...


class Worker:
    """One engine. Its process is an actor's; everything it needs to know comes pickled from the driver."""

    def __init__(self, config: Config, keeper: ActorHandle, folder: str, state_dir: Path) -> None:
        os.chdir(folder)  # where relative names of questions and models mean what they mean to the driver
        self._config = config
        self._database = DistantStore(keeper, config.store.path, state_dir)
        self._stack = AsyncExitStack()
        self._session: running.Session | None = None
        self._lines: list[str] = []

    async def machine(self) -> Machine:
        import ray

        return Machine(ray.get_runtime_context().get_node_id(), len(os.sched_getaffinity(0)))

    async def start(self, need: Need, cores: int) -> tuple[Capacity, str]:
        """Loads the engine, which may use `cores`; returns how many runs at once, and what confines programs."""
        speaker.set(self._lines.append)
        room = room_for(need.runs, need.part, need.runs_at_once, self._config)
        config = with_its_cores(self._config, cores, room.runs, learns=need.learns)
        tokenizer = load_tokenizer(config)
        opening = running.open_session(config, self._database, tokenizer, learns=need.learns, runs_at_once=room.runs)
        self._session = await self._stack.enter_async_context(opening)
        return room, self._session.sandbox.tier

    async def execute(self, run: Run, number: int | None) -> Answer | Failure:
        """Brings a run to its end."""
        assert self._session is not None
        return await to_its_end(self._session, run, number, lambda _: Silent())

    async def said(self) -> list[str]:
        """Returns what the watchdog had to say since the last time."""
        lines, self._lines[:] = list(self._lines), []
        return lines

    async def usage(self) -> str:
        """Says how busy the engine was."""
        assert self._session is not None
        return str(self._session.usage())

    async def stop(self) -> None:
        """Stops the engine."""
        await self._stack.aclose()
