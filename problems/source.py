"""Defines a published set of questions: where its files are, and how one of its rows becomes a question."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from problems.problem import Problem, ProblemError
from problems.rows import Row


@dataclass(frozen=True, slots=True)
class Release:
    """Names files on the hub by patterns; rows come in the order of the patterns and, within one, of the names."""

    repository: str
    files: tuple[str, ...]
    revision: str = "main"


@dataclass(frozen=True, slots=True)
class Source:
    """Describes a published set. `scheme` begins the names of its questions, `name` is what the user pulls.

    `question_id`, `problem` and `reference` raise ProblemError for rows that they can't read; `reference` is a
    right program where the set has one. `facts` returns those of date (ISO 8601), difficulty and platform that the row
    has, of whatever form it is. The first of `releases` is the default.
    """

    name: str
    scheme: str
    schema: str
    releases: Mapping[str, Release]
    question_id: Callable[[Row], str]
    problem: Callable[[Row, str], Problem]
    facts: Callable[[Row], dict[str, Any]] = lambda row: {}
    reference: Callable[[Row], str | None] = lambda row: None

    def release(self, wanted: str | None) -> tuple[str, Release]:
        """Returns the release called `wanted`, or the default one, with its name; raises ProblemError."""
        name = next(iter(self.releases)) if wanted is None else wanted.removeprefix("release_")
        if name not in self.releases:
            known = ", ".join(name for name in self.releases if "_" not in name)
            raise ProblemError(f"{self.name} has no release {wanted!r}: choose one of {known}")
        return name, self.releases[name]
