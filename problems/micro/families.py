"""The families of little questions: what a statement says, what it leaves open, and how a right program looks.

Every question is a list of rules. The statement gives each rule a name and a vague verb (`red: grow`); a verb may
mean any of four operations, some likelier than others, and only the tests show which one is meant. So a question
with k rules takes k lucky guesses, or the feedback of its tests.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

# How often a verb means its first, second, third and fourth operation, in tenths.
WEIGHTS = (4, 3, 2, 1)
MAX_RULES = 8

COLOURS = ("red", "blue", "green", "gold", "pink", "gray", "black", "white", "brown", "teal", "lime", "plum")
ANIMALS = ("cat", "dog", "fox", "owl", "bee", "ant", "hen", "cow", "pig", "bat", "eel", "yak")
NAMES = COLOURS + ANIMALS

# Few values, so that a very small model can know what every operation makes of them. The lists' first, last, largest
# and smallest numbers differ, so any list tells the operations that pick one apart.
NUMBERS = (4, 6, 7, 9)
LISTS = ([5, 9, 1, 4], [7, 2, 9, 3], [4, 1, 7, 6])
WORDS = ("sun", "lamp", "key")


@dataclass(frozen=True, slots=True)
class Operation:
    """A Python expression and the values that a test of it may take (a key of `ARGUMENTS`)."""

    code: str
    takes: str


@dataclass(frozen=True, slots=True)
class Family:
    """One shape of question. `head` opens every program, `rule` is one branch of it.

    `variable` is the name that the operations give to their value; the tests of a stdin family (no `entry_point`)
    are lines of text, those of a function family JSON.
    """

    name: str
    intro: str
    head: str
    rule: str
    next_rule: str
    variable: str
    verbs: Mapping[str, tuple[Operation, ...]]
    entry_point: str | None = None
    starter_code: str = ""


ARGUMENTS: Mapping[str, Sequence[object]] = {
    "number": NUMBERS,
    "list": LISTS,
    "word": WORDS,
}


@lru_cache(maxsize=65536)
def evaluate(code: str, variable: str, argument: str) -> tuple[str, str]:
    """Returns (result as JSON, "") of one operation on a JSON `argument`, or ("", the exception's line)."""
    try:
        return json.dumps(eval(code, {variable: json.loads(argument)})), ""
    except Exception as error:  # whatever a wrong operation raises is what its author would read
        return "", f"{type(error).__name__}: {error}"


def _verbs(takes: str, table: Mapping[str, str]) -> dict[str, tuple[Operation, ...]]:
    return {verb: tuple(Operation(code.strip(), takes) for code in row.split("|")) for verb, row in table.items()}


def _mixed(table: Mapping[str, str]) -> dict[str, tuple[Operation, ...]]:
    kinds = {"n": "number", "w": "word", "l": "list"}
    return {
        verb: tuple(Operation(cell[2:].strip(), kinds[cell[0]]) for cell in map(str.strip, row.split("|")))
        for verb, row in table.items()
    }


FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="numbers",
            intro="Read a name and a number n, one on each line. Print what the rule of that name makes of n.",
            head="name = input()\nn = int(input())\n",
            rule='if name == "{name}":\n    print({code})\n',
            next_rule='elif name == "{name}":\n    print({code})\n',
            variable="n",
            verbs=_verbs(
                "number",
                {
                    "grow": "n + 1 | n + 2 | n + 5 | n + 10",
                    "shrink": "n - 1 | n - 2 | n // 2 | n - 5",
                    "scale": "n * 2 | n * 3 | n * 10 | n * 5",
                    "power": "n * n | n ** 3 | 2 ** n | n * n + 1",
                    "mirror": "-n | 10 - n | 20 - n | 100 - n",
                    "wrap": "n % 3 | n % 4 | n % 5 | n % 10",
                },
            ),
        ),
        Family(
            name="lists",
            intro="Given a name and a list of numbers, return what the rule of that name makes of the list.",
            head="def f(name, values):\n",
            rule='    if name == "{name}":\n        return {code}\n',
            next_rule='    if name == "{name}":\n        return {code}\n',
            variable="values",
            verbs=_verbs(
                "list",
                {
                    "pick": "values[0] | values[-1] | max(values) | min(values)",
                    "count": "sum(values) | len(values) | values[0] + values[1] | values[1] * 2",
                    "cut": "values[1:] | values[:-1] | values[:1] | values[1:2]",
                    "order": "sorted(values) | values[::-1] | sorted(values)[::-1] | sorted(values)[1:]",
                    "join": "values + [0] | [0] + values | values * 2 | values + [1]",
                    "change": "[v + 1 for v in values] | [v * 2 for v in values] | [-v for v in values] "
                    "| [0 for v in values]",
                },
            ),
            entry_point="f",
            starter_code="def f(name, values):",
        ),
        Family(
            name="mixed",
            intro="Given a name and a value, return what the rule of that name makes of it. Values have many types.",
            head="def f(name, value):\n",
            rule='    if name == "{name}":\n        return {code}\n',
            next_rule='    if name == "{name}":\n        return {code}\n',
            variable="value",
            verbs=_mixed(
                {
                    "grow": 'n value + 1 | w value + "s" | l value + [0] | n value + 10',
                    "size": "w len(value) | l sum(value) | n value - 1 | l max(value)",
                    "start": "w value[0] | l value[1:] | n value // 2 | l min(value)",
                    "end": "l value[-1] | n value % 10 | w value[:-1] | l max(value)",
                    "turn": "w value[::-1] | n -value | l sorted(value) | n 100 - value",
                    "repeat": 'n value * 2 | w value + "-" | l value + value[:1] | n value * value',
                }
            ),
            entry_point="f",
            starter_code="def f(name, value):",
        ),
    )
}
