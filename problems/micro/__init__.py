"""The bundled suite: little questions that the bundled model can't guess and can learn from their tests.

`<family>:<rules>:<seed>` names a question, the same on every machine and under every version of Python: all choices
come from a hash of the name. Every question belongs to one of three parts by a hash of what its right program does,
whatever its name: `training` (the only part that the model was trained on), `tuning` (for choosing settings) and
`test`. So no list of questions can hold a program that the model was taught.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from problems.micro.families import ARGUMENTS, FAMILIES, MAX_RULES, NAMES, WEIGHTS, Family, Operation, evaluate
from problems.problem import Case, Problem, ProblemError, hint

Part = Literal["training", "tuning", "test"]
Pick = Callable[[int], int]

TIME_LIMIT_SECONDS = 2.0
MEMORY_LIMIT_MIB = 256  # a right program needs next to nothing, and a laptop runs several at once
FORM = "micro:<family>:<rules>:<seed>, as in micro:numbers:5:7"


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a statement: its `verb`, which operation is meant, and the JSON argument of its test."""

    name: str
    verb: str
    operation: Operation
    argument: str


@dataclass(frozen=True, slots=True)
class Question:
    family: Family
    rules: tuple[Rule, ...]

    @property
    def part(self) -> Part:
        """Returns the part, decided by the operations of the rules and their names, not by order, arguments or the
        question's name.
        """
        content = sorted(f"{rule.name} {rule.operation.code}" for rule in self.rules)
        slot = hashlib.sha256("\n".join([self.family.name, *content]).encode()).digest()[0] % 16
        return "tuning" if slot == 0 else "test" if slot == 1 else "training"


def load(rest: str) -> Problem:
    """Returns the question called `micro:<rest>`; raises ProblemError with the form that is expected."""
    return problem(named(rest), f"micro:{rest}")


def named(rest: str) -> Question:
    """Returns the question called `micro:<rest>` with what its statement leaves open."""
    family, rules = _parsed(rest)
    return question(family, rules, hash_pick(rest))


@cache
def lists() -> Mapping[str, Mapping[str, float]]:
    """Returns the shipped lists of questions, with the bundled model's probability of solving each in one attempt."""
    text = (resources.files(__name__) / "subsets.json").read_text("utf-8")
    found: dict[str, dict[str, float]] = json.loads(text)
    return found


def subset(name: str) -> list[str]:
    """Returns the names of the questions of a shipped list, such as `micro-hard`."""
    return list(lists()[name])


def question(family: Family, rules: int, pick: Pick) -> Question:
    """Returns a question with `rules` rules, chosen by `pick` (n -> a number below n)."""
    names = _shuffled(NAMES, pick)[:rules]
    return Question(family, tuple(_rule(family, name, pick) for name in names))


def problem(question: Question, name: str) -> Problem:
    """Returns the question as every part of the tool knows it: statement, one test a rule, starter code."""
    family = question.family
    lines = [family.intro, *(f"{rule.name}: {rule.verb}" for rule in question.rules)]
    return Problem(
        name=name,
        title=f"{family.name}, {len(question.rules)} rules",
        statement="\n".join(lines),
        cases=tuple(_case(family, rule) for rule in question.rules),
        entry_point=family.entry_point,
        starter_code=family.starter_code,
        time_limit_seconds=TIME_LIMIT_SECONDS,
        memory_limit_mib=MEMORY_LIMIT_MIB,
    )


def program(question: Question, operations: Sequence[Operation] | None = None) -> str:
    """Returns the right program, or the one that means `operations` by the rules."""
    family = question.family
    chosen = operations or [rule.operation for rule in question.rules]
    templates = [family.rule] + [family.next_rule] * (len(chosen) - 1)
    branches = (
        template.replace("{name}", rule.name).replace("{code}", operation.code)
        for template, rule, operation in zip(templates, question.rules, chosen, strict=True)
    )
    return family.head + "".join(branches)


def guess(family: Family, verb: str, pick: Pick) -> Operation:
    """Returns what `verb` means this time."""
    ticket = pick(sum(WEIGHTS))
    for operation, weight in zip(family.verbs[verb], WEIGHTS, strict=True):
        ticket -= weight
        if ticket < 0:
            return operation
    raise AssertionError("WEIGHTS cover every ticket")


def hash_pick(seed: str) -> Pick:
    """Returns uniform choices that depend on `seed` alone."""
    count = 0

    def pick(below: int) -> int:
        nonlocal count
        count += 1
        return int.from_bytes(hashlib.sha256(f"{seed}/{count}".encode()).digest()[:8]) % below

    return pick


def _rule(family: Family, name: str, pick: Pick) -> Rule:
    verbs = list(family.verbs)
    verb = verbs[pick(len(verbs))]
    operation = guess(family, verb, pick)
    arguments = telling_arguments(family.name, verb, operation)
    return Rule(name, verb, operation, arguments[pick(len(arguments))])


@cache
def telling_arguments(family_name: str, verb: str, operation: Operation) -> tuple[str, ...]:
    """Returns JSON arguments on which `operation` works and no other operation of its verb gives the same result."""
    family = FAMILIES[family_name]
    rivals = [rival.code for rival in family.verbs[verb] if rival != operation]

    def telling(argument: str) -> bool:
        right = evaluate(operation.code, family.variable, argument)
        return right[1] == "" and all(evaluate(rival, family.variable, argument) != right for rival in rivals)

    return tuple(text for text in map(json.dumps, ARGUMENTS[operation.takes]) if telling(text))


def _case(family: Family, rule: Rule) -> Case:
    expected, _ = evaluate(rule.operation.code, family.variable, rule.argument)
    if family.entry_point is None:
        return Case(f"{rule.name}\n{rule.argument}\n", f"{expected}\n")
    return Case(f"{json.dumps(rule.name)}\n{rule.argument}", expected)


def _shuffled(items: Sequence[str], pick: Pick) -> list[str]:
    left = list(items)
    return [left.pop(pick(len(left))) for _ in items]


def _parsed(rest: str) -> tuple[Family, int]:
    family, *numbers = rest.split(":")
    if family not in FAMILIES:
        known = f"the families are {', '.join(FAMILIES)}"
        raise ProblemError(f"there is no question 'micro:{rest}': give {FORM}; {hint(family, FAMILIES, known)}")
    if len(numbers) != 2 or not all(_is_number(text) for text in numbers):
        raise ProblemError(f"there is no question 'micro:{rest}': give {FORM}")
    rules = int(numbers[0])
    if not 1 <= rules <= MAX_RULES:
        raise ProblemError(f"'micro:{rest}' asks for {rules} rules: ask for 1 to {MAX_RULES}")
    return FAMILIES[family], rules


def _is_number(text: str) -> bool:
    # One spelling for each number, so that one question has one name.
    return text.isascii() and text.isdigit() and len(text) < 10 and str(int(text)) == text
