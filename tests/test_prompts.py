"""What student and teacher read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttsd.nouns import Case, Problem
from ttsd.prompts import student_prompt, teacher_prompt, without_thinking

CASES = (Case("1", "SECRET"),)
STDIN = Problem("p", "P", "Print {it}.\n", CASES)
FUNCTION = Problem("p", "P", "Return it.", CASES, entry_point="f", starter_code="def f(a: {int}):\n    ")


def test_the_student_reads_statement_and_format() -> None:
    prompt = student_prompt(STDIN)
    assert prompt.startswith("Print {it}.\n\n")
    assert "standard input" in prompt
    assert "```python" in prompt


def test_of_a_function_the_student_reads_the_starter_code() -> None:
    prompt = student_prompt(FUNCTION)
    assert "```python\ndef f(a: {int}):\n```" in prompt
    assert "standard input" not in prompt


@pytest.mark.parametrize("problem", [STDIN, FUNCTION])
def test_no_case_is_part_of_the_prompt(problem: Problem) -> None:
    assert "SECRET" not in student_prompt(problem)


def test_the_teacher_reads_demonstration_and_feedback() -> None:
    text = teacher_prompt("Q", demonstration="D", feedback=["F1", "F2"])
    assert text.startswith("Q\n\nCorrect solution:\n\nD\n\n")
    assert "F1\n\nF2\n\n" in text
    assert text.endswith("Correctly solve the original question.")


@pytest.mark.parametrize(
    ("demonstration", "feedback", "absent"),
    [(None, ["F"], "Correct solution"), ("D", [], "feedback"), ("D", [""], "feedback")],
)
def test_what_is_not_there_is_not_announced(demonstration: str | None, feedback: list[str], absent: str) -> None:
    assert absent not in teacher_prompt("Q", demonstration=demonstration, feedback=feedback)


placeholders = st.sampled_from(
    ["{prompt}", "{solution}", "{feedback}", "{feedback_raw}", "{x}", "{", "}", "\\1", "\\g<0>"]
)
texts = st.lists(placeholders | st.text(max_size=5), min_size=1).map("".join).filter(str.strip)


@given(texts, texts, texts)
def test_placeholders_in_values_stay_as_they_are(prompt: str, demonstration: str, feedback: str) -> None:
    text = teacher_prompt(prompt, demonstration=demonstration, feedback=[feedback])
    assert text.startswith(prompt)
    for value in (prompt, demonstration, feedback):
        assert value in text


def test_templates_are_settings() -> None:
    text = teacher_prompt(
        "Q",
        demonstration="D",
        feedback=["F"],
        reprompt_template="{feedback}|{solution}|{prompt}",
        solution_template="s:{successful_previous_attempt}",
        feedback_template="f:{feedback_raw}",
    )
    assert text == "f:F|s:D|Q"


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
    assert without_thinking(answer) == left
