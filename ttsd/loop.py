"""The algorithm: sample, judge, reprompt, distil, swap, until an attempt passes (SDPO, section 5, figure 12).

`learn` yields each judged `Attempt` as soon as it is there and each `Step` once its gradient step is done; storing,
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
from ttsd.nouns import Attempt, Completion, Example, Reading, Status, Step, Verdict


class Policy(Protocol):
    """The weights in training. Only `distil` and `restart` move them; then the sampler draws from the new ones."""

    @property
    def adapter_version(self) -> int: ...

    async def sample(self, prompt_ids: Sequence[int]) -> Completion: ...

    async def distil(self, lessons: Sequence[Example]) -> Mapping[str, float]: ...

    async def restart(self) -> None: ...


class Teaching(Protocol):
    """What the policy reads: before each attempt, and in the lesson that each rollout gives.

    `readings` is asked once a round; `known` are all rollouts so far, in order, but none from before a collapse.
    `lessons` is asked once a group; `readings` are those of its attempts, by number (the question, where one lacks).
    Both may use what finished groups said: all that `remember` was given, and, after `discard`, only its successes.
    """

    def readings(self, size: int, known: Sequence[Attempt]) -> Sequence[Reading]: ...

    def lessons(self, rollouts: Sequence[Attempt], readings: Mapping[int, Reading]) -> Sequence[Example]: ...

    def remember(self, rollouts: Sequence[Attempt]) -> None: ...

    def discard(self) -> None: ...


Judge = Callable[[Completion], Awaitable[tuple[str | None, Verdict]]]
Event = Attempt | Step


@dataclass(frozen=True, slots=True)
class Past:
    """Where a resumed run stands: the rollouts of its finished steps, and those of a step that was not finished."""

    steps: int = 0
    adapter_version: int = 0
    rollouts: tuple[Attempt, ...] = ()
    unfinished: tuple[Attempt, ...] = ()

    @property
    def attempts(self) -> int:
        return len(self.rollouts)

    @property
    def rounds(self) -> int:
        return max((rollout.round for rollout in self.rollouts), default=0)


START = Past()


@dataclass(frozen=True, slots=True)
class Rounds:
    """How many attempts of a group are drawn at once: `growth` times the verdicts known, from `least` to `size`.

    With growth 1 these are rounds of 1, 1, 2, 4, ...; without a size the whole group is one round.
    """

    size: int | None = None
    growth: float = 1.0
    least: int = 1

    def next(self, known: int, missing: int) -> int:
        """The size of the next round, of the `missing` attempts of a group."""
        return missing if self.size is None else min(max(int(known * self.growth), self.least), self.size, missing)


WHOLE_GROUPS = Rounds()


async def learn(
    policy: Policy,
    judge: Judge,
    teaching: Teaching,
    *,
    group_size: int,
    budget: int,
    rounds: Rounds = WHOLE_GROUPS,
    continue_after_discovery: bool = False,
    restart_after_collapse: bool = False,
    one_step_off: bool = False,
    enough: Callable[[], bool] = lambda: False,
    past: Past = START,
) -> AsyncGenerator[Event, None]:
    """Trains `policy` on one question for at most `budget` attempts; ends after the step with the first discovery.

    A group is drawn in `rounds`, each of which reads the verdicts of all rounds before it. `enough` is asked before
    each round and ends the run there: a budget of something else than attempts is spent.
    With `restart_after_collapse` the step after which a collapse is seen restarts the weights instead of moving them.
    With `one_step_off` a gradient step is taken while the next group is being drawn, from the weights before it; the
    learner's importance weights make up for that. A step's own event then follows the rollouts of the next group.
    """
    collapse = Collapse() if restart_after_collapse else None
    known, attempts, group = recall(teaching, collapse, past.rollouts), past.attempts, Group(past.steps, past.rounds)
    stop, learning = False, None
    try:
        recorded = max((rollout.attempt for rollout in past.unfinished), default=0)
        while attempts < budget and not stop and (attempts < recorded or not enough()):
            group, start = group.next(attempts, min(group_size, budget - attempts), past.unfinished), time.monotonic()
            drawing = fill(group, known, policy, judge, teaching, rounds, enough, keep_all=continue_after_discovery)
            async with aclosing(drawing):
                async for rollout in drawing:
                    yield rollout
            if learning is not None:
                yield await learning
            last, drawn = group.complete(), time.monotonic() - start
            stop = any(rollout.verdict.accepted for rollout in last) and not continue_after_discovery
            lessons = [] if stop else teaching.lessons(last, group.readings)
            known = last if stop else keep(teaching, collapse, known, last)
            learning = asyncio.create_task(take_step(policy, group.step, last, lessons, drawn, restart=not known))
            if not one_step_off:
                yield await learning
                learning = None
            attempts += len(last)
        if learning is not None:
            yield await learning
    finally:
        if learning is not None:
            learning.cancel()
            await asyncio.gather(learning, return_exceptions=True)


def recall(teaching: Teaching, collapse: Collapse | None, rollouts: Sequence[Attempt]) -> tuple[Attempt, ...]:
    """Has `teaching` remember the rollouts of finished steps, in order; returns those that are kept."""
    known: tuple[Attempt, ...] = ()
    for _, group in groupby(rollouts, key=attrgetter("step")):
        known = keep(teaching, collapse, known, tuple(group))
    return known


def keep(
    teaching: Teaching, collapse: Collapse | None, known: tuple[Attempt, ...], group: tuple[Attempt, ...]
) -> tuple[Attempt, ...]:
    """Remembers a finished group and adds it to `known`; on collapse returns nothing: the caller must then restart."""
    teaching.remember(group)
    if collapse is None or not collapse.seen(group):
        return (*known, *group)
    teaching.discard()
    return ()


async def take_step(
    policy: Policy,
    number: int,
    rollouts: tuple[Attempt, ...],
    lessons: Sequence[Example],
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
    """The attempts of one step, by number: those that are wanted, what each reads, and those that are there.

    `round` is the number of the last round that was drawn.
    """

    def __init__(self, step: int, round: int, wanted: range = range(0), begun: Sequence[Attempt] = ()) -> None:
        self.step = step
        self.round = round
        self.wanted = wanted
        self.readings: dict[int, Reading] = {}
        self.rollouts = {rollout.attempt: rollout for rollout in begun if rollout.attempt in wanted}

    def next(self, attempts: int, size: int, begun: Sequence[Attempt] = ()) -> Group:
        """The group after this one, where `attempts` were made before it; `begun`: those that are there already."""
        return Group(self.step + 1, self.round, range(attempts + 1, attempts + 1 + size), begun)

    @property
    def missing(self) -> int:
        """How many attempts no round has begun yet."""
        return len(self.wanted) - len(self.readings)

    def begin_round(self, known: Sequence[Attempt], teaching: Teaching, rounds: Rounds) -> range:
        """Has `teaching` say what the next attempts read, and returns their numbers; `known`: of earlier groups."""
        known = (*known, *self.complete())
        size = rounds.next(len(known), self.missing)
        first, self.round = self.wanted.start + len(self.readings), self.round + 1
        attempts = range(first, first + size)
        self.readings |= dict(zip(attempts, teaching.readings(size, known), strict=True))
        return attempts

    def add(self, rollout: Attempt) -> Attempt:
        self.rollouts[rollout.attempt] = rollout
        return rollout

    def complete(self) -> tuple[Attempt, ...]:
        """The rollouts of all rounds that were begun, in order."""
        return tuple(self.rollouts[attempt] for attempt in self.readings)


async def fill(
    group: Group,
    known: Sequence[Attempt],
    policy: Policy,
    judge: Judge,
    teaching: Teaching,
    rounds: Rounds,
    enough: Callable[[], bool],
    *,
    keep_all: bool,
) -> AsyncGenerator[Attempt, None]:
    """Draws `group` round by round, up to a discovery; `known`: the rollouts of earlier groups that may be read."""
    while group.missing:
        attempts = group.begin_round(known, teaching, rounds)
        async with aclosing(draw(policy, judge, group, attempts, keep_all=keep_all)) as drawing:
            async for rollout in drawing:
                yield rollout
        if not keep_all and any(rollout.verdict.accepted for rollout in group.complete()):
            return
        if len(group.rollouts) == len(group.readings) and enough():  # what is recorded already belongs to the run
            return


def read_by(
    wanted: range, group: Sequence[Attempt], known: Sequence[Attempt], teaching: Teaching, rounds: Rounds
) -> Mapping[int, Reading]:
    """What the attempts of a judged group had read, by number; `wanted`: those that were to be made."""
    again = Group(0, 0, wanted, group)
    while again.missing and again.readings.keys() <= again.rollouts.keys():
        again.begin_round(known, teaching, rounds)
    return again.readings


async def draw(
    policy: Policy, judge: Judge, group: Group, attempts: range, *, keep_all: bool = False
) -> AsyncGenerator[Attempt, None]:
    """Makes those of `attempts` that `group` lacks; yields each judged rollout, in the order they finish.

    Each completion is judged as soon as it ends. A discovery aborts the attempts with higher numbers (they are
    yielded as aborted) while lower ones run to their end, so that the discovery attempt is the lowest successful
    number, exactly as if the samples had been drawn one by one. With `keep_all` nothing is aborted.
    """
    found = (rollout.attempt for rollout in group.rollouts.values() if rollout.verdict.accepted and not keep_all)
    first = min(found, default=None)
    pending: dict[asyncio.Task[Attempt], int] = {}
    try:
        for attempt in attempts:
            if attempt in group.rollouts:
                continue
            if first is not None and attempt > first:
                yield group.add(aborted(attempt, group, policy.adapter_version))
            else:
                reading = group.readings[attempt]
                task = asyncio.create_task(one_attempt(policy, judge, reading, attempt, group.step, group.round))
                pending[task] = attempt
        while pending:
            finished, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(finished, key=pending.__getitem__):
                attempt = pending.pop(task)
                rollout = task.result() if not task.cancelled() else aborted(attempt, group, policy.adapter_version)
                yield group.add(rollout)
                if rollout.verdict.accepted and not keep_all:
                    for other in [other for other, number in pending.items() if number > attempt]:
                        other.cancel()
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def one_attempt(
    policy: Policy, judge: Judge, reading: Reading, attempt: int, step: int, round: int = 1
) -> Attempt:
    """Samples one completion and judges it."""
    completion = await policy.sample(reading.prompt_ids)
    start = time.monotonic()
    program, verdict = await judge(completion)
    seconds = time.monotonic() - start
    return Attempt(attempt, step, completion, program, verdict, seconds, reading.role, round)


def aborted(attempt: int, group: Group, adapter_version: int) -> Attempt:
    """An attempt that was requested, and counts, but whose answer nobody needed any more."""
    completion = Completion((), "", (), "abort", adapter_version)
    verdict = Verdict(Status.ABORTED, 0, 0, 0, 0)
    return Attempt(attempt, group.step, completion, None, verdict, role=group.readings[attempt].role, round=group.round)


def group_metrics(rollouts: Sequence[Attempt], lessons: Sequence[Example]) -> dict[str, float]:
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
