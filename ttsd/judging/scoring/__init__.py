"""Scores what no built-in comparison can, in processes of its own, with a time limit for each request.

A scorer is a Python function: the comparison of a final answer with the right one, or a judge or checker that the user
wrote. Neither may stall the event loop, and libraries that compare mathematics neither bear threads nor stop, so a
scorer that takes too long is ended with its process and everything that it has started. What comes back is one JSON
line.

This is no sandbox: the function is trusted. What it scores is not, so that is passed as text and never evaluated.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from ttsd.errors import UserError
from ttsd.search_path import without_working_directory

LOADING_SECONDS = 120.0
MAX_LINE_BYTES = 1 << 20
STOP_SECONDS = 10.0
MAX_LAST_WORDS = 400
Request = str | Mapping[str, str | bool]
SIGNALLED = 128  # exit status of a scorer that a signal ended, less the signal's number


@dataclass(frozen=True, slots=True)
class Score:
    """Holds what a scorer or a checker says. `value` 1 is right; with `ended` it was stopped at its limit of that.

    `feedback` is its own word; `unfinished` is the part of a final answer that is still to be worked out.
    """

    value: float
    feedback: str = ""
    unfinished: str = ""
    ended: str = ""


class ScorerError(UserError):
    """Says that the scorer itself is broken: it can't be loaded, raised, ended its process, or returned no score."""


@dataclass(slots=True)
class _Worker:
    """Holds a worker's process and the end of what it has printed."""

    process: asyncio.subprocess.Process
    printed: bytearray = field(default_factory=bytearray)
    copying: asyncio.Task[None] = field(init=False)

    def __post_init__(self) -> None:
        self.copying = asyncio.create_task(self.copy())

    async def copy(self) -> None:
        """Shows what the scorer prints on stderr, and keeps its end."""
        assert self.process.stderr is not None
        while data := await self.process.stderr.read(1 << 16):
            sys.stderr.write(data.decode("utf-8", "replace"))
            self.printed[:] = (self.printed + data)[-MAX_LAST_WORDS:]

    async def last_words(self) -> str:
        """Returns the last lines that the ended scorer printed."""
        await asyncio.wait([self.copying], timeout=STOP_SECONDS)
        return " | ".join(self.printed.decode("utf-8", "replace").split("\n")[-4:]).strip(" |")

    async def end(self) -> None:
        """Ends the scorer and everything that it has started."""
        if self.process.returncode is None:
            self.process.terminate()
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), STOP_SECONDS)
        except TimeoutError:
            with suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
        self.copying.cancel()


class Scorer:
    """Runs the scorer `spec` (worker.py says what that holds) in at most `workers` processes at once."""

    def __init__(
        self, spec: Mapping[str, Any], *, seconds: float, workers: int, loading_seconds: float = LOADING_SECONDS
    ) -> None:
        self._loading_seconds = loading_seconds
        self._spec = json.dumps(spec).encode() + b"\n"
        self._is_own = spec["kind"] in ("judge", "checker")
        self._seconds = seconds
        self._places = asyncio.Semaphore(workers)
        self._idle: list[_Worker] = []

    async def __call__(self, request: Request) -> Score:
        """Returns the score of one request; ScorerError where the scorer is at fault and not what it scores."""
        async with self._places:
            worker = self._idle.pop() if self._idle else await self._started()
            score = None
            try:
                score = await self._exchanged(worker, request)
            finally:
                if score is not None and not score.ended:
                    self._idle.append(worker)
                else:
                    await worker.end()
        return score

    async def asked(self, request: Request, called: str, judged: str) -> Score:
        """Returns the score of one request. UserError: the scorer `called` fails on `judged`; both are for people."""
        try:
            return await self(request)
        except ScorerError as error:
            remedy = f"correct the {called.partition(' ')[0]} and run the same command again"
            raise UserError(f"the {called} failed ({error}) on the {judged}; {remedy}") from None

    async def start(self) -> None:
        """Starts a process that will be used later, so that ScorerError is raised now if the scorer can't be loaded."""
        self._idle.append(await self._started())

    async def close(self) -> None:
        """Ends the processes that nobody waits for."""
        while self._idle:
            await self._idle.pop().end()

    async def _started(self) -> _Worker:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "ttsd.judging.scoring.worker"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the owner's to handle
            limit=MAX_LINE_BYTES,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(without_working_directory(sys.path))},
        )
        worker = _Worker(process)
        try:
            try:  # not on the command line, where every user could read the right answer
                line = await _answered(process, self._spec, self._loading_seconds)
            except TimeoutError:
                raise ScorerError(f"it was not loaded within {self._loading_seconds:g} seconds") from None
            if not line:
                raise ScorerError(f"it ended while it was being loaded{_quoted(await worker.last_words())}")
            _said(line)
        except BaseException:
            await worker.end()
            raise
        return worker

    async def _exchanged(self, worker: _Worker, request: Request) -> Score:
        try:
            line = await _answered(worker.process, json.dumps(request).encode() + b"\n", self._seconds)
        except TimeoutError:
            return Score(0.0, ended="time")
        if not line:
            return await self._death(worker)
        found = _said(line)
        return Score(found["score"], found["feedback"], found["unfinished"])

    async def _death(self, worker: _Worker) -> Score:
        """Returns the limit that the comparison of an answer has met; any other scorer's death is its own fault."""
        status = await worker.process.wait()
        if not self._is_own:
            return Score(0.0, ended="time" if status == SIGNALLED + signal.SIGXCPU else "memory")
        killed = signal.strsignal(status - SIGNALLED) if status > SIGNALLED else None
        how = f"by a signal, {killed}" if killed else f"with exit status {status}"
        raise ScorerError(f"its process ended {how}{_quoted(await worker.last_words())}")


@asynccontextmanager
async def open_scorer(spec: Mapping[str, Any], *, seconds: float, workers: int) -> AsyncGenerator[Scorer, None]:
    """Opens a scorer whose processes start when they are needed and end with the block."""
    scorer = Scorer(spec, seconds=seconds, workers=workers)
    try:
        yield scorer
    finally:
        await scorer.close()


async def _answered(process: asyncio.subprocess.Process, line: bytes, seconds: float) -> bytes:
    """Sends a line and returns the one that comes back, an empty one of a process that has ended. Or TimeoutError."""
    assert process.stdin is not None
    assert process.stdout is not None
    async with asyncio.timeout(seconds):
        try:
            process.stdin.write(line)
            await process.stdin.drain()
            return await process.stdout.readline()
        except ConnectionError:
            return b""
        except ValueError:  # longer than the limit
            return b'{"error": "it returned more than a megabyte of feedback; say less"}'


def _said(line: bytes) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(line)
    if "error" in said:
        raise ScorerError(said["error"])
    return said


def _quoted(last_words: str) -> str:
    return f"; it printed {last_words!r}" if last_words else ""
