"""What runs spend of the things they share: the sampler, the judge's slots and the trainer.

Each moment of a shared thing is divided equally among its users, so the shares of all runs add up to the time in which
it was busy; of a sampler on a GPU these are GPU-seconds. Waiting for a place costs nothing, and places are given in the
order of asking. Not here: the CPU time of judged programs, which the sandbox measures.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import psutil

Clock = Callable[[], float]


class Spending:
    """Counts the seconds that one run has spent since they were last taken, by what they were spent on."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def add(self, what: str, seconds: float) -> None:
        self._seconds[what] += seconds

    def take(self) -> dict[str, float]:
        taken, self._seconds = self._seconds, defaultdict(float)
        return dict(taken)


class Shared:
    """Something that runs share, known as `name`. `places`: how many can be at it at once (None: any number)."""

    def __init__(self, name: str, places: int | None = None, clock: Clock = time.monotonic) -> None:
        self.name = name
        self.busy_seconds = 0.0
        self.use_seconds = 0.0  # of all users together
        self.users = 0
        self.turns = 0  # how often a user came or left
        self._gate = asyncio.Semaphore(places) if places is not None else None
        self._clock = clock
        self._share = 0.0  # what a user would have spent that was here all the time
        self._noted = clock()

    @asynccontextmanager
    async def use(self, spending: Spending) -> AsyncGenerator[None, None]:
        """Waits for a place and holds it. The seconds go to `spending`, as `name` and as `wait_name`."""
        asked = self._clock()
        if self._gate is not None:
            await self._gate.acquire()
            spending.add(f"wait_{self.name}", self._clock() - asked)
        before = self._enter(1)
        try:
            yield
        finally:
            spending.add(self.name, self._enter(-1) - before)
            if self._gate is not None:
                self._gate.release()

    def _enter(self, change: int) -> float:
        """Settles the time so far, then changes the number of users; returns the share up to now."""
        now = self._clock()
        if self.users:
            self.busy_seconds += now - self._noted
            self.use_seconds += self.users * (now - self._noted)
            self._share += (now - self._noted) / self.users
        self._noted, self.users, self.turns = now, self.users + change, self.turns + 1
        return self._share


@dataclass(frozen=True, slots=True)
class Usage:
    """Tells what an engine did in `seconds` of wall time: the share of them in which each shared thing was busy.

    `at_once`: how many used it, on average over its busy time. `cpu_seconds`: of this process and its children.
    """

    seconds: float
    busy: dict[str, float]
    at_once: dict[str, float]
    cpu_seconds: float

    def __str__(self) -> str:
        shares = ", ".join(f"{name} {busy:.0%} ({self.at_once[name]:.1f} at once)" for name, busy in self.busy.items())
        return f"busy of {self.seconds:.0f} s: {shares}; {self.cpu_seconds / self.seconds:.2f} cores"


class Stopwatch:
    """Measures an engine's `Usage` from now on, while its processes live."""

    def __init__(self) -> None:
        self._start, self._cpu = time.monotonic(), _cpu_seconds()

    def usage(self, *shared: Shared) -> Usage:
        seconds = time.monotonic() - self._start
        return Usage(
            seconds,
            {one.name: one.busy_seconds / seconds for one in shared},
            {one.name: one.use_seconds / one.busy_seconds if one.busy_seconds else 0.0 for one in shared},
            _cpu_seconds() - self._cpu,
        )


def _cpu_seconds() -> float:
    """Returns the CPU time of this process and all below it, as far as ended ones were waited for."""
    own = psutil.Process()
    total = 0.0
    for process in (own, *own.children(recursive=True)):
        with suppress(psutil.Error):  # it ended just now
            total += sum(process.cpu_times()[:4])
    return total
