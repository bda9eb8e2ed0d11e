"""The algorithm: sample, judge, reprompt, distil, swap, until an attempt passes (SDPO, section 5, figure 12).

`learn` yields each judged `Rollout` as soon as it is there and each `Step` once its gradient step is done; storing,
showing and stopping stay with the caller. Whatever needs a device is behind `Policy`, whatever runs a program
behind `Judge`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

from ttsd.health import group_metrics
from ttsd.nouns import Completion, Lesson, Rollout, Status, Step, Verdict


class Policy(Protocol):
    """The weights in training. Only `distil` moves them, and it returns when the sampler draws from the new ones."""

    @property
    def adapter_version(self) -> int: ...

    async def sample(self, prompt_ids: Sequence[int]) -> Completion: ...

    async def distil(self, lessons: Sequence[Lesson]) -> Mapping[str, float]: ...


class Teaching(Protocol):
    """What the policy reads: the student's prompt, and the lesson that hindsight draws from each rollout."""

    @property
    def prompt_ids(self) -> tuple[int, ...]: ...

    def lessons(self, rollouts: Sequence[Rollout], earlier: Sequence[Rollout]) -> list[Lesson]: ...


Judge = Callable[[Completion], Awaitable[tuple[str | None, Verdict]]]
Event = Rollout | Step


@dataclass(frozen=True, slots=True)
class Past:
    """Where a resumed run stands: the rollouts of its finished steps, and those of a step that was broken off."""

    steps: int = 0
    adapter_version: int = 0
    rollouts: tuple[Rollout, ...] = ()
    unfinished: tuple[Rollout, ...] = ()

    @property
    def attempts(self) -> int:
        return len(self.rollouts)


START = Past()


async def learn(
    policy: Policy,
    judge: Judge,
    teaching: Teaching,
    *,
    group_size: int,
    budget: int,
    continue_after_discovery: bool = False,
    past: Past = START,
) -> AsyncGenerator[Event, None]:
    """Trains `policy` on one question for at most `budget` attempts; ends after the step with the first discovery."""
    successes, begun = [rollout for rollout in past.rollouts if rollout.verdict.visible_accepted], past.unfinished
    number, attempts = past.steps, past.attempts
    while attempts < budget:
        number, size = number + 1, min(group_size, budget - attempts)
        wanted = range(attempts + 1, attempts + size + 1)
        start, group = time.monotonic(), {rollout.attempt: rollout for rollout in begun}
        drawn = draw(
            policy, judge, teaching.prompt_ids, wanted, step=number, begun=begun, keep_all=continue_after_discovery
        )
        async with aclosing(drawn) as drawing:
            async for rollout in drawing:
                group[rollout.attempt] = rollout
                yield rollout
        rollouts, judged = tuple(group[attempt] for attempt in wanted), time.monotonic()
        discovered = any(rollout.verdict.accepted for rollout in rollouts)
        stop = discovered and not continue_after_discovery
        lessons = [] if stop else teaching.lessons(rollouts, successes)
        metrics = {**group_metrics(rollouts, lessons), **(await policy.distil(lessons) if lessons else {})}
        seconds = {"draw": judged - start, "distil": time.monotonic() - judged}
        yield Step(number, rollouts, policy.adapter_version, metrics, seconds)
        if stop:
            return
        successes += [rollout for rollout in rollouts if rollout.verdict.visible_accepted]
        attempts, begun = attempts + size, ()


async def draw(
    policy: Policy,
    judge: Judge,
    prompt_ids: Sequence[int],
    wanted: Sequence[int],
    *,
    step: int,
    begun: Sequence[Rollout] = (),
    keep_all: bool = False,
) -> AsyncGenerator[Rollout, None]:
    """One judged rollout for each attempt number in `wanted` that is not in `begun`, in the order they finish.

    Each completion is judged as soon as it ends. A discovery aborts the attempts with higher numbers (they are
    yielded as aborted) while lower ones run to their end, so that the discovery attempt is the lowest successful
    number, exactly as if the samples had been drawn one by one. With `keep_all` nothing is aborted.
    """
    done = {rollout.attempt for rollout in begun}
    first = min((rollout.attempt for rollout in begun if rollout.verdict.accepted and not keep_all), default=None)
    pending: dict[asyncio.Task[Rollout], int] = {}
    try:
        for attempt in wanted:
            if attempt in done:
                continue
            if first is not None and attempt > first:
                yield aborted(attempt, step, policy.adapter_version)
            else:
                pending[asyncio.create_task(one_attempt(policy, judge, prompt_ids, attempt, step))] = attempt
        while pending:
            finished, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(finished, key=pending.__getitem__):
                attempt = pending.pop(task)
                rollout = aborted(attempt, step, policy.adapter_version) if task.cancelled() else task.result()
                yield rollout
                if rollout.verdict.accepted and not keep_all:
                    for other in [other for other, number in pending.items() if number > attempt]:
                        other.cancel()
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def one_attempt(policy: Policy, judge: Judge, prompt_ids: Sequence[int], attempt: int, step: int) -> Rollout:
    """Samples one completion and judges it."""
    completion = await policy.sample(prompt_ids)
    start = time.monotonic()
    program, verdict = await judge(completion)
    return Rollout(attempt, step, completion, program, verdict, judge_seconds=time.monotonic() - start)


def aborted(attempt: int, step: int, adapter_version: int) -> Rollout:
    """An attempt that was requested, and counts, but whose answer nobody needed any more."""
    completion = Completion((), "", (), "abort", adapter_version)
    return Rollout(attempt, step, completion, None, Verdict(Status.ABORTED, 0, 0, 0, 0))
