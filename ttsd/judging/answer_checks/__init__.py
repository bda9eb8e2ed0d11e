"""Runs a check of an answer in processes of its own, with a time limit for each answer.

A check is a Python function of one text: the comparison of a final answer with the right one, or the judge that the
user wrote. Neither may stall the event loop, and libraries that compare mathematics neither bear threads nor end by
themselves, so a check that takes too long is killed with its process. What comes back is one JSON line.

This is no sandbox: the function is trusted. The answers are not, so they are passed as text and never evaluated.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from ttsd.errors import UserError

LOADING_SECONDS = 120.0
MAX_LINE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a check says of an answer. `score` 1 is right; None: it was stopped at its limit of `ended`."""

    score: float | None
    feedback: str = ""
    ended: str = ""


class CheckError(UserError):
    """The check itself is broken: it can't be loaded, it raised, or it returned no score."""


class Checker:
    """Processes that run the check `spec` (worker.py says what that holds), at most `workers` of them at once."""

    def __init__(self, spec: Mapping[str, Any], *, seconds: float, workers: int) -> None:
        self._spec = json.dumps(spec)
        self._seconds = seconds
        self._places = asyncio.Semaphore(workers)
        self._idle: list[asyncio.subprocess.Process] = []

    async def __call__(self, answer: str) -> Opinion:
        """CheckError where the check is at fault and not the answer."""
        async with self._places:
            worker = self._idle.pop() if self._idle else await self._started()
            opinion = None
            try:
                opinion = await self._asked(worker, answer)
            finally:
                if opinion is not None and opinion.score is not None:
                    self._idle.append(worker)
                else:
                    await _ended(worker)
        return opinion

    async def close(self) -> None:
        while self._idle:
            await _ended(self._idle.pop())

    async def _started(self) -> asyncio.subprocess.Process:
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ttsd.judging.answer_checks.worker", self._spec),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the owner's to handle
            limit=MAX_LINE_BYTES,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [os.getcwd(), *sys.path]))},
        )
        try:
            _checked(await _line(worker, LOADING_SECONDS))
        except BaseException:
            await _ended(worker)
            raise
        return worker

    async def _asked(self, worker: asyncio.subprocess.Process, answer: str) -> Opinion:
        assert worker.stdin is not None
        worker.stdin.write(json.dumps(answer).encode() + b"\n")
        try:
            await worker.stdin.drain()
            said = await _line(worker, self._seconds)
        except TimeoutError:
            return Opinion(None, ended="time")
        except ConnectionError:
            return Opinion(None, ended="memory")
        if not said:
            return Opinion(None, ended="memory")  # killed by the kernel, most likely for that
        found = _checked(said)
        return Opinion(found["score"], found["feedback"])


@asynccontextmanager
async def checking(spec: Mapping[str, Any], *, seconds: float, workers: int) -> AsyncGenerator[Checker, None]:
    """A checker whose processes start when they are needed and end with the block."""
    checker = Checker(spec, seconds=seconds, workers=workers)
    try:
        yield checker
    finally:
        await checker.close()


async def _line(worker: asyncio.subprocess.Process, seconds: float) -> bytes:
    assert worker.stdout is not None
    try:
        return await asyncio.wait_for(worker.stdout.readline(), seconds)
    except ValueError:  # longer than the limit
        return b'{"error": "it returned more than a megabyte of feedback; say less"}'


def _checked(line: bytes) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(line) if line else {"error": "its process ended while it was being loaded"}
    if "error" in said:
        raise CheckError(said["error"])
    return said


async def _ended(worker: asyncio.subprocess.Process) -> None:
    if worker.returncode is None:
        worker.kill()
    if worker.stdin is not None:
        worker.stdin.close()
    await worker.wait()
