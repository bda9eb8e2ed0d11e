"""The corpus of the bundled model: prompts and feedback in the tool's own words, and right programs.

An example is one user turn and its answer. The turn is the question alone, or with a demonstration, or with feedback on
one to six wrong attempts; all text comes from `ttsd.prompts` and `ttsd.judging.feedback`. The wrong attempts are made
here, and their results are computed from known expressions: no foreign program runs.
"""

from __future__ import annotations

import json
import linecache
import random
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from problems.micro import Question, guess, problem, program, question
from problems.micro.families import FAMILIES, Operation, evaluate
from ttsd.judging.feedback import NO_PROGRAM, TRUNCATED, feedback_text
from ttsd.nouns import CaseResult, Status
from ttsd.prompts import context_text, question_text

_FILE = "<a failing line>"


@dataclass(frozen=True, slots=True)
class Stage:
    """One part of the curriculum, from training step `start` on.

    `rules`, `attempts`: how many rules a question has, and on how many attempts there is feedback; every entry is
    equally likely. `question`, `demonstration`, `empty`: the shares of examples with the question alone, with a right
    answer, and with the words around the context but none in it; all others have feedback. `marked`: the share of
    these whose errors have the line that Python prints under the failing expression (`~~~^~~~`).
    """

    start: int
    rules: tuple[int, ...]
    attempts: tuple[int, ...]
    question: float = 0.12
    demonstration: float = 0.08
    empty: float = 0.0
    marked: float = 0.0


_MANY = (2, 3, 4, 5, 6, 7, 8)
# Answers to copy come first, from questions of many rules: to find what the context says about a name is the hard part,
# and every rule of a demonstration trains it. Feedback is then read by the same means.
CURRICULUM = (
    Stage(0, rules=(2, 3, 4, 5), attempts=(1,), question=0.08, demonstration=0.65),
    Stage(300, rules=(1, 2, 3, 4, 5, 6), attempts=(1, 1, 2), demonstration=0.3, marked=0.3),
    Stage(700, rules=(1, 2, 3, 4, 5, 6), attempts=(1, 1, 2), question=0.08, demonstration=0.45, marked=0.3),
    Stage(1000, rules=(1, 2, 3, 4, 5), attempts=(1, 1, 2), question=0.08, demonstration=0.14, marked=0.3),
    Stage(1400, rules=(2, 3, 4, 5, 6, 7), attempts=(1, 1, 2, 2, 3, 4), demonstration=0.14, empty=0.02, marked=0.5),
    Stage(2000, rules=_MANY, attempts=(1, 1, 1, 2, 2, 3, 4, 5, 6), demonstration=0.12, empty=0.03, marked=0.7),
)

# The tokenizer is made from everything that can occur, with long conversations in their proportion.
TOKENIZER_STAGE = Stage(0, rules=_MANY, attempts=(1, 1, 2, 3, 4, 5, 6))


def examples(seed: int, step: int, count: int) -> list[tuple[str, str]]:
    """Returns the (prompt, answer) pairs of one training step; a function of its arguments alone."""
    rng, stage = random.Random(f"{seed}/{step}"), [stage for stage in CURRICULUM if stage.start <= step][-1]
    return [example(rng, stage) for _ in range(count)]


def example(rng: random.Random, stage: Stage) -> tuple[str, str]:
    """Returns a prompt and its answer."""
    asked = training_question(rng, rng.choice(stage.rules))
    text, right = question_text(problem(asked, "")), answer(program(asked))
    kind = rng.random() - stage.question
    if kind < 0:
        return text, right
    if kind < stage.demonstration:
        return context_text(text, solution=right), right
    if kind < stage.demonstration + stage.empty:
        return context_text(text), right
    follows, luck = rng.choice((0.0, 0.5, 0.9, 1.0)), rng.choice((0.0, 0.0, 0.3, 0.6))
    marked = stage.marked > 0 and rng.random() < stage.marked
    items = conversation(asked, rng.choice(stage.attempts), rng, follows=follows, luck=luck, marked=marked)
    return context_text(text, feedback=items), right


def training_question(rng: random.Random, rules: int) -> Question:
    """Returns a question of a random family from the part that may be trained on."""
    families = list(FAMILIES.values())
    while True:
        asked = question(rng.choice(families), rules, rng.randrange)
        if asked.part == "training":
            return asked


def answer(source: str) -> str:
    """Returns the model's answer with the program `source`."""
    return f"```python\n{source}```"


def conversation(
    asked: Question, attempts: int, rng: random.Random, *, follows: float, luck: float, marked: bool = True
) -> list[str]:
    """Returns the feedback on at most `attempts` wrong attempts in a row.

    An attempt gets a rule right with probability `follows` where earlier feedback names it, and `luck` (below 1)
    elsewhere; otherwise it guesses. The first attempt is never right; a later one that is right ends the conversation.
    """
    named = set[int]()
    items: list[str] = []
    while len(items) < attempts:
        attempt = [
            rule.operation
            if rng.random() < (follows if index in named else luck)
            else guess(asked.family, rule.verb, rng.randrange)
            for index, rule in enumerate(asked.rules)
        ]
        item = feedback(asked, attempt, marked=marked)
        if item:
            items.append(item)
            named |= {index for index, rule in enumerate(asked.rules) if _names(item, rule.name)}
        elif named:
            break
    if items and rng.random() < 0.005:
        items[0] = TRUNCATED if rng.random() < 0.5 else NO_PROGRAM
    return items


def feedback(asked: Question, attempt: Sequence[Operation], *, marked: bool = True) -> str:
    """Returns the judge's feedback on `attempt`; empty where every test passes."""
    return feedback_text(problem(asked, ""), results(asked, attempt, marked=marked))


def results(asked: Question, attempt: Sequence[Operation], *, marked: bool = True) -> list[CaseResult]:
    """Returns the tests of `attempt` as the judge runs them: in order, up to the first runtime error."""
    found: list[CaseResult] = []
    for index, (rule, operation) in enumerate(zip(asked.rules, attempt, strict=True)):
        actual, error = evaluate(operation.code, asked.family.variable, rule.argument)
        expected, _ = evaluate(rule.operation.code, asked.family.variable, rule.argument)
        if error:
            text = _traceback(asked, attempt, index, marked=marked) + error
            return [*found, CaseResult(index, Status.RUNTIME_ERROR, error=text)]
        status = Status.ACCEPTED if actual == expected else Status.WRONG_ANSWER
        found.append(CaseResult(index, status, actual=actual))
    return found


def _names(item: str, name: str) -> bool:
    return f"\n{name}\n" in item or f'\n"{name}"\n' in item


def _traceback(asked: Question, attempt: Sequence[Operation], index: int, *, marked: bool) -> str:
    """Returns what Python prints above the error of the test of rule `index`."""
    family, rule = asked.family, asked.rules[index]
    lines = program(asked, attempt).splitlines()
    at = next(at for at, line in enumerate(lines, 1) if json.dumps(rule.name) in line)  # the next line fails
    line, where = lines[at].strip(), family.entry_point or "<module>"
    marks = _marks(line, family.variable, rule.argument) if marked else ""
    return f'  File "solution.py", line {at + 1}, in {where}\n    {line}\n{marks}'


@lru_cache(maxsize=4096)
def _marks(line: str, variable: str, argument: str) -> str:
    """Returns the line that this Python prints under `line` when it fails for `argument`; empty if there is none."""
    source = f"def f({variable}):\n    {line}\n"
    linecache.cache[_FILE] = (len(source), None, source.splitlines(keepends=True), _FILE)
    space: dict[str, Any] = {}
    exec(compile(source, _FILE, "exec"), space)
    try:
        space["f"](json.loads(argument))
    except Exception as error:
        return "".join(traceback.format_exception(error)[-2].splitlines(keepends=True)[2:])
    raise ValueError(f"{line!r} does not fail for {argument}")
