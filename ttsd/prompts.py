"""What the policy reads: the question as a student; as a teacher also a demonstration or feedback.

A role is a prompt, not a model (SDPO, arXiv 2601.20802, Table 2). The functions here make the text of one user
turn; chat template, system message and thinking flag are added by the tokenizer's owner, the same for both roles.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from ttsd.nouns import Problem

STDIN_FORMAT = """\
Write a Python program that reads standard input and writes the answer to standard output.
Put the whole program in one ```python code block."""

FUNCTION_FORMAT = """\
Complete this Python code. Put the whole program in one ```python code block.
```python
{starter_code}
```"""

ANSWER_FORMAT = """\
Give the final answer on the last line, after the word `Answer:`, or in \\boxed{}."""

REPROMPT_TEMPLATE = "{prompt}{solution}{feedback}\n\nCorrectly solve the original question."
SOLUTION_TEMPLATE = "\n\nCorrect solution:\n\n{successful_previous_attempt}"
FEEDBACK_TEMPLATE = "\n\nThe following is feedback from your unsuccessful earlier attempt:\n\n{feedback_raw}"


# As the judge writes a wrong answer: input, what was printed, what is right.
_WRONG_ANSWER = re.compile(
    r"^Wrong Answer\nInput:\n(.*?)\nOutput:\n.*?\nExpected:\n(.*?)(?=\n\nWrong Answer\n|\Z)", re.DOTALL | re.MULTILINE
)

_THINKING_TAG = re.compile(r"(?<![`'\"])</?think>(?![`'\"])")


class ChatTokenizer(Protocol):
    """Token ids of one user turn under the model's chat template, up to where its answer begins."""

    def chat(self, user: str) -> tuple[int, ...]: ...


ATTEMPT_TEMPLATE = "Attempt:\n\n{attempt}\n\nFeedback:\n\n{feedback}"


def student_prompt(problem: Problem) -> str:
    """The user turn that every attempt answers. What a judge of the user's own wants, the statement itself must say."""
    if problem.kind == "judge":
        return problem.statement.strip()
    if problem.kind == "answer":
        return f"{problem.statement.strip()}\n\n{ANSWER_FORMAT}"
    if problem.entry_point is None:
        return f"{problem.statement.strip()}\n\n{STDIN_FORMAT}"
    wanted = FUNCTION_FORMAT.replace("{starter_code}", problem.starter_code.rstrip())
    return f"{problem.statement.strip()}\n\n{wanted}"


def teacher_prompt(
    prompt: str,
    *,
    demonstration: str | None = None,
    feedback: Sequence[str] = (),
    reprompt_template: str = REPROMPT_TEMPLATE,
    solution_template: str = SOLUTION_TEMPLATE,
    feedback_template: str = FEEDBACK_TEMPLATE,
) -> str:
    """The user turn of the self-teacher: the question, a successful attempt if there is one, feedback if there is any.

    Several feedback texts are joined by blank lines, as in the paper's feedback-only multi-turn baseline.
    Placeholders are filled by replacement, never by `str.format`: attempts and statements are full of braces.
    """
    solution = _fill(solution_template, successful_previous_attempt=demonstration) if demonstration is not None else ""
    said = _fill(feedback_template, feedback_raw="\n\n".join(feedback)) if any(feedback) else ""
    return _fill(reprompt_template, prompt=prompt, solution=solution, feedback=said)


def attempt_and_feedback(attempt: str, feedback: str) -> str:
    """An attempt, without its thinking, above the feedback on it."""
    return _fill(ATTEMPT_TEMPLATE, attempt=without_thinking(attempt), feedback=feedback)


def as_examples(feedback: str) -> str:
    """Feedback whose wrong answers are restated as examples: input and right output, not what the attempt printed."""
    return _WRONG_ANSWER.sub(r"Example\nInput:\n\1\nOutput:\n\2", feedback)


def without_thinking(answer: str) -> str:
    """Returns the answer without its thinking and without blanks around it, as demonstrations show it."""
    return outside_thinking(answer).strip()


def outside_thinking(answer: str) -> str:
    """Returns the answer without its thinking; of thinking that is not closed nothing is left.

    Thinking ends at the first `</think>`. It begins at a `<think>` at the start of a line, or at the very beginning,
    since the chat template may have opened it. A tag that a sentence only mentions is text.
    """
    kept: list[str] = []
    begin, thinking, seen = 0, False, False
    for tag in _THINKING_TAG.finditer(answer):
        if tag[0] == "<think>" and not thinking and _begins_line(answer, tag.start()):
            kept.append(answer[begin : tag.start()])
            thinking = seen = True
        elif tag[0] == "</think>" and (thinking or not (seen or _is_mention(answer, tag.start(), tag.end()))):
            begin, thinking, seen = tag.end(), False, True
    return "".join(kept if thinking else [*kept, answer[begin:]])


def _is_mention(text: str, begin: int, end: int) -> bool:
    """Tells whether a sentence goes on after what stands between `begin` and `end`."""
    return text[begin - 1 : begin] in (" ", "\t", "(") and text[end : end + 1] in tuple(" \t).,;:")


def _begins_line(text: str, position: int) -> bool:
    """Tells whether only blanks or a special token such as `<|assistant|>` stand before `position` on its line."""
    before = text[max(0, position - 16) : position].rpartition("\n")[2].rstrip(" \t\r\ufeff")
    return not before or before.endswith(("|>", "<s>"))


def _fill(template: str, **values: str) -> str:
    # One pass, so that a placeholder's name inside a value stays as it is.
    names = "|".join(values)
    return re.sub(rf"\{{({names})\}}", lambda match: values[match[1]], template)
