"""What a published set of questions is: where its files lie, and how one of its rows becomes a question."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from problems.problem import Problem, ProblemError
from problems.rows import Row


@dataclass(frozen=True, slots=True)
class Release:
    """Files on the hub, as patterns; the order of the rows is that of the patterns and, within one, of the names."""

    repository: str
    files: tuple[str, ...]
    revision: str = "main"


@dataclass(frozen=True, slots=True)
class Facts:
    """What an index tells of a question without its tests. `date` is ISO 8601; unknown fields are empty.

    `several_answers`: the statement seems to allow several right outputs.
    """

    title: str = ""
    date: str = ""
    difficulty: str = ""
    platform: str = ""
    several_answers: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """A published set. `scheme` begins the names of its questions, `name` is what the user pulls.

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
            raise ProblemError(f"{self.name} has no release {wanted!r}: choose one of {known}.")
        return name, self.releases[name]
