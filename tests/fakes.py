"""A policy that answers from a list and remembers what it learned, a judge that knows the right answer, a sandbox that
runs nothing.

Real code behind the loop's own seams: no test patches anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sandbox.interface import Ending, Limits, Outcome, Program
from ttsd.config import Config
from ttsd.methods import METHODS, MethodOnQuestion
from ttsd.nouns import Attempt, Case, Completion, Example, Problem, Prompt, Status, Verdict
from ttsd.prompts import PromptWriter

QUESTION = Problem("q", "q", "question", (Case("1", "1"),), judge="m:f")  # of this kind the statement is the prompt


class ScriptedPolicy:
    """Answers `answers` in the order of request; a `(answer, turns)` pair takes that many turns of the event loop."""

    def __init__(self, answers: Iterable[str | tuple[str, int]]) -> None:
        self._answers = iter(answers)
        self.requested = 0
        self.prompts: list[tuple[int, ...]] = []
        self.cancelled = 0
        self.learned: list[list[Example]] = []
        self.returns: list[int] = []
        self.adapter_version = 0

    async def sample(self, prompt_ids: Sequence[int]) -> Completion:
        self.requested += 1
        self.prompts.append(tuple(prompt_ids))
        answer = next(self._answers)
        text, turns = answer if isinstance(answer, tuple) else (answer, 0)
        version = self.adapter_version
        try:
            for _ in range(turns):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        ids = tuple(text.encode())
        return Completion(ids, text, tuple(-0.5 for _ in ids), "stop", version)

    async def distil(self, examples: Sequence[Example]) -> Mapping[str, float]:
        self.learned.append(list(examples))
        self.adapter_version += 1
        return {"loss": 1.0 / self.adapter_version, "updated": 1.0}

    async def return_to(self, step: int) -> None:
        self.returns.append(step)
        self.adapter_version += 1


class ByteTokenizer:
    """One token a byte; a chat is the text between two marks."""

    length: int | None = None

    def chat(self, user: str) -> tuple[int, ...]:
        return (256, *user.encode(), 257)

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(i for i in ids if i < 256).decode()


async def judge_by_word(completion: Completion) -> tuple[str | None, Verdict]:
    """`right` passes; `partly` the visible cases only, `broken` none; anything else one, with feedback of its own."""
    word = completion.text
    if word == "right":
        return word, Verdict(Status.ACCEPTED, 2, 2, 1, 1)
    if word == "partly":
        return word, Verdict(Status.WRONG_ANSWER, 2, 2, 0, 1, first_failure=2)
    if word == "broken":
        return word, Verdict(Status.RUNTIME_ERROR, 0, 2, 0, 1, first_failure=0, feedback="it crashed")
    return word, Verdict(Status.WRONG_ANSWER, 1, 2, 0, 1, first_failure=1, feedback=f"{word} is wrong")


def outcome(
    printed: str = "", ending: Ending = Ending.FINISHED, stderr: str = "", result: bytes | None = None
) -> Outcome:
    return Outcome(ending, printed.encode(), stderr.encode(), result, cpu_seconds=0.25, wall_seconds=0.5)


@dataclass
class ScriptedSandbox:
    """Runs no program: `answer(source, input)` says how it ended. Remembers what was asked of it."""

    answer: Callable[[str, str], Outcome]
    ran: list[tuple[str, str]] = field(default_factory=list)
    programs: int = 0
    limits: Limits | None = None
    running: int = 0

    async def run(self, program: Program, inputs: Iterable[bytes], limits: Limits) -> AsyncGenerator[Outcome]:
        self.programs += 1
        self.limits = limits
        self.running += 1
        try:
            for data in inputs:
                await asyncio.sleep(0)
                self.ran.append((program.source, data.decode()))
                yield self.answer(program.source, data.decode())
        finally:
            self.running -= 1


def completion(text: str, finish_reason: str = "stop") -> Completion:
    return Completion((), text, (), finish_reason)  # type: ignore[arg-type]


def settings(**extensions: object) -> Config:
    """The defaults, the paper's, with some of the section `extensions` changed."""
    return Config.model_validate({"extensions": extensions})


def writer(config: Config | None = None) -> PromptWriter:
    return PromptWriter(QUESTION, ByteTokenizer(), config or Config())


def method(name: str = "sdpo", config: Config | None = None) -> MethodOnQuestion:
    """A method of the table on a question whose prompt is the word "question"."""
    return MethodOnQuestion(METHODS[name], writer(config))


def text_of(prompt: Prompt | tuple[int, ...] | None) -> str:
    """A prompt as text."""
    assert prompt is not None
    return ByteTokenizer().decode(prompt.token_ids if isinstance(prompt, Prompt) else prompt)


def attempt(number: int, text: str, verdict: Verdict, *, step: int = 1, prompt: Prompt | None = None) -> Attempt:
    ids = tuple(text.encode())
    completion = Completion(ids, text, (-1.0,) * len(ids), "stop")
    return Attempt(number, step, step, prompt or Prompt((1, 2, 3)), completion, text, verdict)


def failed(number: int, feedback: str, *, step: int = 1) -> Attempt:
    verdict = Verdict(Status.WRONG_ANSWER, 0, 2, 0, 0, feedback=feedback)
    return attempt(number, f"program {number}", verdict, step=step)
