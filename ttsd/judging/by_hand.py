"""Judges programs by hand, as `ttsd judge` does: every case counts as visible, nothing is trained."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from pathlib import Path
from typing import Any, TextIO

import problems
from problems.problem import Problem, ProblemError, cause
from problems.split import split
from sandbox import Limits, Sandbox
from ttsd.config import Config
from ttsd.errors import UserError
from ttsd.judging.answer_judge import AnswerJudge
from ttsd.judging.judge import Judge, judge_for
from ttsd.judging.sandbox_settings import check_limits, limits_of, open_sandbox
from ttsd.nouns import Status, Verdict

Judgement = dict[str, Any]
Request = tuple[str, str]  # a question's name and a program
MAX_PROGRAM_BYTES = 1 << 20
MAX_BATCH_BYTES = 256 << 20


async def judge_program(question: str, source: str, config: Config) -> Judgement:
    """Returns the verdict on one program, as the object that `ttsd judge --json` prints."""
    problem = _loaded(question, config)  # before a sandbox starts, which could see files being read
    async with open_sandbox(config) as sandbox, _judge(problem, sandbox, config) as judge:
        return judgement(await judge.program(source), judge.limits)


async def judge_batch(requests: Sequence[Request], config: Config) -> AsyncGenerator[Judgement, None]:
    """Yields one judgement for each request, in order; several run at once.

    A question that can't be used, or whose own judge fails, costs its own requests only: they are `refused`.
    """
    if not requests:
        return  # no sandbox has to be started
    found = {question: _loaded_or_refused(question, config) for question, _ in requests}
    async with open_sandbox(config) as sandbox, AsyncExitStack() as stack:
        judges = {
            question: await stack.enter_async_context(_judge(problem, sandbox, config))
            for question, problem in found.items()
            if isinstance(problem, Problem)
        }
        gate = asyncio.Semaphore(2 * len(sandbox.zygotes))

        async def one(question: str, source: str) -> Judgement:
            if question not in judges:
                return {"question": question, **_refused(found[question])}
            judge = judges[question]
            async with gate:
                try:
                    return {"question": question, **judgement(await judge.program(source), judge.limits)}
                except UserError as error:  # of the question's own judge
                    return {"question": question, **_refused(error)}

        tasks = [asyncio.create_task(one(*request)) for request in requests]
        try:
            for task in tasks:
                yield await task
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def judgement(verdict: Verdict, limits: Limits) -> Judgement:
    """Returns a verdict as plain values, with the limits of each case that it was found under."""
    return {
        "verdict": verdict.status.value,
        "accepted": verdict.accepted,
        "passed": verdict.visible_passed + verdict.hidden_passed,
        "total": verdict.visible_total + verdict.hidden_total,
        "first_failure": verdict.first_failure,
        "feedback": verdict.feedback,
        "score": verdict.score,
        "cpu_seconds": round(verdict.cpu_seconds, 4),
        "limits": {
            "cpu_seconds": limits.cpu_seconds,
            "wall_seconds": limits.wall_seconds,
            "memory_mib": limits.memory_bytes >> 20,
            "output_mib": limits.output_bytes >> 20,
        },
    }


def read_text(path: str, stdin: TextIO) -> str:
    """Returns the text of the file `path`, or of `stdin` where `path` is `-`; UserError where it can't be read."""
    try:
        with nullcontext(stdin.buffer) if path == "-" else Path(path).open("rb") as file:  # a shell's pipes, too
            found = file.read(MAX_BATCH_BYTES + 1)
        text = found.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"can't read {path!r} ({cause(error)}); give a file in UTF-8, or - for stdin") from None
    if len(found) > MAX_BATCH_BYTES:
        raise UserError(f"{path!r} holds more than {MAX_BATCH_BYTES >> 20} MiB; split it")
    return text


def read_batch(path: str, stdin: TextIO) -> list[Request]:
    """Returns the requests of a batch, JSON lines `{"question": ..., "program": ...}`.

    A line ends at a newline, and at none of the other separators of Unicode.
    """
    return [_request(at, line) for at, line in enumerate(read_text(path, stdin).split("\n"), 1) if line.strip()]


def read_program(path: str, stdin: TextIO) -> str:
    """Returns the source in the file `path`, or on `stdin` where `path` is `-`."""
    source = read_text(path, stdin)
    if len(source.encode("utf-8", "replace")) > MAX_PROGRAM_BYTES:
        raise UserError(f"the program {path!r} is longer than {MAX_PROGRAM_BYTES} bytes; give a smaller one")
    return source


def _loaded(question: str, config: Config) -> Problem:
    problem = problems.load(question)
    check_limits(problem, config)
    return problem


def _loaded_or_refused(question: str, config: Config) -> Problem | ProblemError:
    try:
        return _loaded(question, config)
    except ProblemError as error:
        return error


def _refused(why: object) -> Judgement:
    """Returns the judgement on a program whose question can't be used."""
    empty = judgement(Verdict(Status.NO_PROGRAM, 0, 0, 0, 0, feedback=str(why)), Limits())
    return {**empty, "verdict": "refused", "limits": None}


def _judge(problem: Problem, sandbox: Sandbox, config: Config) -> AbstractAsyncContextManager[Judge | AnswerJudge]:
    everything = split(problem, "all", 0)
    return judge_for(problem, everything, sandbox, limits=limits_of(config), comparison=config.judge.comparison)


def _request(number: int, line: str) -> Request:
    try:
        request = json.loads(line)
        question, program = request["question"], request["program"]
    except (ValueError, KeyError, TypeError):
        question = program = None
    if not isinstance(question, str) or not isinstance(program, str):
        raise UserError(f'line {number} of the batch is not {{"question": "...", "program": "..."}}; correct that line')
    return question, program
