"""The Sandbox: a few slots, shared by everyone who wants a program run."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import Self

from sandbox import canaries
from sandbox.imports import PACKAGES
from sandbox.interface import Limits, Outcome, Program, SandboxFault
from sandbox.slot import Slot, SlotLost

ATTEMPTS = 4  # at one test, before a fault of ours stops the run
PAUSE_SECONDS = 0.2  # times the attempts before
# With root's help each slot gets a user of its own from a range that systems leave alone: any, so that the slots of
# several sandboxes on one machine hardly ever share one.
_USERS = range(61_184, 65_520)


class Sandbox:
    """Runs untrusted programs. Use it as an async context manager, in one event loop.

    `slots`: how many tests run at the same time (default: the cores this process may use). `python`: the interpreter of
    the programs (default: the running one). `packages`: what they may import beyond the standard library, where that is
    installed. `unsafe`: no confinement at all, only resource limits. `landlock=False` does without Landlock even where
    the kernel has it.

    Entering raises SandboxFault, one sentence, where this machine can't confine programs and `unsafe` is not set.
    """

    def __init__(
        self,
        *,
        slots: int | None = None,
        python: str | None = None,
        packages: Sequence[str] = PACKAGES,
        unsafe: bool = False,
        landlock: bool = True,
    ) -> None:
        count = len(os.sched_getaffinity(0)) if slots is None else slots
        if count < 1:
            raise ValueError(f"a sandbox with {slots} slots can't run anything: use at least 1")
        options = {"unsafe": unsafe, "landlock": landlock, "packages": list(packages)}
        self._unsafe = unsafe
        users = random.SystemRandom().sample(_USERS, count)
        self._slots = [Slot(python or sys.executable, options | {"user": user}) for user in users]
        self._free: asyncio.Queue[Slot] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        try:
            await self.start()
            if not self._unsafe:
                _insist(await canaries.rows(self.once))
        except BaseException:
            self.stop()
            raise
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self.stop()

    async def start(self) -> None:
        """Starts the zygotes, without trying whether the sandbox holds; entering the context does both."""
        await asyncio.gather(*(slot.start() for slot in self._slots))
        for slot in self._slots:
            self._free.put_nowait(slot)

    def stop(self) -> None:
        """Ends every process of the sandbox."""
        for slot in self._slots:
            slot.stop()

    @property
    def tier(self) -> str:
        """Returns what confines the programs, for the record: "landlock 7+seccomp+user", say, or "unsafe"."""
        return "+".join(self._slots[0].mechanisms)

    @property
    def python_version(self) -> str:
        """Returns that of the interpreter that runs the programs, for the record."""
        return self._slots[0].python_version

    @property
    def zygotes(self) -> list[int]:
        """Returns the process ids of the zygotes that run now."""
        return [slot.pid for slot in self._slots if slot.pid is not None]

    async def run(self, program: Program, inputs: Iterable[bytes], limits: Limits) -> AsyncGenerator[Outcome]:
        """Runs one isolated process per input; outcomes in the order of the inputs, each computed when it is asked
        for.

        The generator holds one slot until it ends or is closed, and then ends whatever still runs.
        Raises SandboxFault where the sandbox, not the program, failed several times in a row.
        """
        slot = await self._free.get()
        try:
            for data in inputs:
                yield await _persistently(slot, program, data, limits)
        finally:
            slot.drop()
            self._free.put_nowait(slot)

    async def once(self, program: Program, data: bytes, limits: Limits) -> Outcome:
        """Runs a single test."""
        async with aclosing(self.run(program, [data], limits)) as outcomes:
            return await anext(outcomes)


def probe(python: str | None = None) -> list[canaries.Row]:
    """Tries to break out of a sandbox of one slot, for people to read. Must not be called inside a running event loop.

    Returns what holds on this machine, row by row.
    """

    async def rows() -> list[canaries.Row]:
        sandbox = Sandbox(slots=1, python=python)
        try:
            await sandbox.start()
            return [canaries.Row("confined by", True, sandbox.tier), *await canaries.rows(sandbox.once)]
        except SandboxFault as fault:
            return [canaries.Row("confined by", False, str(fault))]
        finally:
            sandbox.stop()

    return asyncio.run(rows())


async def _persistently(slot: Slot, program: Program, data: bytes, limits: Limits) -> Outcome:
    for attempt in range(ATTEMPTS):
        try:
            return await slot.test(program, data, limits)
        except SlotLost as lost:
            fault = lost
            slot.stop()
        await asyncio.sleep(attempt * PAUSE_SECONDS)
    raise SandboxFault(f"the sandbox failed {ATTEMPTS} times in a row at one test: {fault}") from fault


def _insist(rows: list[canaries.Row]) -> None:
    broken = [row for row in rows if not row.held and row.essential]
    if broken:
        listed = "; ".join(f"{row.name} ({row.detail})" for row in broken)
        raise SandboxFault(
            f"the sandbox does not hold on this machine: {listed}; `ttsd doctor` shows every row, and only "
            "--unsafe-no-sandbox runs without it"
        )
