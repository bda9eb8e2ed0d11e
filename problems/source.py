"""Defines a published set of questions: where its files are, and how one of its rows becomes a question."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from problems.checker import Checker
from problems.problem import Problem, ProblemError
from problems.rows import Row
from problems.statement import granted, says_several_answers


@dataclass(frozen=True, slots=True)
class Release:
    """Names files on the hub by patterns; rows come in the order of the patterns and, within one, of the names."""

    repository: str
    files: tuple[str, ...]
    revision: str = "main"


@dataclass(frozen=True, slots=True)
class Facts:
    """Holds what an index says of a question without its tests. `date` is ISO 8601; unknown fields are empty.

    `several_answers`: the statement seems to allow several right outputs, which nothing judges. `comparison`: how
    outputs are compared, in words; empty for the default.
    """

    title: str = ""
    date: str = ""
    difficulty: str = ""
    platform: str = ""
    several_answers: bool = False
    comparison: str = ""


def facts_of(statement: str, *, checker: Checker | None = None, **known: Any) -> Facts:
    """Returns `known` facts and what the statement says of comparisons; the row's own `checker` goes first."""
    several = checker is None and says_several_answers(statement)
    return Facts(**known, several_answers=several, comparison=str(checker or granted(statement) or ""))


@dataclass(frozen=True, slots=True)
class Source:
    """Describes a published set. `scheme` begins the names of its questions, `name` is what the user pulls.

    `question_id`, `problem` and `reference` raise ProblemError for rows that they can't read; `reference` is a
    right program where the set has one. The first of `releases` is the default.
    """

    name: str
    scheme: str
    schema: str
    releases: Mapping[str, Release]
    question_id: Callable[[Row], str]
    facts: Callable[[Row], Facts]
    problem: Callable[[Row, str], Problem]
    reference: Callable[[Row], str | None] = lambda row: None

    def release(self, wanted: str | None) -> tuple[str, Release]:
        """Returns the release called `wanted`, or the default one, with its name; raises ProblemError."""
        name = next(iter(self.releases)) if wanted is None else wanted.removeprefix("release_")
        if name not in self.releases:
            known = ", ".join(name for name in self.releases if "_" not in name)
            raise ProblemError(f"{self.name} has no release {wanted!r}: choose one of {known}")
        return name, self.releases[name]
