"""What the weights learn from a finished group."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.fakes import attempt, failed, settings, text_of, writer
from ttsd.examples import rewards, self_teacher, sibling_rewards, sibling_teacher
from ttsd.nouns import Attempt, Example, History, Prompt, Status, Verdict
from ttsd.prompts import STEEPNESS
from ttsd.training.rows import weighted


def passing(number: int, text: str = "right", *, step: int = 1) -> Attempt:
    return attempt(number, text, Verdict(Status.WRONG_ANSWER, 2, 2, 0, 1), step=step)


def taught(group: Sequence[Attempt], *history: Attempt, back: int | None = None, **extensions: object) -> list[Example]:
    """What is learned from `group`; `back`: the step that set the weights back to the base's."""
    known = History(history, {} if back is None else {back: 0})
    return self_teacher(writer(settings(**extensions)), group, known)


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


def test_a_success_of_an_earlier_step_is_shown_even_if_the_weights_were_set_back() -> None:
    (example,) = taught([failed(3, "no", step=3)], passing(1), failed(2, "no", step=2), back=2)
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


def test_further_feedback_items_come_from_all_that_the_weights_were_learned_from() -> None:
    history = [failed(1, "a\nb\nc"), failed(2, "a\nb\nd", step=2)]
    group = [failed(3, "e", step=3), failed(4, "b\nf", step=3)]
    (own, _) = taught(group, *history, feedback_items=3)
    assert own.teacher is not None
    assert own.teacher.shows == (4, 2, 3)
    assert "b\nf\n\na\nb\nd\n\ne\n\nCorrectly" in text_of(own.teacher)
    (own, _) = taught(group, *history, back=2, feedback_items=3)
    assert own.teacher is not None
    assert own.teacher.shows == (4, 3)


@pytest.mark.parametrize(("reward", "expected"), [("success", [0.0, 1.0]), ("visible-fraction", [0.5, 1.0])])
def test_a_reward_is_success_or_the_share_passed(reward: str, expected: list[float]) -> None:
    half = attempt(1, "one", Verdict(Status.WRONG_ANSWER, 1, 2, 0, 0, feedback="a"))
    examples = rewards(writer(settings(reward=reward)), [half, passing(2)], History())
    assert [example.reward for example in examples] == expected
    assert {example.teacher for example in examples} == {None}


def child(number: int, parent: int, passed: int) -> Attempt:
    """An attempt at `parent` (0: the question) that passed `passed` of two cases."""
    prompt = Prompt((9, parent), row="search", shows=(parent,)) if parent else Prompt((9,))
    verdict = Verdict(Status.WRONG_ANSWER, passed, 2, 0, 0, feedback="" if passed == 2 else f"{number} is wrong")
    return attempt(number, f"program {number}", verdict, step=2, prompt=prompt)


def test_rewards_of_a_search_are_steep_and_compared_among_siblings() -> None:
    group = [child(3, 0, 1), child(4, 0, 2), child(5, 1, 1), child(6, 1, 1), child(7, 2, 0), child(8, 2, 1)]
    examples = sibling_rewards(writer(), group, History((failed(1, "one"), failed(2, "two"))))
    assert [(example.parent, example.reward) for example in examples] == [
        (0, 0.5**STEEPNESS), (0, 1.0), (1, 0.5**STEEPNESS), (1, 0.5**STEEPNESS), (2, 0.0), (2, 0.5**STEEPNESS),
    ]  # fmt: skip
    tokens = sum(len(one.completion.token_ids) for one in group)
    learned = {one.example.attempt: one.policy * tokens for one in weighted(examples)}
    assert learned == pytest.approx({3: -1.0, 4: 1.0, 7: -1.0, 8: 1.0})  # nothing where all siblings are equal


def test_the_self_teacher_of_a_search_knows_the_parent_too() -> None:
    known = History((failed(1, "one is wrong"),))
    alone, own = sibling_teacher(writer(), [child(2, 0, 1), child(3, 1, 1)], known)
    assert (alone.teacher and alone.teacher.shows, own.teacher and own.teacher.shows) == ((2,), (1, 3))
    assert "Attempt:\n\nprogram 1\n\nFeedback:\n\none is wrong\n\n3 is wrong\n\nCorrectly" in text_of(own.teacher)
    assert own.prompt_ids == (9, 1)
    (taught, lone) = sibling_teacher(writer(), [child(3, 1, 1), child(4, 1, 2)], known)
    assert "Correct solution:\n\nprogram 4" in text_of(taught.teacher)
    assert "Correct solution:\n\nprogram 4" in text_of(lone.teacher)
