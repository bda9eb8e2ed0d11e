"""What the weights learn from a finished group."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.fakes import attempt, failed, settings, text_of, writer
from ttsd.examples import rewards, self_teacher
from ttsd.nouns import Attempt, Example, History, Prompt, Status, Verdict


def passing(number: int, text: str = "right", *, step: int = 1) -> Attempt:
    return attempt(number, text, Verdict(Status.WRONG_ANSWER, 2, 2, 0, 1), step=step)


def taught(group: Sequence[Attempt], *history: Attempt, restarted: int = 0, **extensions: object) -> list[Example]:
    return self_teacher(writer(settings(**extensions)), group, History(history, restarted))


def test_a_failed_attempt_is_scored_with_its_own_feedback() -> None:
    words = ["one", "two", "three"]
    for example, word in zip(taught([failed(n, w) for n, w in enumerate(words, 1)]), words, strict=True):
        assert example.teacher is not None
        assert (example.teacher.row, example.teacher.shows) == ("teacher", (example.attempt,))
        assert f"earlier attempt:\n\n{word}\n\nCorrectly" in text_of(example.teacher)
        assert example.reward is None


def test_the_student_learns_at_the_prompt_that_the_attempt_answered() -> None:
    prompt = Prompt((9, 9), "what it read", "feedback", (1,))
    own = attempt(2, "x", Verdict(Status.WRONG_ANSWER, 0, 1, 0, 0, feedback="no"), prompt=prompt)
    (example,) = taught([own])
    assert (example.prompt_ids, example.completion_ids) == ((9, 9), own.completion.token_ids)
    assert example.sampler_logprobs == own.completion.logprobs


def test_a_success_is_shown_to_the_others_and_feedback_is_not() -> None:
    examples = taught([failed(1, "one is wrong"), passing(2), failed(3, "three is wrong")])
    for example in examples:
        assert "Correct solution:\n\nright" in text_of(example.teacher)
        assert "is wrong" not in text_of(example.teacher)


def test_a_success_of_an_earlier_step_is_shown_even_from_before_a_restart() -> None:
    (example,) = taught([failed(3, "no", step=3)], passing(1), failed(2, "no", step=2), restarted=2)
    assert example.teacher is not None
    assert example.teacher.shows == (1,)


def test_another_success_is_preferred_and_a_lone_one_demonstrates_itself() -> None:
    one, two = taught([passing(1, "first"), passing(2, "second")])
    assert ("second" in text_of(one.teacher), "first" in text_of(two.teacher)) == (True, True)
    (lone,) = taught([passing(1, "first")])
    assert "first" in text_of(lone.teacher)


def test_without_feedback_there_is_nothing_to_distil() -> None:
    (example,) = taught([attempt(1, "x", Verdict(Status.NO_PROGRAM, 0, 2, 0, 0))])
    assert example.teacher is None


def test_an_aborted_attempt_teaches_nothing() -> None:
    aborted = attempt(2, "", Verdict(Status.ABORTED, 0, 0, 0, 0))
    assert [example.attempt for example in taught([failed(1, "no"), aborted])] == [1]
    assert [example.attempt for example in rewards(writer(), [failed(1, "no"), aborted], History())] == [1]


def test_further_feedback_items_come_from_the_whole_run_since_the_last_restart() -> None:
    history = [failed(1, "a\nb\nc"), failed(2, "a\nb\nd", step=2)]
    group = [failed(3, "e", step=3), failed(4, "b\nf", step=3)]
    (own, _) = taught(group, *history, feedback_items=3)
    assert own.teacher is not None
    assert own.teacher.shows == (4, 2, 3)
    assert "b\nf\n\na\nb\nd\n\ne\n\nCorrectly" in text_of(own.teacher)
    (own, _) = taught(group, *history, restarted=2, feedback_items=3)
    assert own.teacher is not None
    assert own.teacher.shows == (4, 3)


@pytest.mark.parametrize(("reward", "expected"), [("success", [0.0, 1.0]), ("visible-fraction", [0.5, 1.0])])
def test_a_reward_is_success_or_the_share_passed(reward: str, expected: list[float]) -> None:
    half = attempt(1, "one", Verdict(Status.WRONG_ANSWER, 1, 2, 0, 0, feedback="a"))
    examples = rewards(writer(settings(reward=reward)), [half, passing(2)], History())
    assert [example.reward for example in examples] == expected
    assert {example.teacher for example in examples} == {None}
