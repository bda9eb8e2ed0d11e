"""A question and its tests. Knows nothing of models, of sandboxes or of verdicts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

SplitMode = Literal["all", "half", "public"]


MAX_VALUES = 8 << 20
_SEVERAL = re.compile(
    r"""
      \b any \s (?:one\s)? of \s (?:them|these|those|the \s \w+) \b [^.\n]{0,40}
      \b (?:accept|correct|valid|fine|allowed)
    | \b any \s (?:(?:valid|correct|possible|such|optimal|other)\s)* (?:answer|solution|output) \b [^.\n]{0,40}
      \b (?:accept|correct|fine|allowed)
    | \b (?:return|print|output) (?:ing)? \s any \s (?:one|of|such) \b
    | \b (?:return|print|output) (?:ing)? \s any \s (?:(?:valid|correct|possible|such|optimal)\s)*
      (?:answer|solution|output|order|permutation|array) \b
    | \b (?:return|print|output) \s (?:the|your|all|them|it) \b [^.\n]{0,60} \b in \s any \s order \b
    | \b (?:multiple|several|more\sthan\sone) \s (?:\w+\s){0,2} (?:answer|solution|output)s? \b [^.\n]{0,40} \b any \b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_STRINGS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


class ProblemError(ValueError):
    """The user named or wrote a question that can't be used; the message is one sentence with the remedy."""


@dataclass(frozen=True, slots=True)
class Case:
    """One test.

    stdin problems: `input` is fed to the program and `expected` is compared with what it prints.
    function problems: `input` holds the arguments as JSON, one per line, and `expected` the result as JSON.
    `public` marks the cases that the statement itself shows (LiveCodeBench's public tests).
    """

    input: str
    expected: str
    public: bool = False


@dataclass(frozen=True, slots=True)
class AnswerRule:
    """How a final answer is compared with the right one: as mathematics, or `exact` text; numbers up to `tolerance`."""

    exact: bool = False
    tolerance: float | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """One question. `name` is what the user typed; `entry_point` is None for a stdin program.

    Two kinds ask for no program. With `answer_rule` the one case's `expected` is the right answer, which nobody is
    shown. With `judge`, `MODULE:FUNCTION` or `FILE.py:FUNCTION`, a function of the user's own gives the score.

    `starter_code` is shown in the prompt of function problems. `default_split` is the division into visible and
    hidden cases that suits the source, `time_limit_seconds` and `memory_limit_mib` the question's own limits where
    it has any. `details` carries what a source knows besides (platform, difficulty, contest_date, ...).
    """

    name: str
    title: str
    statement: str
    cases: tuple[Case, ...]
    entry_point: str | None = None
    starter_code: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    default_split: SplitMode = "all"
    time_limit_seconds: float | None = None
    memory_limit_mib: int | None = None
    answer_rule: AnswerRule | None = None
    judge: str | None = None

    @property
    def several_answers(self) -> bool:
        """Tells whether the statement seems to allow several right outputs, where each case accepts but one."""
        return self.kind in ("stdin", "function") and says_several_answers(self.statement)

    @property
    def kind(self) -> Literal["stdin", "function", "answer", "judge"]:
        """Returns what an attempt has to give: a program that reads standard input, a function, an answer, anything."""
        if self.judge is not None:
            return "judge"
        if self.answer_rule is not None:
            return "answer"
        return "stdin" if self.entry_point is None else "function"


@dataclass(frozen=True, slots=True)
class Split:
    """Case indices: `visible` ones drive training, `hidden` ones only confirm. Disjoint; together all cases."""

    visible: tuple[int, ...]
    hidden: tuple[int, ...]


def says_several_answers(statement: str) -> bool:
    """Tells whether a statement says so in the words that contests use, as in "any of them is accepted"."""
    return _SEVERAL.search(statement) is not None


def checked(problem: Problem) -> Problem:
    """Returns `problem` itself; raises ProblemError where its text or its cases could not be judged."""
    if not problem.cases:
        raise ProblemError(f"{problem.name} has no test case, so nothing could be judged: give it at least one.")
    if not problem.statement.strip():
        raise ProblemError(f"{problem.name} has an empty statement: write what the program must do.")
    if problem.entry_point is not None and not problem.entry_point.isidentifier():
        raise ProblemError(f"{problem.name} names the function {problem.entry_point!r}, which is not a Python name.")
    for index, case in enumerate(problem.cases):
        _check_case(problem, case, f"{problem.name}, case {index}")
    for text in (problem.title, problem.statement, problem.starter_code, problem.entry_point or ""):
        _check_text(text, problem.name)
    return problem


def strict_json(text: str) -> object:
    """Returns the value of one JSON text without NaN and infinities; raises ValueError for anything else.

    Python's parser gives up on deep nesting with RecursionError; that too means: not JSON that anyone should compare.
    """
    refuse_bomb(text)
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def refuse_bomb(text: str) -> None:
    """Raises ValueError where `text`, as JSON, has so many values that they would take gigabytes.

    An empty list costs two characters and 64 bytes. What stands inside of strings costs no more than its length.
    """
    marks = sum(map(text.count, ",[{"))
    if marks > MAX_VALUES:
        marks = sum(map(_STRINGS.sub("", text).count, ",[{"))
    if marks > MAX_VALUES:
        raise ValueError(f"it holds more than {MAX_VALUES} values")


def cause(error: OSError | UnicodeDecodeError) -> str:
    """Says why a file can't be read, without its name and without the number that the system has for it."""
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else "it is not UTF-8"


def reason(error: Exception) -> str:
    """Returns the first line of an error's message, shortened."""
    return str(error).partition("\n")[0][:120] or type(error).__name__


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _finite(number: str) -> float:
    value = float(number)
    if value in (float("inf"), float("-inf")):
        raise ValueError("a number is too large for a float")
    return value


def _check_case(problem: Problem, case: Case, where: str) -> None:
    _check_text(case.input, f"{where}, input")
    _check_text(case.expected, f"{where}, expected output")
    if problem.entry_point is None:
        return
    try:
        for line in case.input.split("\n") if case.input else ():
            strict_json(line)
        strict_json(case.expected)
    except ValueError as error:
        raise ProblemError(
            f"{where}, is not JSON ({str(error)[:120]}): a function's input is one JSON argument a line, and its "
            "expected result one JSON value."
        ) from None


def _check_text(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ProblemError(
            f"{where}: character {error.start} is a lone surrogate, which UTF-8 can't carry; replace it."
        ) from None
