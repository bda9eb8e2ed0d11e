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
from ttsd.running import run
from ttsd.running.batch import Failure, Task, decided, to_its_end
from ttsd.running.cluster.keeper import DistantStore
from ttsd.running.engine import load_tokenizer
from ttsd.running.record import Answer

if TYPE_CHECKING:
    from ray.actor import ActorHandle


@dataclass(frozen=True, slots=True)
class Need:
    """What a worker is started for: its part of the runs, how many completions one draws at a time, and `--at-once`."""

    runs: int
    group: int
    learns: bool
    runs_at_once: int | None


class Silent:
    """Watches a run and says nothing: it is on another machine."""

    def begin(self, run: int, job: str, past: Past, budget: int, group_size: int) -> None: ...

    def show(self, event: Event) -> None: ...


class Worker:
    """One engine. Its process is an actor's; everything it needs to know comes pickled from the driver."""

    def __init__(self, config: Config, keeper: ActorHandle, folder: str, state_dir: Path) -> None:
        os.chdir(folder)  # where relative names of questions and models mean what they mean to the driver
        self._config = config
        self._record = DistantStore(keeper, config.store.path, state_dir)
        self._stack = AsyncExitStack()
        self._session: run.Session | None = None

    async def start(self, need: Need) -> tuple[Capacity, str]:
        """Loads the engine; how many runs at once, and what confines programs."""
        room = decided(need.runs_at_once, need.group, need.runs, self._config)
        tokenizer = load_tokenizer(self._config)
        opening = run.open_session(self._config, self._record, tokenizer, learns=need.learns, runs_at_once=room.runs)
        self._session = await self._stack.enter_async_context(opening)
        return room, self._session.sandbox.tier

    async def execute(self, task: Task) -> Answer | Failure:
        assert self._session is not None
        return await to_its_end(self._session, task, lambda _: Silent())

    async def usage(self) -> str:
        assert self._session is not None
        return str(self._session.usage())

    async def stop(self) -> None:
        await self._stack.aclose()
