"""The loop against a scripted policy: numbering, aborting, stopping, teaching and going on."""

from __future__ import annotations

import pytest

from tests.fakes import ByteTokenizer, ScriptedPolicy, judge_by_word
from ttsd.config import Reprompt
from ttsd.hindsight import Hindsight
from ttsd.loop import Past, learn
from ttsd.nouns import Completion, Rollout, Status, Step, Verdict


def teaching(**settings: object) -> Hindsight:
    return Hindsight("question", ByteTokenizer(), Reprompt.model_validate(settings), max_prompt_len=100)


async def run(policy: ScriptedPolicy, **options: object) -> tuple[list[Rollout], list[Step]]:
    settings = {"group_size": 4, "budget": 12, **options}
    events = [event async for event in learn(policy, judge_by_word, teaching(), **settings)]  # type: ignore[arg-type]
    return [e for e in events if isinstance(e, Rollout)], [e for e in events if isinstance(e, Step)]


def text_of(prompt_ids: tuple[int, ...] | None) -> str:
    assert prompt_ids is not None
    return ByteTokenizer().decode(prompt_ids)


async def test_runs_the_whole_budget_and_numbers_attempts_without_gaps() -> None:
    policy = ScriptedPolicy(["wrong"] * 10)
    rollouts, steps = await run(policy, budget=10)
    assert [r.attempt for r in rollouts] == list(range(1, 11))
    assert [len(s.rollouts) for s in steps] == [4, 4, 2]
    assert [s.adapter_version for s in steps] == [1, 2, 3]
    assert [r.completion.adapter_version for r in rollouts] == [0] * 4 + [1] * 4 + [2] * 2


async def test_stops_at_the_discovery_without_another_gradient_step() -> None:
    policy = ScriptedPolicy(["wrong"] * 5 + ["right"] * 7)
    _, steps = await run(policy)
    assert [step.discovery and step.discovery.attempt for step in steps] == [None, 6]
    assert len(policy.taught) == 1
    assert policy.requested == 8


async def test_a_discovery_aborts_higher_numbers_and_lets_lower_ones_finish() -> None:
    policy = ScriptedPolicy([("wrong", 9), "right", ("right", 9), ("wrong", 9)])
    rollouts, steps = await run(policy)
    assert [r.verdict.status for r in steps[0].rollouts] == [
        Status.WRONG_ANSWER,
        Status.ACCEPTED,
        Status.ABORTED,
        Status.ABORTED,
    ]
    assert policy.cancelled == 2
    assert len(rollouts) == 4  # aborted attempts count


async def test_the_discovery_is_the_lowest_number_even_if_a_higher_one_came_first() -> None:
    policy = ScriptedPolicy([("right", 5), ("wrong", 50), "right", ("wrong", 50)])
    _, steps = await run(policy)
    assert steps[0].discovery is not None
    assert steps[0].discovery.attempt == 1
    assert [r.verdict.status for r in steps[0].rollouts][1:] == [Status.ABORTED, Status.ACCEPTED, Status.ABORTED]


async def test_goes_on_after_a_discovery_when_asked() -> None:
    policy = ScriptedPolicy(["right"] + ["wrong"] * 40)
    _, steps = await run(policy, continue_after_discovery=True)
    assert len(steps) == 3
    assert len(policy.taught) == 3
    later = policy.taught[2][0]
    assert "Correct solution:\n\nright" in text_of(later.reprompt_ids)


async def test_failed_attempts_are_taught_with_their_own_feedback() -> None:
    policy = ScriptedPolicy(["one", "two", "three", "four"])
    await run(policy, budget=4)
    for lesson, word in zip(policy.taught[0], ["one", "two", "three", "four"], strict=True):
        prompt = text_of(lesson.reprompt_ids)
        assert f"{word} is wrong" in prompt
        assert prompt.count("is wrong") == 1
        assert bytes(lesson.completion_ids).decode() == word
        assert text_of(lesson.prompt_ids) == "question"


async def test_a_success_on_visible_cases_is_shown_to_the_others_and_its_feedback_is_empty() -> None:
    policy = ScriptedPolicy(["one", "partly", "two", "three"] + ["four"] * 4)
    await run(policy, budget=8)
    first = [text_of(lesson.reprompt_ids) for lesson in policy.taught[0]]
    assert all("Correct solution:\n\npartly" in prompt and "is wrong" not in prompt for prompt in first)
    assert "partly" in text_of(policy.taught[1][0].reprompt_ids)  # the archive of earlier steps


def test_the_released_codes_rule_leaves_a_lone_success_without_a_lesson() -> None:
    alone = rollout(1, "partly", Verdict(Status.ACCEPTED, 2, 2, 0, 0))
    assert teaching().lessons([alone], [])[0].reprompt_ids is not None
    assert teaching(dont_reprompt_on_self_success=True).lessons([alone], [])[0].reprompt_ids is None


def test_without_feedback_there_is_nothing_to_teach() -> None:
    failed = rollout(1, "one", Verdict(Status.WRONG_ANSWER, 0, 2, 0, 0, feedback="hint"))
    assert teaching(include_environment_feedback=False).lessons([failed], [])[0].reprompt_ids is None


@pytest.mark.parametrize(("cut", "kept"), [("left", "tail"), ("right", "head")])
def test_long_reprompts_lose_feedback_but_never_the_question(cut: str, kept: str) -> None:
    failed = rollout(1, "one", Verdict(Status.WRONG_ANSWER, 0, 2, 0, 0, feedback="head" + "x" * 500 + "tail"))
    lesson = teaching(max_reprompt_len=200, reprompt_truncation=cut).lessons([failed], [])[0]
    prompt = text_of(lesson.reprompt_ids)
    assert len(lesson.reprompt_ids or ()) <= 200
    assert prompt.startswith("question")
    assert kept in prompt


async def test_a_broken_off_step_asks_only_for_the_attempts_that_are_missing() -> None:
    old = tuple(rollout(n, "old", Verdict(Status.WRONG_ANSWER, 0, 2, 0, 1)) for n in range(1, 5))
    begun = (rollout(6, "old", Verdict(Status.WRONG_ANSWER, 0, 2, 0, 1, feedback="old")),)
    policy = ScriptedPolicy(["wrong"] * 3)
    rollouts, steps = await run(policy, budget=8, past=Past(steps=1, rollouts=old, unfinished=begun))
    assert [r.attempt for r in rollouts] == [5, 7, 8]
    assert [r.attempt for r in steps[0].rollouts] == [5, 6, 7, 8]
    assert steps[0].number == 2


async def test_a_broken_off_step_with_a_discovery_only_finishes_the_lower_numbers() -> None:
    begun = (rollout(2, "right", Verdict(Status.ACCEPTED, 2, 2, 1, 1)),)
    policy = ScriptedPolicy(["wrong"])
    _, steps = await run(policy, past=Past(unfinished=begun))
    assert policy.requested == 1
    assert [r.verdict.status for r in steps[0].rollouts][2:] == [Status.ABORTED, Status.ABORTED]


async def test_closing_the_loop_cancels_what_is_being_sampled() -> None:
    policy = ScriptedPolicy(["wrong", ("wrong", 10**6), ("wrong", 10**6), ("wrong", 10**6)])
    events = learn(policy, judge_by_word, teaching(), group_size=4, budget=4)
    await anext(events)
    await events.aclose()
    assert policy.cancelled == 3


async def test_a_fault_of_the_judge_ends_the_loop_and_is_no_verdict() -> None:
    async def broken(completion: Completion) -> tuple[str | None, Verdict]:
        raise OSError("the sandbox is gone")

    policy = ScriptedPolicy(["wrong", ("wrong", 10**6)])
    with pytest.raises(OSError, match="sandbox is gone"):
        async for _ in learn(policy, broken, teaching(), group_size=2, budget=2):
            pass
    assert policy.cancelled == 1


def rollout(attempt: int, text: str, verdict: Verdict) -> Rollout:
    ids = tuple(text.encode())
    return Rollout(attempt, 1, Completion(ids, text, (-1.0,) * len(ids), "stop"), text, verdict)
