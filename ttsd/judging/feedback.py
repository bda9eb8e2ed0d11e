"""Turns failed visible cases into the text a programmer would get from an online judge.

The rules are the paper's (SDPO, appendix F.3): the first runtime error, else the first exceeded limit, else a missing
program, is shown alone; otherwise at most two wrong answers, the shortest first. An accepted attempt gets the
empty string: praise or doubt about a passing attempt is what made earlier replications forget it.

What a program, a checker or a question wrote may look like these headings; then all its lines begin with a bar.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from ttsd.nouns import CaseResult, Problem, Status
from ttsd.terminal import readable

MAX_WRONG_ANSWERS = 2
MAX_FIELD_CHARACTERS = 250
MAX_PART_CHARACTERS = 40
MAX_INPUT_LINES = 8
MAX_CHARACTERS = 2000

_LIMITS = {
    Status.TIME_LIMIT: "Time Limit Exceeded",
    Status.MEMORY_LIMIT: "Memory Limit Exceeded",
    Status.OUTPUT_LIMIT: "Output Limit Exceeded",
}
NO_PROGRAM = "No Program\nThe answer has no closed ```python code block."
NO_ANSWER = "No Answer\nThe last line is no `Answer: ...`, and there is no \\boxed{...}."
TRUNCATED = "Truncated Attempt\nThe answer reached the length limit before it was complete."


# A line that reads like one of ours, whatever its case, marks and signs.
_OURS = re.compile(
    r"^[^\w\n]*(?:(?:input|output|expected|actual|your (?:final )?answer)(?:[^\w\n]+\w+){0,2}[^\w\n]*(?::|$)|"
    r"(?:wrong answer|runtime error|(?:time|memory|output) limit exceeded|no program|no answer|truncated attempt|"
    r"not a final answer|accepted)[^\w\n]*$)",
    re.IGNORECASE | re.MULTILINE,
)


def feedback_text(problem: Problem, results: Sequence[CaseResult], *, truncated: bool = False) -> str:
    """Returns feedback on the visible `results` of one attempt: at most MAX_CHARACTERS, nothing when all passed."""
    failed = [result for result in results if result.status is not Status.ACCEPTED]
    if not failed:
        return ""
    parts = [TRUNCATED] if truncated else []
    error = next((r for r in failed if r.status is Status.RUNTIME_ERROR), None)
    limit = next((r for r in failed if r.status in _LIMITS), None)
    if error is not None:
        parts.append(_runtime_error(problem, error))
    elif limit is not None:
        parts.append(f"{_LIMITS[limit.status]}\n{_input(problem, limit)}")
    else:
        shortest = sorted(failed, key=lambda r: (_length(problem, r), r.index))
        parts += [_wrong_answer(problem, result) for result in shortest[:MAX_WRONG_ANSWERS]]
    return clip("\n\n".join(parts), MAX_CHARACTERS)


def wrong_answer_feedback(answer: str) -> str:
    """Returns feedback on a wrong final answer. It does not show the right one, or nothing would be left to find."""
    return f"Wrong Answer\nYour final answer:\n{_field(answer)}"


def unfinished_feedback(answer: str, part: str) -> str:
    """Returns feedback on a final answer that is none: `part` of it is still to be worked out."""
    return (
        f"Not a Final Answer\nYour final answer:\n{_field(answer)}\n"
        f"`{clip(part, MAX_PART_CHARACTERS)}` leaves something to work out. Give the value itself."
    )


def score_feedback(score: float, said: str, *, truncated: bool = False) -> str:
    """Returns feedback on an answer that a judge of the user's own scored below 1, at most MAX_CHARACTERS."""
    parts = [TRUNCATED] if truncated else []
    parts.append(said.strip() or f"Wrong Answer\nIts score is {score:g}; 1 is right.")
    return clip("\n\n".join(parts), MAX_CHARACTERS)


def limit_feedback(status: Status) -> str:
    """Returns feedback on an answer whose check had to be stopped."""
    return f"{_LIMITS[status]}\nThe answer could not be checked within the limits; make it simpler."


def clip(text: str, characters: int) -> str:
    """Returns `text`, or its beginning and a mark that says how much is missing, in at most `characters`."""
    if len(text) <= characters:
        return text
    mark = f"... ({len(text)} characters)"
    return text[: characters - len(mark)] + mark


def _runtime_error(problem: Problem, result: CaseResult) -> str:
    error = _field(result.error.strip(), 2 * MAX_FIELD_CHARACTERS)
    return f"Runtime Error\n{error}\n{_input(problem, result)}"


def _wrong_answer(problem: Problem, result: CaseResult) -> str:
    """Shows what the checker said; without a word from it, the expected output."""
    expected = _field(problem.cases[result.index].expected.rstrip("\n"))
    why = _field(result.message.strip()) or f"Expected:\n{expected}"
    actual = _field(result.actual.rstrip("\n"))
    return f"Wrong Answer\n{_input(problem, result)}\nOutput:\n{actual}\n{why}"


def _input(problem: Problem, result: CaseResult) -> str:
    lines = problem.cases[result.index].input.rstrip("\n").split("\n")
    if len(lines) > MAX_INPUT_LINES:
        lines = [*lines[:MAX_INPUT_LINES], f"... ({len(lines)} lines)"]
    return "Input:\n" + _field("\n".join(lines))


def _field(text: str, characters: int = MAX_FIELD_CHARACTERS) -> str:
    """Returns what somebody else wrote, in at most `characters`: no line of it can be taken for one of ours."""
    text = readable(clip(text, characters))
    if _OURS.search(unicodedata.normalize("NFKC", text)):
        text = "\n".join(f"| {line}" for line in text.split("\n"))
    return clip(text, characters)


def _length(problem: Problem, result: CaseResult) -> int:
    case = problem.cases[result.index]
    return len(case.input) + len(case.expected) + len(result.actual)
