"""A policy that answers from a list and remembers what it was taught, and a judge that knows the right answer.

Real code behind the loop's own seams: no test patches anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from ttsd.nouns import Completion, Lesson, Status, Verdict


class ScriptedPolicy:
    """Answers `answers` in the order of request; a `(answer, turns)` pair takes that many turns of the event loop."""

    def __init__(self, answers: Iterable[str | tuple[str, int]]) -> None:
        self._answers = iter(answers)
        self.requested = 0
        self.cancelled = 0
        self.taught: list[list[Lesson]] = []
        self.restarts = 0
        self.adapter_version = 0

    async def sample(self, prompt_ids: Sequence[int]) -> Completion:
        self.requested += 1
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
        return Completion(ids, text, tuple(-0.5 for _ in ids), "stop", version, len(prompt_ids))

    async def distil(self, lessons: Sequence[Lesson]) -> Mapping[str, float]:
        self.taught.append(list(lessons))
        self.adapter_version += 1
        return {"loss": 1.0 / self.adapter_version, "updated": 1.0}

    async def restart(self) -> None:
        self.restarts += 1
        self.adapter_version += 1


class ByteTokenizer:
    """One token a byte; a chat is the text between two marks."""

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
