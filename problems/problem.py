"""A question and its tests. Knows nothing of models, of sandboxes or of verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


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
class Problem:
    """One question. `name` is what the user typed; `entry_point` is None for a stdin program.

    `starter_code` is shown in the prompt of function problems. `details` carries what a source knows besides
    (platform, difficulty, contest_date, ...).
    """

    name: str
    title: str
    statement: str
    cases: tuple[Case, ...]
    entry_point: str | None = None
    starter_code: str = ""
    details: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> Literal["stdin", "function"]:
        return "stdin" if self.entry_point is None else "function"


@dataclass(frozen=True, slots=True)
class Split:
    """Case indices: `visible` ones drive training, `hidden` ones only confirm. Disjoint; together all cases."""

    visible: tuple[int, ...]
    hidden: tuple[int, ...]
