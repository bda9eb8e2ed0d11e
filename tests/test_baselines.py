"""best-of-k learns nothing, multi-turn remembers everything that fits."""

from __future__ import annotations

import pytest

from tests.fakes import ByteTokenizer, ScriptedPolicy, judge_by_word, rollout, teaching
from ttsd.baselines import Conversation, Frozen
from ttsd.config import Reprompt
from ttsd.loop import Past, learn
from ttsd.nouns import Attempt, Status, Step, Verdict


def conversation(**settings: object) -> Conversation:
    return Conversation("question", ByteTokenizer(), Reprompt.model_validate(settings))


def failed(attempt: int, text: str) -> Attempt:
    return rollout(attempt, text, Verdict(Status.WRONG_ANSWER, 0, 1, 0, 0, feedback=f"{text} is wrong"))


def text(ids: tuple[int, ...]) -> str:
    return ByteTokenizer().decode(ids)


async def test_best_of_k_is_the_loop_with_a_policy_that_cannot_learn() -> None:
    policy = ScriptedPolicy(["wrong"] * 5 + ["right"] * 3)
    events = learn(Frozen(policy.sample), judge_by_word, teaching(), group_size=4, budget=8)
    steps = [event async for event in events if isinstance(event, Step)]
    assert policy.taught == []
    assert steps[-1].discovery is not None
    assert steps[-1].discovery.attempt == 6


async def test_multi_turn_reads_all_earlier_feedback_and_stops_at_the_discovery() -> None:
    policy = ScriptedPolicy(["one", "two", "right", "four"])
    events = learn(Frozen(policy.sample), judge_by_word, conversation(), group_size=1, budget=9)
    steps = [event async for event in events if isinstance(event, Step)]
    assert [step.number for step in steps] == [1, 2, 3]
    assert [text(ids) for ids in policy.read] == [
        "question",
        "question\n\nThe following is feedback from your unsuccessful earlier attempt:\n\none is wrong"
        "\n\nCorrectly solve the original question.",
        "question\n\nThe following is feedback from your unsuccessful earlier attempt:\n\none is wrong\n\ntwo is wrong"
        "\n\nCorrectly solve the original question.",
    ]


async def test_chains_read_their_own_feedback_alone_and_take_their_turns_at_once() -> None:
    policy = ScriptedPolicy(["one", "two", "three", "four", "five", "right"])
    turns = conversation(multi_turn_chains=2)
    events = learn(Frozen(policy.sample), judge_by_word, turns, group_size=2, budget=9)
    rollouts = [event async for event in events if isinstance(event, Attempt)]
    assert [rollout.round for rollout in rollouts] == [1, 1, 2, 2, 3, 3]
    last = [text(ids) for ids in policy.read[4:]]
    assert ["one is wrong\n\nthree is wrong" in last[0], "two is wrong\n\nfour is wrong" in last[1]] == [True, True]
    assert "two" not in last[0]
    assert "one" not in last[1]


async def test_multi_turn_goes_on_where_it_was_broken_off() -> None:
    past = Past(steps=1, rollouts=(failed(1, "one"),), unfinished=(failed(2, "two"),))
    policy = ScriptedPolicy(["x"])
    learning = learn(Frozen(policy.sample), judge_by_word, conversation(), group_size=1, budget=3, past=past)
    events = [e async for e in learning]
    assert [(type(e).__name__, getattr(e, "attempt", getattr(e, "number", None))) for e in events] == [
        ("Step", 2),
        ("Attempt", 3),
        ("Step", 3),
    ]
    assert "one is wrong\n\ntwo is wrong" in text(policy.read[0])


def test_attempts_and_feedback_stand_together() -> None:
    prompt = text(conversation(multi_turn_history="attempt_and_feedback").prompt_ids([failed(1, "one")]))
    assert "Attempt:\n\none\n\nFeedback:\n\none is wrong" in prompt


def test_a_window_drops_the_oldest() -> None:
    told = [failed(n, word) for n, word in enumerate(("one", "two", "three"), 1)]
    prompt = text(conversation(multi_turn_window=2).prompt_ids(told))
    assert "one is wrong" not in prompt
    assert prompt.index("two is wrong") < prompt.index("three is wrong")


@pytest.mark.parametrize("limit", range(120, 260, 7))
def test_the_token_limit_is_exact_and_drops_no_more_than_it_must(limit: int) -> None:
    told = [failed(n, "x" * n) for n in range(1, 12)]
    ids = conversation(multi_turn_max_prompt_len=limit).prompt_ids(told)
    kept = text(ids).count("is wrong")
    assert len(ids) <= limit
    assert kept == len(told) or len(conversation().prompt_ids(told[-kept - 1 :])) > limit
