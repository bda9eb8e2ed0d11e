"""Tells which questions are too alike to stand on both sides of a division into training and test questions.

They have the same function, or statements that say nearly the same. Alike is not transitive, so a division keeps
whole families together: questions that are connected by any number of such steps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from problems.problem import Problem

SAME_STATEMENT = 0.8  # of the words of both statements that they have in common (Dice)
SHORTEST_NAME = 3  # letters; shorter names of functions say nothing, and neither do these:
ANY_FUNCTION = frozenset({"main", "solve", "solution", "answer", "function", "func"})
_ANY_WORD = frozenset(
    re.findall(
        r"\w+",
        "a an and are by find for from function given is it its of or program python that the this to using which with "
        "write whether",
    )
)


@dataclass(frozen=True, slots=True)
class Traits:
    """What two questions are compared by: the function's name (empty: it says nothing) and the statement's words."""

    name: str
    function: str
    words: frozenset[str]

    @classmethod
    def of(cls, problem: Problem) -> Traits:
        """Reads them off a question. Of the statement they leave out indented lines, which are examples."""
        prose = re.sub(r"^(    |\t).*$", "", problem.statement, flags=re.MULTILINE)
        function = problem.entry_point or ""
        says = len(function) >= SHORTEST_NAME and function.lower() not in ANY_FUNCTION
        words = frozenset(re.findall(r"[a-z0-9]+", prose.lower())) - _ANY_WORD
        return cls(problem.name, function.lower() if says else "", words)

    def alike(self, other: Traits) -> bool:
        """Tells whether it is the same question, one with the same function, or a near paraphrase."""
        if self.name == other.name or (self.function and self.function == other.function):
            return True
        total = len(self.words) + len(other.words)
        return total > 0 and 2 * len(self.words & other.words) >= SAME_STATEMENT * total


def families(problems: Sequence[Problem]) -> list[list[Problem]]:
    """Returns `problems` in families: no question is alike to one of another family."""
    traits, family = [Traits.of(problem) for problem in problems], list(range(len(problems)))
    for at, own in enumerate(traits):
        near = {family[other] for other in range(at) if own.alike(traits[other])}
        family[:at] = [at if number in near else number for number in family[:at]]
    members: dict[int, list[Problem]] = {}
    for number, problem in zip(family, problems, strict=True):
        members.setdefault(number, []).append(problem)
    return list(members.values())


def without(problems: Iterable[Problem], excluded: Iterable[Problem]) -> list[Problem]:
    """Returns the questions of `problems` that are alike to none of `excluded`."""
    kept_out = [Traits.of(problem) for problem in excluded]
    return [one for one in problems if not any(map(Traits.of(one).alike, kept_out))]
