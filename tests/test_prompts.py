"""What attempts read: the question, and the question with context."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import QUESTION, ByteTokenizer, attempt, failed, settings, text_of, writer
from ttsd.config import Config
from ttsd.errors import UserError
from ttsd.nouns import Attempt, Case, History, Problem, Prompt, Status, Verdict
from ttsd.prompts import SIBLINGS, PromptWriter, context_text, feedback, question, question_text, search, selected
from ttsd.thinking import without_thinking

CASES = (Case("1", "SECRET"),)
STDIN = Problem("p", "P", "Print {it}.\n", CASES)
FUNCTION = Problem("p", "P", "Return it.", CASES, entry_point="f", starter_code="def f(a: {int}):\n    ")


def test_the_question_has_statement_and_format() -> None:
    prompt = question_text(STDIN)
    assert prompt.startswith("Print {it}.\n\n")
    assert "standard input" in prompt
    assert "```python" in prompt


def test_a_functions_question_has_the_starter_code() -> None:
    prompt = question_text(FUNCTION)
    assert "```python\ndef f(a: {int}):\n```" in prompt
    assert "standard input" not in prompt


@pytest.mark.parametrize("problem", [STDIN, FUNCTION])
def test_no_case_is_part_of_the_prompt(problem: Problem) -> None:
    assert "SECRET" not in question_text(problem)


def context(prompt: str, solution: str | None = None, feedback: list[str] | None = None) -> str:
    return context_text(prompt, solution=solution, feedback=feedback or [])


def test_context_is_a_demonstration_and_feedback() -> None:
    text = context("Q", "D", ["F1", "F2"])
    assert text.startswith("Q\n\nCorrect solution:\n\nD\n\n")
    assert "F1\n\nF2\n\n" in text
    assert text.endswith("Correctly solve the original question.")


@pytest.mark.parametrize(
    ("solution", "items", "absent"), [(None, ["F"], "Correct solution"), ("D", [], "feedback"), ("D", [""], "feedback")]
)
def test_what_is_not_there_is_not_announced(solution: str | None, items: list[str], absent: str) -> None:
    assert absent not in context("Q", solution, items)


placeholders = st.sampled_from(
    ["{prompt}", "{solution}", "{feedback}", "{feedback_raw}", "{x}", "{", "}", "\\1", "\\g<0>"]
)
texts = st.lists(placeholders | st.text(max_size=5), min_size=1).map("".join).filter(str.strip)


@given(texts, texts, texts)
def test_placeholders_in_values_stay_as_they_are(prompt: str, solution: str, item: str) -> None:
    text = context(prompt, solution, [item])
    assert text.startswith(prompt)
    for value in (prompt, solution, item):
        assert value in text


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        ("<think>\nhm\n</think>\n\nx", "x"),
        ("opened by the template</think>\nx", "x"),
        ("x", "x"),
        ("<think>not closed", ""),
        ("<think>a `</think>` in it</think>x", "x"),
        ("x\nA `</think>` is mentioned, and </think> too.", "x\nA `</think>` is mentioned, and </think> too."),
        ("<think>a</think>x\n<think>b</think>y", "x\ny"),
    ],
)
def test_thinking_is_taken_out_of_demonstrations(answer: str, left: str) -> None:
    assert without_thinking(answer).strip() == left


def limited(tokens: int, **extensions: object) -> PromptWriter:
    config = settings(**extensions)
    return writer(config.changed("reprompt", max_reprompt_len=tokens))


def test_a_question_that_is_too_long_is_refused_and_never_cut() -> None:
    with pytest.raises(UserError, match=r"prompt has 10 tokens, more than sampling\.max_prompt_len=9"):
        writer(Config().changed("sampling", max_prompt_len=9))


def test_a_context_that_is_too_long_loses_its_end_and_never_the_question() -> None:
    prompt = limited(200).with_feedback("teacher", [failed(1, "head" + "x" * 500 + "tail")])
    assert 190 < len(prompt.token_ids) <= 200
    assert text_of(prompt).startswith("question")
    assert "head" in text_of(prompt)
    shown = attempt(2, "<think>no</think>" + "y" * 500, Verdict(Status.ACCEPTED, 1, 1, 0, 0))
    prompt = limited(200).with_demonstration("teacher", shown)
    assert 190 < len(prompt.token_ids) <= 200
    assert "solution:\n\nyyyy" in text_of(prompt)


@pytest.mark.parametrize("limit", range(120, 260, 7))
def test_the_oldest_feedback_is_dropped_first_and_no_more_than_must_be(limit: int) -> None:
    known = [failed(n, "x" * n + " is wrong") for n in range(1, 12)]
    prompt = limited(limit).with_feedback("feedback", known)
    kept = len(prompt.shows)
    assert len(prompt.token_ids) <= limit
    assert prompt.shows == tuple(range(12 - kept, 12))
    assert kept == len(known) or len(writer().with_feedback("feedback", known[-kept - 1 :]).token_ids) > limit


def test_a_prompt_leaves_room_for_an_answer() -> None:
    config = Config.model_validate({"model": {"max_model_len": 2000}, "sampling": {"max_tokens": 400}})
    prompt = writer(config).with_feedback("feedback", [failed(1, "no " * 2000)])
    assert 1590 < len(prompt.token_ids) <= 1600


def test_the_row_question_reads_the_question_alone() -> None:
    own, known = writer(), History((failed(1, "no"),))
    assert question(own, 2, known) == [own.question] * 2


def rows_of(known: list[Attempt], count: int = 1, back: int | None = None, **extensions: object) -> list[Prompt]:
    """Prompts after `known`; `back`: the step that set the weights back to the base's."""
    history = History(tuple(known), {} if back is None else {back: 0})
    return feedback(writer(settings(**extensions)), count, history)


def test_the_row_feedback_shows_everything_in_order() -> None:
    (first,), (second,) = rows_of([]), rows_of([failed(1, "one"), failed(2, "two", step=2)])
    assert (first.row, first.shows, text_of(first)) == ("question", (), "question")
    assert text_of(second) == (
        "question\n\nThe following is feedback from your unsuccessful earlier attempt:\n\none\n\ntwo"
        "\n\nCorrectly solve the original question."
    )
    assert (second.row, second.shows) == ("feedback", (1, 2))


def test_feedback_that_the_weights_were_not_learned_from_is_not_shown() -> None:
    (prompt,) = rows_of([failed(1, "one"), failed(2, "two", step=2)], back=1)
    assert prompt.shows == (2,)


def test_an_attempt_that_passed_or_was_aborted_shows_nothing() -> None:
    silent = [
        attempt(1, "a", Verdict(Status.ACCEPTED, 2, 2, 1, 1)),
        attempt(2, "b", Verdict(Status.ABORTED, 0, 0, 0, 0)),
    ]
    assert [prompt.shows for prompt in rows_of(silent)] == [()]
    assert [prompt.shows for prompt in rows_of([*silent, failed(3, "no")])] == [(3,)]


def test_attempts_and_feedback_stand_together_where_asked() -> None:
    prompt = writer().with_feedback("feedback", [failed(1, "one is wrong")], answers=[1])
    assert "Attempt:\n\nprogram 1\n\nFeedback:\n\none is wrong" in text_of(prompt)


def test_each_attempt_of_a_round_ends_with_another_newest_attempts_feedback() -> None:
    known = [failed(1, "a\nb"), failed(2, "c", step=2), failed(3, "d", step=2), failed(4, "d", step=2)]
    prompts = rows_of(known, 4, history_length=2)
    assert [prompt.shows for prompt in prompts] == [(1, 4), (1, 2), (1, 4), (1, 2)]  # equal prompts count once


def tried(number: int, share: int, parent: int = 0, program: str | None = "own") -> Attempt:
    """An attempt at `parent` (0: the question) that passed `share` of 10 cases."""
    verdict = Verdict(Status.WRONG_ANSWER, share, 10, 0, 0, feedback=f"{number} failed")
    prompt = Prompt((1,), row="search", shows=(parent,)) if parent else Prompt((1,))
    made = attempt(number, f"program {number}" if program == "own" else "", verdict, prompt=prompt)
    return made if program == "own" else replace(made, program=program)


def parents(*made: Attempt, count: int = SIBLINGS) -> list[int]:
    """Which attempts the next prompts show."""
    return [prompt.shows[0] if prompt.shows else 0 for prompt in search(writer(), count, History(made))]


def test_the_row_search_shows_one_attempt_and_its_feedback_to_siblings() -> None:
    made = [tried(number, number) for number in range(1, 5)]
    assert parents() == [0] * SIBLINGS
    first, *others = search(writer(), SIBLINGS, History(tuple(made)))
    assert (first.row, first.shows, others) == ("search", (4,), [first] * 3)
    assert "earlier attempt:\n\nAttempt:\n\nprogram 4\n\nFeedback:\n\n4 failed\n\nCorrectly" in text_of(first)


def test_a_round_of_a_search_has_several_parents_as_if_each_had_been_tried() -> None:
    made = [tried(number, number) for number in range(1, 5)]
    assert parents(*made, count=26) == [4] * 8 + [3] * 4 + [0] * 4 + [4] * 8 + [0] * 2


def test_a_parent_is_left_once_its_children_pass_no_more_and_the_question_keeps_its_chance() -> None:
    made, chosen = [tried(1, 6), tried(2, 4), tried(3, 4), tried(4, 4)], list[int]()
    for _ in range(40):
        (parent, *_) = parents(*made)
        chosen.append(parent)
        made += [tried(len(made) + 1, 2, parent) for _ in range(SIBLINGS)]
    assert chosen[0] == 1
    assert len(set(chosen)) > 4
    assert 8 <= chosen.count(0) <= 24


def test_a_child_that_passes_more_is_the_next_parent() -> None:
    made = [tried(number, 4) for number in range(1, 5)]
    made += [tried(number, share, 4) for number, share in ((5, 2), (6, 8), (7, 4), (8, 4))]
    assert parents(*made) == [6] * SIBLINGS


def test_only_a_program_with_feedback_is_a_parent_and_equal_ones_are_one() -> None:
    passed = attempt(1, "right", Verdict(Status.WRONG_ANSWER, 2, 2, 0, 1))
    aborted = attempt(2, "", Verdict(Status.ABORTED, 0, 0, 0, 0))
    assert parents(passed, aborted, tried(3, 0, program=None)) == [0] * SIBLINGS
    twice = [tried(number, 9, program="the same") for number in (4, 5)]
    assert set(parents(*twice, count=40)) == {0, 4}


def test_selected_items_are_those_that_add_most_lines_the_own_last() -> None:
    known = [failed(1, "a\nb"), failed(2, "a\nb\nc"), failed(3, "d\ne\nf"), failed(4, "a\nb")]
    chosen = [[one.number for one in selected(own, known, 3)] for own in known]
    assert chosen == [[2, 3, 1], [3, 2], [2, 3], [2, 3, 4]]
    assert [one.number for one in selected(known[0], known, 1)] == [1]
    equal = [failed(1, "x"), failed(2, "y"), failed(3, "z")]
    assert [one.number for one in selected(equal[0], equal, 2)] == [3, 1]  # of equals the newest


def test_a_prompts_name_depends_on_all_of_it() -> None:
    one = Prompt((1, 2), "text", "feedback", (1,))
    others = [replace(one, token_ids=(1,)), replace(one, text="t"), replace(one, row="teacher"), replace(one, shows=())]
    assert len({prompt.hash for prompt in (one, *others)}) == 5
    assert PromptWriter(QUESTION, ByteTokenizer(), Config()).question.hash == writer().question.hash


def test_without_a_set_length_prompts_are_cut_to_the_models_own() -> None:
    class Short(ByteTokenizer):
        length = 700

    cut = PromptWriter(STDIN, Short(), Config.model_validate({"sampling": {"max_tokens": 300}}))
    shown = attempt(2, "y", Verdict(Status.WRONG_ANSWER, 0, 1, 0, 0, 0, "x" * 5000))
    assert 350 < len(cut.with_feedback("feedback", [shown]).token_ids) <= 400
