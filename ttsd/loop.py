"""The algorithm: sample a group, judge it, learn from it, until an attempt passes (SDPO, section 5, figure 12).

`learn` yields each judged `Attempt` as soon as it is there and each `Step` once its gradient step is done; the caller
stores, shows and stops. `Policy` hides whatever needs a device, `Judge` whatever runs a program, `Method` which prompts
are answered and what is learned from a finished group.

The history of a run (its attempts in order, each with the prompt that it answered) is the only state that prompts and
examples depend on. A run is resumed when its history is read back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Protocol

from ttsd.nouns import Attempt, Completion, Example, Hint, History, Prompt, Status, Step, Verdict
from ttsd.progress import best_state, collapsed, group_metrics


class Policy(Protocol):
    """The weights in training. Only `distil` and `return_to` move them; then the sampler has the new ones."""

    @property
    def adapter_version(self) -> int: ...

    async def sample(self, prompt_ids: Sequence[int]) -> Completion: ...

    async def distil(self, examples: Sequence[Example]) -> Mapping[str, float]: ...

    async def return_to(self, step: int) -> None: ...


class Method(Protocol):
    """Two pure functions of the history: what the next attempts read, and what the weights learn from a group.

    In `prompts` the history contains all rounds before; in `examples` all groups before this one.
    """

    def prompts(self, count: int, history: History) -> Sequence[Prompt]: ...

    def examples(self, group: Sequence[Attempt], history: History) -> Sequence[Example]: ...


Judge = Callable[[Completion], Awaitable[tuple[str | None, Verdict]]]
Event = Attempt | Step
Attempts = AsyncGenerator[Attempt, None]
NOTHING = History()


@dataclass(frozen=True, slots=True)
class Rules:
    """How a run proceeds.

    `round_size` maps the number of verdicts known to the number of attempts sampled together; None: the whole group.
    `guarded`: after a collapse the weights are set back to the best so far. `one_step_off`: a gradient step is taken
    while the next group is sampled with the weights before it; importance weights correct for that. `hint` returns a
    stronger model's hint on a judged attempt.
    """

    group_size: int
    budget: int
    round_size: Callable[[int], int] | None = None
    stop_at_discovery: bool = True
    guarded: bool = False
    one_step_off: bool = False
    hint: Callable[[Attempt], Awaitable[Hint | None]] | None = None

    def next_round(self, known: int, missing: int) -> int:
        """Returns the size of the next round; `missing`: attempts that the group still lacks."""
        return missing if self.round_size is None else max(1, min(self.round_size(known), missing))

    def found(self, attempts: Sequence[Attempt]) -> bool:
        """Tells whether a discovery among `attempts` ends the run."""
        return self.stop_at_discovery and any(attempt.verdict.accepted for attempt in attempts)


async def learn(
    policy: Policy,
    judge: Judge,
    method: Method,
    rules: Rules,
    *,
    spent: Callable[[], bool] = lambda: False,
    history: History = NOTHING,
    begun: Sequence[Attempt] = (),
) -> AsyncGenerator[Event, None]:
    """Trains `policy` on one question until a discovery or the end of the budget.

    `spent` is asked before each round and ends the run there. `history` has the finished steps of a resumed run,
    `begun` the attempts of steps that were not finished. One step off, a step follows the next group's attempts.
    """
    recorded = {attempt.number: attempt for attempt in begun}
    found, last, learning = False, max(recorded, default=0), None
    rules = replace(rules, budget=max(rules.budget, last))  # a smaller budget than before leaves no attempt out
    try:
        while not found and len(history.attempts) < rules.budget and (len(history.attempts) < last or not spent()):
            group, start = Group(history, rules, recorded), time.monotonic()
            async with aclosing(group.fill(policy, judge, method, spent)) as sampling:
                async for attempt in sampling:
                    yield attempt
            if learning is not None:
                yield await learning
            attempts, seconds = group.attempts, time.monotonic() - start
            found, after = rules.found(attempts), history.extended(attempts)
            best, back = best_state(after, 1 + rules.one_step_off), rules.guarded and not found and collapsed(after)
            examples = () if found or back else tuple(method.examples(attempts, history))
            history = History(after.attempts, {**after.returns, after.steps: best}) if back else after
            learning = asyncio.create_task(take_step(policy, attempts, examples, best, back, seconds))
            if not rules.one_step_off:
                yield await learning
                learning = None
        if learning is not None:
            yield await learning
    finally:
        if learning is not None:
            learning.cancel()
            await asyncio.gather(learning, return_exceptions=True)


async def take_step(
    policy: Policy, attempts: tuple[Attempt, ...], examples: tuple[Example, ...], best: int, back: bool, group: float
) -> Step:
    """Learns from `examples` (none: nothing moves), or goes back to the weights after step `best`."""
    start, metrics = time.monotonic(), {**group_metrics(attempts, examples), "best_state": float(best)}
    if back:
        await policy.return_to(best)
        metrics["returned_to"] = float(best)
    elif examples:
        metrics |= await policy.distil(examples)
    seconds = {"group": group, "step": time.monotonic() - start}
    return Step(attempts[0].step, attempts, policy.adapter_version, examples, metrics, seconds)


class Group:
    """The attempts of one step. `recorded`: attempts of a stopped run that are there already, by number."""

    def __init__(self, history: History, rules: Rules, recorded: Mapping[int, Attempt]) -> None:
        first = len(history.attempts) + 1
        self.step = history.steps + 1
        self.round = history.attempts[-1].round if history.attempts else 0
        self._history, self._rules = history, rules
        self._first, self._next, self._end = first, first, min(first + rules.group_size, rules.budget + 1)
        self._made = {number: recorded[number] for number in range(first, self._end) if number in recorded}

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Returns the attempts of all rounds that were begun, in order."""
        return tuple(self._made[number] for number in range(self._first, self._next))

    @property
    def begun(self) -> bool:
        return self._next == self._end

    def begin_round(self, method: Method) -> dict[int, Prompt]:
        """Begins the next round; returns the prompts of those of its attempts that are not there yet, by number."""
        known = self._history.extended(self.attempts)
        size = self._rules.next_round(len(known.current), self._end - self._next)
        prompts = dict(enumerate(method.prompts(size, known), self._next))
        self.round, self._next = self.round + 1, self._next + size
        return {number: prompt for number, prompt in prompts.items() if number not in self._made}

    async def fill(self, policy: Policy, judge: Judge, method: Method, spent: Callable[[], bool]) -> Attempts:
        """Samples round by round; each round knows the verdicts of all rounds before it. A discovery is the end."""
        while not self.begun:
            async with aclosing(self._sample(policy, judge, self.begin_round(method))) as sampling:
                async for attempt in sampling:
                    yield attempt
            all_begun = len(self._made) == self._next - self._first  # of a stopped run more may be recorded
            if self._rules.found(self.attempts) or (all_begun and spent()):
                return

    async def _sample(self, policy: Policy, judge: Judge, prompts: Mapping[int, Prompt]) -> Attempts:
        """Makes the attempts of one round; yields each in the order in which they end.

        A discovery aborts the attempts with higher numbers while lower ones run to their end, so that the discovery is
        the lowest successful number, exactly as if the attempts had been sampled one by one.
        """
        first = min((number for number, one in self._made.items() if self._rules.found([one])), default=self._end)
        tasks = {
            asyncio.create_task(self._attempt(policy, judge, number, prompt)): number
            for number, prompt in prompts.items()
            if number < first
        }
        try:
            for number in prompts:
                if number > first:
                    yield self._add(self._aborted(policy, number, prompts))
            while tasks:
                finished, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in sorted(finished, key=tasks.__getitem__):
                    number = tasks.pop(task)
                    attempt = self._aborted(policy, number, prompts) if task.cancelled() else task.result()
                    yield self._add(attempt)
                    if self._rules.found([attempt]):
                        for other in [other for other, later in tasks.items() if later > number]:
                            other.cancel()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _attempt(self, policy: Policy, judge: Judge, number: int, prompt: Prompt) -> Attempt:
        round_, completion, start = self.round, await policy.sample(prompt.token_ids), time.monotonic()
        program, verdict = await judge(completion)
        attempt = Attempt(number, self.step, round_, prompt, completion, program, verdict, time.monotonic() - start)
        return attempt if self._rules.hint is None else replace(attempt, hint=await self._rules.hint(attempt))

    def _aborted(self, policy: Policy, number: int, prompts: Mapping[int, Prompt]) -> Attempt:
        nothing = Completion((), "", (), "abort", policy.adapter_version)
        verdict = Verdict(Status.ABORTED, 0, 0, 0, 0)
        return Attempt(number, self.step, self.round, prompts[number], nothing, None, verdict)

    def _add(self, attempt: Attempt) -> Attempt:
        self._made[attempt.number] = attempt
        return attempt
