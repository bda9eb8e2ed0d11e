"""Defines a question and its tests. Knows nothing of models, of sandboxes or of verdicts."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from problems.checker import TOKENS, Checker
from problems.signature import Signature, signature
from problems.statement import granted, says_several_answers
from problems.values import argument, strict_json

MAX_CASES = 10_000
MAX_STATEMENT_CHARACTERS = 1 << 20
MAX_NAME_CHARACTERS = 1000
MAX_COMPARED = 2000
MAX_CASES_CHARACTERS = 256 << 20

SplitMode = Literal["all", "half", "public"]


class ProblemError(ValueError):
    """Says in one sentence, with the remedy, why a question that the user named or wrote can't be used."""


@dataclass(frozen=True, slots=True)
class Case:
    """Holds one test.

    stdin problems: `input` is fed to the program and `expected` is compared with what it prints.
    function problems: `input` holds the arguments, one per line, as JSON or as Python literals (values.py), and
    `expected` the result as JSON. `public` marks the cases that the statement itself shows (LiveCodeBench's public
    tests). `exact`: types count in the result whatever the question's checker is, as in `assert f(x) is True`.
    """

    input: str
    expected: str
    public: bool = False
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Points:
    """Says what a group of cases is worth, by their indices: its points are earned where all of them pass."""

    cases: tuple[int, ...]
    points: float


@dataclass(frozen=True, slots=True)
class AnswerRule:
    """Says how final answers are compared with the right one: as mathematics or `exact` text, up to `tolerance`."""

    exact: bool = False
    tolerance: float | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Holds one question. `name` is what the user typed; `entry_point` is None for a stdin program.

    Two kinds ask for no program. With `answer_rule` the one case's `expected` is the right answer, which nobody is
    shown. With `judge`, `FILE.py:FUNCTION`, a function of the user's own gives the score.

    `starter_code` is shown in the prompt of function problems. `default_split` is the division into visible and
    hidden cases that suits the source, `time_limit_seconds` and `memory_limit_mib` the question's own limits where
    it has any. `checker` says how outputs are compared; None: as the statement grants. With `points` the share of
    points is the visible fraction; without, cases count alike.
    """

    name: str
    title: str
    statement: str
    cases: tuple[Case, ...]
    entry_point: str | None = None
    starter_code: str = ""
    default_split: SplitMode = "all"
    time_limit_seconds: float | None = None
    memory_limit_mib: int | None = None
    answer_rule: AnswerRule | None = None
    judge: str | None = None
    checker: Checker | None = None
    points: tuple[Points, ...] = ()

    @property
    def comparison(self) -> Checker:
        """Returns how outputs are compared: as the question's author says, else as its statement grants."""
        return self.checker or granted(self.statement) or TOKENS

    @property
    def signature(self) -> Signature:
        """Returns how a function's arguments and results are converted, as its starter code says."""
        expected = (case.expected for case in self.cases)
        return signature(self.starter_code, self.entry_point, expected) if self.entry_point else Signature()

    @property
    def several_answers(self) -> bool:
        """Tells whether the statement seems to allow several right outputs, while each case accepts one."""
        return self.asks_for_program and self.checker is None and says_several_answers(self.statement)

    @property
    def asks_for_program(self) -> bool:
        """Tells whether attempts are programs, which are run on cases."""
        return self.kind in ("stdin", "function")

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
    """Divides cases by index: `visible` ones drive training, `hidden` ones only confirm. Together they are all."""

    visible: tuple[int, ...]
    hidden: tuple[int, ...]


def checked(problem: Problem) -> Problem:
    """Returns `problem` itself; raises ProblemError where its text or its cases could not be judged."""
    _check_sizes(problem)
    if not problem.cases:
        raise ProblemError(f"{problem.name} has no test case, so nothing could be judged: give it at least one")
    if not problem.statement.strip():
        raise ProblemError(f"{problem.name} has an empty statement: write what the program must do")
    if problem.entry_point is not None and not problem.entry_point.isidentifier():
        raise ProblemError(f"{problem.name} names the function {problem.entry_point!r}, which is not a Python name")
    for index, case in enumerate(problem.cases):
        _check_case(problem, case, f"{problem.name}, case {index}")
    for text in (problem.title, problem.statement, problem.starter_code, problem.entry_point or ""):
        _check_text(text, problem.name)
    return problem


def _check_sizes(problem: Problem) -> None:
    called = f"{problem.name[:80]}"
    if max(len(problem.name), len(problem.title), len(problem.entry_point or "")) > MAX_NAME_CHARACTERS:
        raise ProblemError(f"{called} has a name or a title of more than {MAX_NAME_CHARACTERS} characters: shorten it")
    if max(len(problem.statement), len(problem.starter_code)) > MAX_STATEMENT_CHARACTERS:
        raise ProblemError(f"{called} has a statement of more than {MAX_STATEMENT_CHARACTERS} characters: shorten it")
    if len(problem.cases) > MAX_CASES:
        raise ProblemError(f"{called} has {len(problem.cases)} cases: give at most {MAX_CASES}")
    if sum(len(case.input) + len(case.expected) for case in problem.cases) > MAX_CASES_CHARACTERS:
        raise ProblemError(f"{called} has cases of more than {MAX_CASES_CHARACTERS >> 20} MiB together: give fewer")


def several_answers_warning(problems: Iterable[Problem]) -> str:
    """Returns one line on the questions that allow more right answers than their cases do; empty without such."""
    names = list(dict.fromkeys(problem.name for problem in problems if problem.several_answers))
    if not names:
        return ""
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return (
        f"{shown}: the statement allows several right answers and each case accepts one, so a right program may be "
        "judged wrong; give a checker (docs/own-questions.md)"
    )


def hint(word: str, known: Iterable[str], otherwise: str, count: int = 1, prefix: str = "") -> str:
    """Asks whether one of the most similar names that are `known` was meant; `otherwise` where none is similar.

    Comparing takes long, so only the first names are looked at. `prefix` is shown before each of them.
    """
    short = [name for name in islice(known, MAX_COMPARED) if len(name) <= MAX_NAME_CHARACTERS]
    close = difflib.get_close_matches(word[:MAX_NAME_CHARACTERS], short, n=count)
    return f"did you mean {' or '.join(repr(prefix + name) for name in close)}?" if close else otherwise


def cause(error: OSError | UnicodeDecodeError) -> str:
    """Says why a file can't be read, without its name and without the number that the system has for it."""
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else "it is not UTF-8"


def reason(error: Exception) -> str:
    """Returns the first line of an error's message, shortened."""
    return str(error).partition("\n")[0][:120] or type(error).__name__


def _check_case(problem: Problem, case: Case, where: str) -> None:
    _check_text(case.input, f"{where}, input")
    _check_text(case.expected, f"{where}, expected output")
    if problem.entry_point is None:
        return
    try:
        for line in case.input.split("\n") if case.input else ():
            argument(line)
        strict_json(case.expected)
    except ValueError as error:
        raise ProblemError(
            f"{where}, is not JSON ({str(error)[:120]}): a function's input is one argument a line, JSON or a Python "
            "literal, and its expected result one JSON value"
        ) from None


def _check_text(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ProblemError(
            f"{where}: character {error.start} is a lone surrogate, which UTF-8 can't carry; replace it"
        ) from None
