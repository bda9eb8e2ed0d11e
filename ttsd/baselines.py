"""What learning is measured against, on the same engine and the same judge.

best-of-k is `loop.learn` with a policy that can't: a frozen model, i.i.d. samples. Multi-turn keeps the feedback in
the context instead of in the weights (SDPO, section 5.1), one attempt after the other.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from ttsd.loop import START, Event, Judge, Past, Policy, one_attempt
from ttsd.nouns import Completion, Lesson, Reading, Rollout, Step


class Frozen:
    """A policy whose weights never move; `draw` gives one completion of them."""

    adapter_version = 0

    def __init__(self, draw: Callable[[Sequence[int]], Awaitable[Completion]]) -> None:
        self._draw = draw

    async def sample(self, prompt_ids: Sequence[int]) -> Completion:
        return await self._draw(prompt_ids)

    async def distil(self, lessons: Sequence[Lesson]) -> Mapping[str, float]:
        return {}

    async def restart(self) -> None: ...


class Conversation(Protocol):
    """The prompt of the next turn, given the rollouts of all earlier ones."""

    def prompt_ids(self, earlier: Sequence[Rollout]) -> tuple[int, ...]: ...


async def multi_turn(
    policy: Policy,
    judge: Judge,
    conversation: Conversation,
    *,
    budget: int,
    continue_after_discovery: bool = False,
    past: Past = START,
) -> AsyncGenerator[Event, None]:
    """One attempt a step, each reading the feedback of those before it; ends with the first discovery."""
    rollouts = list(past.rollouts)
    for rollout in past.unfinished:  # judged, but its step's row was not written any more
        yield Step(len(rollouts) + 1, (rollout,), 0)
        rollouts.append(rollout)
    while len(rollouts) < budget and (continue_after_discovery or not any(r.verdict.accepted for r in rollouts)):
        start, number = time.monotonic(), len(rollouts) + 1
        rollout = await one_attempt(policy, judge, Reading(conversation.prompt_ids(rollouts)), number, number)
        yield rollout
        yield Step(number, (rollout,), 0, seconds={"draw": time.monotonic() - start, "distil": 0.0})
        rollouts.append(rollout)
