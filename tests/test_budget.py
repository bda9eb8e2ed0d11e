"""Budgets: whichever is spent first ends a run, before the next round and never in the middle of one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.fakes import ScriptedPolicy, judge_by_word, method
from tests.records import attempt
from ttsd.config import Budget, Config
from ttsd.loop import learn
from ttsd.methods import METHODS
from ttsd.nouns import Attempt, Step
from ttsd.record.protocol import Spent
from ttsd.running.budget import Meter, amount, duration

NOTHING = Spent(0, 0, 0.0)


@pytest.mark.parametrize(
    ("budget", "spent", "ended"),
    [
        (Budget(attempts=3), Spent(2, 0, 0.0), "attempts"),
        (Budget(attempts=9, tokens=41), Spent(0, 20, 0.0), None),
        (Budget(attempts=9, tokens=40), Spent(0, 20, 0.0), "tokens"),
        (Budget(attempts=9, seconds=10), Spent(0, 0, 9.0), None),
        (Budget(attempts=9, seconds=10), Spent(0, 0, 10.0), "seconds"),
        (Budget(attempts=9, tokens=20, seconds=10), Spent(0, 0, 10.0), "tokens"),
    ],
)
def test_what_was_spent_before_counts(budget: Budget, spent: Spent, ended: str | None) -> None:
    meter = Meter(budget, spent, clock=lambda: 100.0)
    meter.add(attempt(1))  # 17 tokens of its prompt, 3 of its completion
    assert meter.ended_by() == ended


@pytest.mark.parametrize(
    ("budget", "attempts"),
    [
        (Budget(attempts=9), 5.0),
        (Budget(attempts=9, tokens=140), 3.0),  # each has 20 tokens, and 60 were spent before
        (Budget(attempts=9, seconds=100), 2.0),  # each takes 20 seconds, and 40 were spent before
    ],
)
def test_what_is_left_goes_by_the_pace_so_far_and_the_budget_that_ends_first(budget: Budget, attempts: float) -> None:
    now = [0.0]
    meter = Meter(budget, Spent(3, 60, 40.0), clock=lambda: now[0])
    assert meter.left() is None
    meter.add(attempt(4))
    now[0] = 20.0
    left = meter.left()
    assert left is not None
    assert (left.attempts, left.seconds, left.tokens) == (attempts, attempts * 20, attempts * 20)


def test_amounts_have_the_unit_that_suits_them() -> None:
    assert [duration(seconds) for seconds in (0.4, 90, 150, 5400, 9000)] == [
        "0 s",
        "90 s",
        "2.5 min",
        "90 min",
        "2.5 h",
    ]
    assert [amount(tokens) for tokens in (7, 999, 3400, 56e3, 1.25e6)] == ["7", "999", "3.4 k", "56 k", "1.2 M"]


async def sampled(
    enough_after: int, begun: tuple[Attempt, ...] = (), method_name: str = "best-of-k"
) -> list[Attempt | Step]:
    policy = ScriptedPolicy(f"wrong {n}" for n in range(100))
    rules = replace(METHODS[method_name].rules(Config()), group_size=4, budget=100)
    learning = learn(
        policy, judge_by_word, method(method_name), rules, begun=begun, spent=lambda: policy.requested >= enough_after
    )
    return [event async for event in learning]


def sizes(events: list[Attempt | Step]) -> list[int]:
    return [len(event.attempts) for event in events if isinstance(event, Step)]


async def test_a_group_that_was_begun_is_completed() -> None:
    assert sizes(await sampled(enough_after=5)) == [4, 4]
    assert sizes(await sampled(enough_after=4)) == [4]


async def test_a_round_is_what_a_budget_can_leave_out() -> None:
    assert sizes(await sampled(enough_after=6, method_name="multi-turn")) == [4, 2]


async def test_attempts_on_disk_belong_to_the_run_even_when_the_budget_is_spent() -> None:
    begun = [event for event in await sampled(enough_after=4) if isinstance(event, Attempt)]
    assert sizes(await sampled(enough_after=0, begun=tuple(begun[:3]), method_name="multi-turn")) == [3]
