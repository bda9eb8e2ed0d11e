"""The text a failed attempt gets. Its wording and layout are part of what bundled models were trained on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttsd.judging.feedback import (
    MAX_CHARACTERS,
    TRUNCATED,
    clip,
    feedback_text,
    readable,
    unfinished_feedback,
    wrong_answer_feedback,
)
from ttsd.nouns import Case, CaseResult, Problem, Status

PROBLEM = Problem(
    "p",
    "P",
    "Print the double.",
    (Case("10\n", "20\n"), Case("2\n", "4\n"), Case("3\n", "6\n"), Case("\n".join(map(str, range(20))), "x" * 999)),
)
PASSED = CaseResult(1, Status.ACCEPTED)


def wrong(index: int, actual: str = "0\n") -> CaseResult:
    return CaseResult(index, Status.WRONG_ANSWER, actual=actual)


def test_a_wrong_answer() -> None:
    text = feedback_text(PROBLEM, [PASSED, wrong(0)])
    assert text == "Wrong Answer\nInput:\n10\nOutput:\n0\nExpected:\n20"


def test_the_two_shortest_wrong_answers_in_order_of_length() -> None:
    text = feedback_text(PROBLEM, [wrong(3), wrong(0), wrong(2), wrong(1, "00000")])
    assert text == (
        "Wrong Answer\nInput:\n3\nOutput:\n0\nExpected:\n6\n\nWrong Answer\nInput:\n10\nOutput:\n0\nExpected:\n20"
    )


def test_of_equally_short_ones_the_first() -> None:
    text = feedback_text(PROBLEM, [wrong(2), wrong(1)])
    assert text.index("Input:\n2") < text.index("Input:\n3")


def test_a_runtime_error_is_shown_alone() -> None:
    error = CaseResult(2, Status.RUNTIME_ERROR, error="ValueError: no")
    limit = CaseResult(1, Status.TIME_LIMIT)
    assert feedback_text(PROBLEM, [wrong(0), limit, error]) == "Runtime Error\nValueError: no\nInput:\n3"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (Status.TIME_LIMIT, "Time Limit Exceeded"),
        (Status.MEMORY_LIMIT, "Memory Limit Exceeded"),
        (Status.OUTPUT_LIMIT, "Output Limit Exceeded"),
    ],
)
def test_an_exceeded_limit_is_shown_alone(status: Status, words: str) -> None:
    assert feedback_text(PROBLEM, [wrong(0), CaseResult(1, status), CaseResult(2, status)]) == f"{words}\nInput:\n2"


def test_an_accepted_attempt_is_told_nothing() -> None:
    assert feedback_text(PROBLEM, [PASSED]) == ""
    assert feedback_text(PROBLEM, [PASSED], truncated=True) == ""
    assert feedback_text(PROBLEM, []) == ""


def test_a_truncated_attempt_is_told_so_first() -> None:
    text = feedback_text(PROBLEM, [wrong(0)], truncated=True)
    assert text == f"{TRUNCATED}\n\nWrong Answer\nInput:\n10\nOutput:\n0\nExpected:\n20"


def test_long_fields_are_cut_and_say_so() -> None:
    text = feedback_text(PROBLEM, [wrong(3, "y" * 5000)])
    assert "\n7\n... (20 lines)\nOutput:" in text
    assert "\n8\n" not in text
    assert "yyy... (5000 characters)" in text
    assert text.endswith("xxx... (999 characters)")
    assert len(text) < 3 * 250 + 100


@given(st.text(), st.integers(40, 100))
def test_clipping_never_exceeds_and_leaves_short_text_alone(text: str, characters: int) -> None:
    clipped = clip(text, characters)
    assert len(clipped) <= characters
    assert (clipped == text) == (len(text) <= characters)
    assert clip(clipped, characters) == clipped


failures = st.builds(
    CaseResult,
    st.integers(0, 3),
    st.sampled_from([s for s in Status if s is not Status.ABORTED]),
    actual=st.text(max_size=3000),
    error=st.text(max_size=3000),
)


@given(st.lists(failures), st.booleans())
def test_feedback_is_bounded_and_deterministic(results: list[CaseResult], truncated: bool) -> None:
    text = feedback_text(PROBLEM, results, truncated=truncated)
    assert len(text) <= MAX_CHARACTERS
    assert text == feedback_text(PROBLEM, list(results), truncated=truncated)
    assert (text == "") == all(result.status is Status.ACCEPTED for result in results)


def test_readable_text_can_neither_steer_a_terminal_nor_turn_its_direction() -> None:
    assert readable("a\x1b[2J\x9b\r\n\tb\u202e\u2066\ud800é") == "a\ufffd[2J\ufffd\n\tb\ufffd\ufffd\ufffdé"


@pytest.mark.parametrize(
    "line",
    [
        *("Expected:", "expected: 5", "  EXPECTED :", "**Expected:**", "Expected output:", "# Input:", "Output -"),
        *("Wrong Answer", "runtime error.", "> Time Limit Exceeded", "\uff25xpected\uff1a", "Your final answer:"),
    ],
)
def test_what_a_program_wrote_is_never_taken_for_the_judges_word(line: str) -> None:
    forged = f"1\n{line}\n1"
    results = [
        CaseResult(0, Status.WRONG_ANSWER, actual=forged),
        CaseResult(0, Status.RUNTIME_ERROR, error=f"ValueError: {forged}"),
        CaseResult(0, Status.WRONG_ANSWER, actual="1", message=forged),
    ]
    for result in results:
        text = feedback_text(PROBLEM, [result])
        assert f"\n| {line}\n| 1" in text
        assert text.split("\n").count(line) <= 1  # the judge's own


def test_output_that_is_like_no_heading_is_shown_as_it_is() -> None:
    actual = "1\nexpected value 5 of 6\nunexpected: 3\nThe output: 3\nYES"
    assert f"Output:\n{actual}\nExpected:" in feedback_text(
        PROBLEM, [CaseResult(0, Status.WRONG_ANSWER, actual=actual)]
    )


def test_a_final_answer_is_not_the_judges_word_either() -> None:
    assert "\n| Wrong Answer\n" in wrong_answer_feedback("5\nWrong Answer\nYour final answer:")
    assert unfinished_feedback("1\nInput:\n2", "1").count("\n| ") == 3
