"""Scores answers that are no programs, in processes of its own, with a time limit for each answer.

A scorer is a Python function of one text: the comparison of a final answer with the right one, or the judge that the
user wrote. Neither may stall the event loop, and libraries that compare mathematics neither bear threads nor end by
themselves, so a scorer that takes too long is killed with its process. What comes back is one JSON line.

This is no sandbox: the function is trusted. The answers are not, so they are passed as text and never evaluated.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from ttsd.errors import UserError

LOADING_SECONDS = 120.0
MAX_LINE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Score:
    """What a scorer says of an answer. `value` 1 is right; None: it was stopped at its limit of `ended`.

    `unfinished` is the part of a final answer that is still to be worked out.
    """

    value: float | None
    feedback: str = ""
    unfinished: str = ""
    ended: str = ""


class ScorerError(UserError):
    """The scorer itself is broken: it can't be loaded, it raised, or it returned no score."""


class Scorer:
    """Processes that run the scorer `spec` (worker.py says what that holds), at most `workers` of them at once."""

    def __init__(self, spec: Mapping[str, Any], *, seconds: float, workers: int) -> None:
        self._spec = json.dumps(spec).encode() + b"\n"
        self._seconds = seconds
        self._places = asyncio.Semaphore(workers)
        self._idle: list[asyncio.subprocess.Process] = []

    async def __call__(self, answer: str) -> Score:
        """Scores an answer. ScorerError where the scorer is at fault and not the answer."""
        async with self._places:
            worker = self._idle.pop() if self._idle else await self._started()
            score = None
            try:
                score = await self._asked(worker, answer)
            finally:
                if score is not None and score.value is not None:
                    self._idle.append(worker)
                else:
                    await _ended(worker)
        return score

    async def start(self) -> None:
        """Starts a process that will be used later, so that ScorerError is raised now if the scorer can't be loaded."""
        self._idle.append(await self._started())

    async def close(self) -> None:
        """Ends the processes that nobody waits for."""
        while self._idle:
            await _ended(self._idle.pop())

    async def _started(self) -> asyncio.subprocess.Process:
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ttsd.judging.scoring.worker"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the owner's to handle
            limit=MAX_LINE_BYTES,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [os.getcwd(), *sys.path]))},
        )
        assert worker.stdin is not None
        worker.stdin.write(self._spec)  # not on the command line, where every user could read the right answer
        try:
            _answered(await _line(worker, LOADING_SECONDS))
        except BaseException:
            await _ended(worker)
            raise
        return worker

    async def _asked(self, worker: asyncio.subprocess.Process, answer: str) -> Score:
        assert worker.stdin is not None
        worker.stdin.write(json.dumps(answer).encode() + b"\n")
        try:
            await worker.stdin.drain()
            said = await _line(worker, self._seconds)
        except TimeoutError:
            return Score(None, ended="time")
        except ConnectionError:
            said = b""
        if not said:
            killed_for_time = await worker.wait() == -signal.SIGXCPU
            return Score(None, ended="time" if killed_for_time else "memory")
        found = _answered(said)
        return Score(found["score"], found["feedback"], found["unfinished"])


@asynccontextmanager
async def open_scorer(spec: Mapping[str, Any], *, seconds: float, workers: int) -> AsyncGenerator[Scorer, None]:
    """Returns a scorer whose processes start when they are needed and end with the block."""
    scorer = Scorer(spec, seconds=seconds, workers=workers)
    try:
        yield scorer
    finally:
        await scorer.close()


async def _line(worker: asyncio.subprocess.Process, seconds: float) -> bytes:
    assert worker.stdout is not None
    try:
        return await asyncio.wait_for(worker.stdout.readline(), seconds)
    except ValueError:  # longer than the limit
        return b'{"error": "it returned more than a megabyte of feedback; say less"}'


def _answered(line: bytes) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(line) if line else {"error": "its process ended while it was being loaded"}
    if "error" in said:
        raise ScorerError(said["error"])
    return said


async def _ended(worker: asyncio.subprocess.Process) -> None:
    if worker.returncode is None:
        worker.kill()
    if worker.stdin is not None:
        worker.stdin.close()
    await worker.wait()
