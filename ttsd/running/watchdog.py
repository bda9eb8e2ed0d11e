"""Says who is waited for when nothing moves: a run that hangs without a reason is the worst of faults.

Sampler, judge and trainer are watched while somebody uses them, and so is whatever is waited for before: models that
load, workers that look for a place. What makes no progress for a while is named in one line, and again each time it has
been silent twice as long. Nothing is ended: a very long gradient step looks the same from here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from ttsd.running.shared_time import Shared, Spending
from ttsd.terminal import say

QUIET_SECONDS = 300.0
LOOKS = 10  # in that time


# Who says the lines.
speaker: ContextVar[Callable[[str], None]] = ContextVar("speaker", default=lambda line: say(f"ttsd: {line}"))


@dataclass(slots=True)
class Watched:
    """A shared thing, named `who`. It gets on when somebody comes or leaves, and when `progress` changes."""

    who: str
    shared: Shared
    progress: Callable[[], object] = lambda: None
    _seen: object = None
    _since: float = 0.0
    _patience: float = 0.0

    def look(self, now: float, quiet_seconds: float) -> str | None:
        """Returns a line when it has been silent for too long. `now`: seconds since 1970."""
        seen = (self.shared.turns, self.progress())
        if not self.shared.users or seen != self._seen:
            self._seen, self._since, self._patience = seen, now, quiet_seconds
            return None
        silent = now - self._since
        if silent < self._patience:
            return None
        self._patience *= 2
        since = time.strftime("%H:%M:%S", time.localtime(self._since))
        return f"no progress for {silent:.0f} s: {self.shared.users} waiting for the {self.who} since {since}"


def silent_things(watched: Iterable[Watched], now: float, quiet_seconds: float) -> list[str]:
    """Returns a line for each thing that has been silent for too long. `now`: seconds since 1970."""
    return [line for one in watched if (line := one.look(now, quiet_seconds))]


@asynccontextmanager
async def watching(watched: Sequence[Watched], quiet_seconds: float = QUIET_SECONDS) -> AsyncGenerator[None, None]:
    """Watches while inside."""
    task = asyncio.create_task(_watch(watched, quiet_seconds))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def waiting_for(who: str, quiet_seconds: float = QUIET_SECONDS) -> AsyncGenerator[None, None]:
    """Watches whatever the caller waits for inside."""
    shared = Shared(who)
    async with watching([Watched(who, shared)], quiet_seconds), shared.use(Spending()):
        yield


async def _watch(watched: Sequence[Watched], quiet_seconds: float) -> None:
    while True:
        for line in silent_things(watched, time.time(), quiet_seconds):
            speaker.get()(line)
        await asyncio.sleep(quiet_seconds / LOOKS)
