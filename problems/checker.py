"""Names the ways in which a case's output can be compared with the expected one; ttsd.judging compares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["exact", "tokens", "floats", "case-insensitive", "unordered", "own", "published"]
BUILT_IN = tuple(kind for kind in get_args(Kind) if kind not in ("own", "published"))


@dataclass(frozen=True, slots=True)
class Checker:
    """Says how outputs are compared.

    `exact` compares the text, `tokens` lines as LiveCodeBench does, `floats` numbers up to `absolute` or `relative` (of
    the expected one), `case-insensitive` upper and lower case alike, `unordered` lines, or the elements of a list, in
    any order. `own` is the function `check` of the user's own Python file `program`, `published` the text `program` of
    a checker that came with the question and is not trusted.

    `granted`: it was found in the statement, not given by the question's author.
    """

    kind: Kind = "tokens"
    absolute: float = 0.0
    relative: float = 0.0
    program: str = ""
    granted: bool = False

    def __str__(self) -> str:
        """Returns a few words for a list of questions; nothing for the default."""
        if self.kind == "floats":
            bounds = {"absolute": self.absolute, "relative": self.relative}
            listed = [f"{bound:g} {name}" for name, bound in bounds.items() if bound]
            both = self.absolute == self.relative
            return f"numbers within {self.absolute:g}" if both else f"numbers within {' or '.join(listed)}"
        words = {"tokens": "", "exact": "exact text", "case-insensitive": "text in any case", "unordered": "any order"}
        words |= {"own": "its own checker", "published": "its published checker"}
        return words.get(self.kind, self.kind)


TOKENS = Checker()
EXACT = Checker("exact")
