"""Checks a program's outputs: by a built-in comparison, by the user's own checker, or by one that came with a question.

A built-in comparison runs here (same_output.py), that of longer outputs in a thread, and that of long ones, which would
hold the interpreter's lock for seconds, in a process of its own (scoring/). The user's own checker is trusted
and runs in a process of its own (scoring/). A published one is not trusted and runs in the sandbox, on outputs of a
program that has ended; it is the one program there that gets an expected output, and never the one under judgement.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Literal, Protocol

from problems.checker import TOKENS, Checker
from problems.problem import Case, Problem
from problems.values import strict_json
from sandbox.interface import Ending, Limits, Outcome, Program, SandboxFault
from ttsd.judging.feedback import MAX_FIELD_CHARACTERS, clip
from ttsd.judging.same_output import decoded, right
from ttsd.judging.scoring import Score, Scorer, open_scorer

QUICK_BYTES = 64 << 10  # of output: what is compared in the event loop, in a few milliseconds
LONG_BYTES = 512 << 10  # with the expected output: what is compared in another process, which takes a second to start
LONG_MEMORY_BYTES = 2 << 30
COMPARING_SECONDS = 30.0
NOT_CHECKED = "The output could not be checked within the limits."
# What a published checker finds: three files, by the names on its command line, and nothing on standard input.
_HARNESS = """
import builtins, io, json, os, sys
files = dict(zip(["input.txt", "correct_output.txt", "solution_output.txt"], json.load(sys.stdin)))
def open_text(file, mode="r", *arguments, **named):
    if os.fspath(file) not in files or mode.strip("bt") != "r":
        raise FileNotFoundError(2, "No such file or directory", file)
    return io.BytesIO(files[os.fspath(file)].encode()) if "b" in mode else io.StringIO(files[os.fspath(file)])
builtins.open = io.open = open_text
os.path.exists = os.path.isfile = lambda path: os.fspath(path) in files
sys.argv, sys.stdin = ["checker.py", *files], io.StringIO()
exec(compile(SOURCE, "checker.py", "exec"), {"__name__": "__main__", "__file__": "checker.py"})
"""


class Runner(Protocol):
    """Says what the judge needs of a sandbox: one outcome per input, in order, run as they are asked for."""

    def run(self, program: Program, inputs: Iterable[bytes], limits: Limits) -> AsyncGenerator[Outcome]: ...


RIGHT, WRONG = Score(1.0), Score(0.0)


class Check(Protocol):
    """Checks outputs, None for a function that returned nothing, each of the case with the same number.

    With `at_once` it must be called once for all outputs of a program, after the program has left the sandbox.
    """

    at_once: bool

    async def __call__(self, cases: Sequence[Case], outputs: Sequence[bytes | None]) -> list[Score]:
        """Returns the checker's word on each output, of 0 to 1. Raises UserError where the checker is broken."""
        ...


@asynccontextmanager
async def open_check(
    problem: Problem, sandbox: Runner | None, limits: Limits, *, workers: int
) -> AsyncGenerator[Check]:
    """Opens the check that `problem.comparison` asks for; what it started ends with the block.

    Only a published checker needs a sandbox.
    """
    checker, function = problem.comparison, problem.entry_point is not None
    if checker.kind == "own":
        own = {"kind": "checker", "file": checker.program, "values": function}
        async with open_scorer(own, seconds=limits.wall_seconds, workers=workers) as scorer:
            yield OwnCheck(problem, scorer)
    elif checker.kind == "published":
        assert sandbox is not None
        yield PublishedCheck(checker.program, sandbox)
    else:
        rule = {name: getattr(checker, name) for name in ("kind", "absolute", "relative")}
        long = {"kind": "output", "checker": rule, "function": function, "memory_bytes": LONG_MEMORY_BYTES}
        async with open_scorer(long, seconds=COMPARING_SECONDS, workers=1) as scorer:
            yield BuiltInCheck(checker, function=function, scorer=scorer)


class BuiltInCheck:
    """Compares by one of the rules of same_output.py."""

    at_once = False

    def __init__(self, checker: Checker = TOKENS, *, function: bool, scorer: Scorer | None = None) -> None:
        self._checker = checker
        self._function = function
        self._scorer = scorer  # of long outputs; it starts no process before there is one

    async def __call__(self, cases: Sequence[Case], outputs: Sequence[bytes | None]) -> list[Score]:
        return [await self._checked(*pair) for pair in zip(cases, outputs, strict=True)]

    async def _checked(self, case: Case, output: bytes | None) -> Score:
        size = len(output or b"")
        if self._scorer is not None and size + len(case.expected) > LONG_BYTES:
            return await self._long(self._scorer, case, output)
        same = partial(right, output, case, self._checker, function=self._function)
        return RIGHT if (same() if size <= QUICK_BYTES else await asyncio.to_thread(same)) else WRONG

    async def _long(self, scorer: Scorer, case: Case, output: bytes | None) -> Score:
        text = decoded(output, case.expected)
        if text is None:
            return WRONG
        score = await scorer({"output": text, "expected": case.expected, "exact": case.exact})
        return Score(0.0, NOT_CHECKED) if score.ended else score


class OwnCheck:
    """Asks the user's own checker, which is loaded in a process of its own."""

    at_once = False

    def __init__(self, problem: Problem, scorer: Scorer) -> None:
        self._problem = problem
        self._scorer = scorer

    async def __call__(self, cases: Sequence[Case], outputs: Sequence[bytes | None]) -> list[Score]:
        return [await self._checked(*pair) for pair in zip(cases, outputs, strict=True)]

    async def _checked(self, case: Case, output: bytes | None) -> Score:
        text = _text(output)
        if text is None or (self._problem.entry_point is not None and not await asyncio.to_thread(_is_json, text)):
            return WRONG
        request = {"input": case.input, "output": text, "expected": case.expected}
        called = f"checker {self._problem.comparison.program!r} of {self._problem.name}"
        score = await self._scorer.asked(request, called, f"output {clip(text, MAX_FIELD_CHARACTERS)!r}")
        if score.ended:
            return Score(0.0, NOT_CHECKED)
        return Score(min(max(score.value, 0.0), 1.0), score.feedback)


class PublishedCheck:
    """Runs a checker that came with the question, in the sandbox: right is what it prints 1 for."""

    at_once = True

    def __init__(self, source: str, sandbox: Runner) -> None:
        self._program = Program(f"SOURCE = {source!r}\n{_HARNESS}")
        self._sandbox = sandbox

    async def __call__(self, cases: Sequence[Case], outputs: Sequence[bytes | None]) -> list[Score]:
        texts = [_text(output) for output in outputs]
        asked = [(case, text) for case, text in zip(cases, texts, strict=True) if text is not None]
        inputs = (json.dumps([case.input, case.expected, text]).encode() for case, text in asked)
        async with aclosing(self._sandbox.run(self._program, inputs, Limits())) as outcomes:
            said = [_verdict_of(outcome) async for outcome in outcomes]
        if len(said) != len(asked):
            raise SandboxFault(f"the sandbox checked {len(said)} of {len(asked)} outputs and reported no failure")
        verdicts = iter(said)
        return [WRONG if text is None else next(verdicts) for text in texts]


def compared(problem: Problem, comparison: Literal["question", "livecodebench"]) -> Problem:
    """Returns `problem` as the setting `judge.comparison` has it judged.

    LiveCodeBench's rule holds, whatever error the statement grants, for what has no checker of its own.
    """
    return replace(problem, checker=TOKENS) if comparison == "livecodebench" and problem.checker is None else problem


def _verdict_of(outcome: Outcome) -> Score:
    return RIGHT if outcome.ending is Ending.FINISHED and outcome.stdout.strip() == b"1" else WRONG


def _text(output: bytes | None) -> str | None:
    try:
        return None if output is None else output.decode()
    except UnicodeDecodeError:
        return None


def _is_json(text: str) -> bool:
    try:
        strict_json(text)
    except ValueError:
        return False
    return True
