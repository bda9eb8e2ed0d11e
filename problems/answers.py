r"""Reads questions of the user's own that ask for an answer instead of a program.

In `problem.toml`, either

    kind = "answer"
    answer = "3/4"               the right answer, as text or as a number
    exact = true                 optional: the same text, instead of the same mathematics
    tolerance = 1e-6             optional: how far a number may be off

where an exact answer is met by its exact value alone, `1.0` by what is within a millionth of it, and `\gcd(12, 18)` is
no answer unless the right one holds that operator, or

    judge = "judge.py:score"     a function of a Python file in the folder

The judge is a function of the whole answer, thinking removed: it returns a score (1 is right), a bool, or
`(score, feedback)`. It is the user's own code and runs outside the sandbox, in its own process, under a time limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from problems.grading import own_file
from problems.problem import AnswerRule, Case, Problem, ProblemError

SETTINGS: Mapping[str, type | tuple[type, ...]] = {
    "kind": str,
    "answer": (str, int, float),
    "exact": bool,
    "tolerance": (int, float),
    "judge": str,
}
_FOR_PROGRAMS = (
    *("entry_point", "starter_code", "time_limit_seconds", "memory_limit_mib", "public_cases"),
    *("checker", "abs", "rel", "points"),
)


def wanted(settings: Mapping[str, object]) -> bool:
    """Tells whether `settings` describe a question of these kinds."""
    return any(key in settings for key in ("kind", "answer", "exact", "judge"))


def problem(path: Path, name: str, title: str, statement: str, settings: Mapping[str, object]) -> Problem:
    """Returns the question in the folder `path`; raises ProblemError."""
    where = path / "problem.toml"
    if settings.get("kind", "answer") != "answer":
        raise ProblemError(f'{where} has kind = {settings["kind"]!r:.80}: write kind = "answer", or leave it out')
    if misplaced := [key for key in _FOR_PROGRAMS if key in settings]:
        raise ProblemError(f"{where} has {misplaced[0]}, which is for programs, and an answer or a judge: leave one")
    if (path / "cases.toml").exists() or (path / "cases").exists():
        hint = 'write checker = "exact"' if "exact" in settings and "answer" not in settings else "leave one"
        raise ProblemError(f"{path} has cases, which are for programs, and an answer or a judge: {hint}")
    judge = _judge(path, settings) if "judge" in settings else None
    expected, rule = ("", None) if judge else _answer(where, settings)
    case = Case("", expected, public=True)  # which every split makes visible: there is nothing to hide behind it
    return Problem(name, title, statement, (case,), answer_rule=rule, judge=judge)


def _answer(where: Path, settings: Mapping[str, object]) -> tuple[str, AnswerRule]:
    answer = str(settings.get("answer", "")).strip()
    if settings.get("kind") != "answer" or not answer:
        raise ProblemError(f'{where} needs kind = "answer" and the right answer, as in answer = "3/4"')
    exact, tolerance = bool(settings.get("exact", False)), settings.get("tolerance")
    if tolerance is not None and exact:
        raise ProblemError(f"{where} has exact = true and tolerance = {tolerance!r}: leave one")
    return answer, AnswerRule(exact, float(str(tolerance)) if tolerance is not None else None)


def _judge(path: Path, settings: Mapping[str, object]) -> str:
    where = path / "problem.toml"
    if others := [key for key in SETTINGS if key in settings and key != "judge"]:
        raise ProblemError(f"{where} has {others[0]} and a judge, which decides alone: leave one")
    file, _, function = str(settings["judge"]).rpartition(":")
    if not file.endswith(".py") or not function.isidentifier():
        raise ProblemError(f'{where} has judge = {settings["judge"]!r}: give "judge.py:function"')
    return f"{own_file(path, file, 'judge')}:{function}"
