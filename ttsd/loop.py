"""The algorithm: sample, judge, reprompt, distil, swap, until an attempt passes (SDPO, section 5, figure 12).

`learn` yields each judged `Rollout` as soon as it is there and each `Step` once its gradient step is done; storing,
showing and stopping stay with the caller. Whatever needs a device is behind `Policy`, whatever runs a program
behind `Judge`.

The loop owns collapse. Until one, everything is kept: weights, optimizer, teacher, and the texts that `Teaching`
remembers. After one the weights, the optimizer, the teacher and the feedback texts are discarded, since they led there;
successful attempts are kept, since they teach whatever the weights are.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Protocol

from ttsd.collapse import Collapse
from ttsd.nouns import Completion, Lesson, Reading, Rollout, Status, Step, Verdict


class Policy(Protocol):
    """The weights in training. Only `distil` and `restart` move them; then the sampler draws from the new ones."""

    @property
    def adapter_version(self) -> int: ...

    async def sample(self, prompt_ids: Sequence[int]) -> Completion: ...

    async def distil(self, lessons: Sequence[Lesson]) -> Mapping[str, float]: ...

    async def restart(self) -> None: ...


class Teaching(Protocol):
    """What the policy reads: before each attempt of a group, and in the lesson that each rollout gives.

    Both may use what finished groups said: all that `remember` was given, and, after `discard`, only its successes.
    """

    def readings(self, size: int, last: Sequence[Rollout]) -> Sequence[Reading]: ...

    def lessons(self, rollouts: Sequence[Rollout]) -> list[Lesson]: ...

    def remember(self, rollouts: Sequence[Rollout]) -> None: ...

    def discard(self) -> None: ...


Judge = Callable[[Completion], Awaitable[tuple[str | None, Verdict]]]
Event = Rollout | Step


@dataclass(frozen=True, slots=True)
class Past:
    """Where a resumed run stands: the rollouts of its finished steps, and those of steps that were broken off."""

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
    restart_after_collapse: bool = False,
    one_step_off: bool = False,
    past: Past = START,
) -> AsyncGenerator[Event, None]:
    """Trains `policy` on one question for at most `budget` attempts; ends after the step with the first discovery.

    With `restart_after_collapse` the step after which a collapse is seen restarts the weights instead of moving them.
    With `one_step_off` a gradient step is taken while the next group is being drawn, from the weights before it; the
    learner's importance weights make up for that. A step's own event then follows the rollouts of the next group.
    """
    collapse = Collapse() if restart_after_collapse else None
    number, attempts, last = past.steps, past.attempts, recall(teaching, collapse, past.rollouts)
    stop, learning = False, None
    try:
        while attempts < budget and not stop:
            number, size = number + 1, min(group_size, budget - attempts)
            group, start = Group(number, attempts + 1, size, past.unfinished), time.monotonic()
            readings = teaching.readings(size, last)
            async with aclosing(draw(policy, judge, readings, group, keep_all=continue_after_discovery)) as drawing:
                async for rollout in drawing:
                    yield rollout
            if learning is not None:
                yield await learning
            last, drawn = group.complete(), time.monotonic() - start
            stop = any(rollout.verdict.accepted for rollout in last) and not continue_after_discovery
            lessons = [] if stop else teaching.lessons(last)
            kept = last if stop else keep(teaching, collapse, last)
            learning = asyncio.create_task(take_step(policy, number, last, lessons, drawn, restart=not kept))
            if not one_step_off:
                yield await learning
                learning = None
            last, attempts = kept, attempts + size
        if learning is not None:
            yield await learning
    finally:
        if learning is not None:
            learning.cancel()
            await asyncio.gather(learning, return_exceptions=True)


def recall(teaching: Teaching, collapse: Collapse | None, rollouts: Sequence[Rollout]) -> tuple[Rollout, ...]:
    """Has `teaching` remember the rollouts of finished steps, in order; returns what is kept of the last one."""
    last: tuple[Rollout, ...] = ()
    for _, group in groupby(rollouts, key=attrgetter("step")):
        last = keep(teaching, collapse, tuple(group))
    return last


def keep(teaching: Teaching, collapse: Collapse | None, rollouts: tuple[Rollout, ...]) -> tuple[Rollout, ...]:
    """Remembers a finished group and returns it; on collapse returns nothing: the caller must restart the weights."""
    teaching.remember(rollouts)
    if collapse is None or not collapse.seen(rollouts):
        return rollouts
    teaching.discard()
    return ()


async def take_step(
    policy: Policy,
    number: int,
    rollouts: tuple[Rollout, ...],
    lessons: Sequence[Lesson],
    drawn: float,
    *,
    restart: bool = False,
) -> Step:
    """Distils `lessons` (none: nothing moves), or restarts the weights; `drawn`: the seconds that the group took."""
    start, metrics = time.monotonic(), group_metrics(rollouts, lessons)
    if restart:
        await policy.restart()
        metrics["restarted"] = 1.0
    elif lessons:
        metrics |= await policy.distil(lessons)
    seconds = {"draw": drawn, "distil": time.monotonic() - start}
    return Step(number, rollouts, policy.adapter_version, metrics, seconds)


class Group:
    """The attempts of one step, by number: those that are wanted, and those that are there."""

    def __init__(self, step: int, first: int, size: int, begun: Sequence[Rollout] = ()) -> None:
        self.step = step
        self.wanted = range(first, first + size)
        self.rollouts = {rollout.attempt: rollout for rollout in begun if rollout.attempt in self.wanted}

    def add(self, rollout: Rollout) -> Rollout:
        self.rollouts[rollout.attempt] = rollout
        return rollout

    def complete(self) -> tuple[Rollout, ...]:
        return tuple(self.rollouts[attempt] for attempt in self.wanted)


async def draw(
    policy: Policy, judge: Judge, readings: Sequence[Reading], group: Group, *, keep_all: bool = False
) -> AsyncGenerator[Rollout, None]:
    """Fills `group`; yields each judged rollout that was missing, in the order they finish. One reading an attempt.

    Each completion is judged as soon as it ends. A discovery aborts the attempts with higher numbers (they are
    yielded as aborted) while lower ones run to their end, so that the discovery attempt is the lowest successful
    number, exactly as if the samples had been drawn one by one. With `keep_all` nothing is aborted.
    """
    found = (rollout.attempt for rollout in group.rollouts.values() if rollout.verdict.accepted and not keep_all)
    first = min(found, default=None)
    pending: dict[asyncio.Task[Rollout], int] = {}
    try:
        for attempt, reading in zip(group.wanted, readings, strict=True):
            if attempt in group.rollouts:
                continue
            if first is not None and attempt > first:
                yield group.add(aborted(attempt, group.step, policy.adapter_version))
            else:
                pending[asyncio.create_task(one_attempt(policy, judge, reading, attempt, group.step))] = attempt
        while pending:
            finished, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(finished, key=pending.__getitem__):
                attempt = pending.pop(task)
                rollout = (
                    task.result() if not task.cancelled() else aborted(attempt, group.step, policy.adapter_version)
                )
                yield group.add(rollout)
                if rollout.verdict.accepted and not keep_all:
                    for other in [other for other, number in pending.items() if number > attempt]:
                        other.cancel()
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def one_attempt(policy: Policy, judge: Judge, reading: Reading, attempt: int, step: int) -> Rollout:
    """Samples one completion and judges it."""
    completion = await policy.sample(reading.prompt_ids)
    start = time.monotonic()
    program, verdict = await judge(completion)
    return Rollout(attempt, step, completion, program, verdict, time.monotonic() - start, reading.role)


def aborted(attempt: int, step: int, adapter_version: int) -> Rollout:
    """An attempt that was requested, and counts, but whose answer nobody needed any more."""
    completion = Completion((), "", (), "abort", adapter_version)
    return Rollout(attempt, step, completion, None, Verdict(Status.ABORTED, 0, 0, 0, 0))


def group_metrics(rollouts: Sequence[Rollout], lessons: Sequence[Lesson]) -> dict[str, float]:
    """Shares of a step's attempts, under the reference's names where it has them."""
    answered = [rollout for rollout in rollouts if rollout.verdict.status is not Status.ABORTED]
    count, programs = max(len(answered), 1), {rollout.program for rollout in answered}
    shares = {
        "success_sample_fraction": sum(rollout.verdict.visible_accepted for rollout in answered),
        "feedback_available_fraction": sum(bool(rollout.verdict.feedback) for rollout in answered),
        "feedback_used_fraction": sum(lesson.feedback_used for lesson in lessons),
        "reprompt_sample_fraction": sum(lesson.reprompt_ids is not None for lesson in lessons),
        "truncated_fraction": sum(rollout.completion.finish_reason == "length" for rollout in answered),
        "unique_program_fraction": len(programs),
        "completion_tokens": sum(len(rollout.completion.token_ids) for rollout in answered),
    }
    success = float(shares["success_sample_fraction"] > 0)
    return {"success_group_fraction": success, **{name: share / count for name, share in shares.items()}}
