"""What the bundled model learns from: prompts of the tool, feedback of the tool, and right programs.

An example is one user turn and its answer. The turn is a question alone, with a demonstration, or with feedback on
one to six wrong attempts; all text comes from `prompts` and `feedback`, so the model knows the tool's own words.
The wrong attempts are sampled here and their results computed by evaluating known expressions: nothing foreign runs.
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
from ttsd.config import Reprompt
from ttsd.judging.feedback import feedback_text, no_program_feedback
from ttsd.nouns import CaseResult, Status
from ttsd.prompts import context_text, question_text

_MARKED = "<a failing line>"
TEMPLATES = Reprompt()


@dataclass(frozen=True, slots=True)
class Stage:
    """One part of the curriculum, from training step `start` on.

    `rules` and `blocks` list how many rules a question has and how many attempts were judged, each entry as likely.
    Of the examples a share `student` shows the question alone, `demonstration` a right answer, and `bare` a
    teacher's prompt that has no feedback; the rest shows feedback; a share `marked` of it has the lines that
    Python puts under the failing expression (`~~~^~~~`), as most interpreters do.
    """

    start: int
    rules: tuple[int, ...]
    blocks: tuple[int, ...]
    student: float = 0.12
    demonstration: float = 0.08
    bare: float = 0.0
    marked: float = 0.0
    batch: int = 64


_ANY = (2, 3, 4, 5, 6, 7, 8)
_SOME = (1, 1, 1, 2, 2, 3, 4, 5, 6)
# Answers to copy first, from questions of many rules: finding what was said of a name is the hard part, and every
# rule of a demonstration teaches it. Feedback is then read by the same means.
CURRICULUM = (
    Stage(0, rules=(2, 3, 4, 5), blocks=(1,), student=0.08, demonstration=0.65),
    Stage(300, rules=(1, 2, 3, 4, 5, 6), blocks=(1, 1, 2), demonstration=0.3, marked=0.3),
    Stage(700, rules=(1, 2, 3, 4, 5, 6), blocks=(1, 1, 2), student=0.08, demonstration=0.45, marked=0.3),
    Stage(1000, rules=(1, 2, 3, 4, 5), blocks=(1, 1, 2), student=0.08, demonstration=0.14, marked=0.3),
    Stage(1400, rules=(2, 3, 4, 5, 6, 7), blocks=(1, 1, 2, 2, 3, 4), demonstration=0.14, bare=0.02, marked=0.5),
    Stage(2000, rules=_ANY, blocks=_SOME, demonstration=0.12, bare=0.03, marked=0.7),
)

# What the tokenizer is made from: everything that can occur, in the proportions of long conversations.
TOKENIZER_STAGE = Stage(0, rules=_ANY, blocks=(1, 1, 2, 3, 4, 5, 6))


@dataclass(frozen=True, slots=True)
class Example:
    """One user turn and the answer to it."""

    prompt: str
    answer: str


def stage_at(step: int) -> Stage:
    return [stage for stage in CURRICULUM if stage.start <= step][-1]


def example(rng: random.Random, stage: Stage) -> Example:
    asked = training_question(rng, rng.choice(stage.rules))
    prompt, right = question_text(problem(asked, "")), answer(program(asked))
    kind = rng.random() - stage.student
    if kind < 0:
        return Example(prompt, right)
    if kind < stage.demonstration:
        return Example(context_text(prompt, TEMPLATES, solution=right), right)
    if kind < stage.demonstration + stage.bare:
        return Example(context_text(prompt, TEMPLATES), right)
    heed, luck = rng.choice((0.0, 0.5, 0.9, 1.0)), rng.choice((0.0, 0.0, 0.3, 0.6))
    marked = stage.marked > 0 and rng.random() < stage.marked
    feedback = conversation(asked, rng.choice(stage.blocks), rng, heed=heed, luck=luck, marked=marked)
    return Example(context_text(prompt, TEMPLATES, feedback=feedback), right)


def training_question(rng: random.Random, rules: int) -> Question:
    """Returns a question of a random family from the part that may be trained on."""
    families = list(FAMILIES.values())
    while True:
        asked = question(rng.choice(families), rules, rng.randrange)
        if asked.part == "training":
            return asked


def answer(source: str) -> str:
    return f"```python\n{source}```"


def conversation(
    asked: Question, blocks: int, rng: random.Random, *, heed: float, luck: float, marked: bool = True
) -> list[str]:
    """Writes feedback on at most `blocks` wrong attempts in a row.

    An attempt gets a rule right with probability `heed` where earlier feedback spoke of it and `luck` elsewhere;
    otherwise it guesses. The first attempt is never right; a later one that is ends the conversation. `luck` < 1.
    """
    named: set[int] = set()
    texts: list[str] = []
    while len(texts) < blocks:
        attempt = _attempt(asked, named, heed, luck, rng)
        text = feedback(asked, attempt, marked=marked)
        if not text and named:
            break
        if text:
            texts.append(text)
            named |= {index for index, rule in enumerate(asked.rules) if _mentions(text, rule.name)}
    if texts and rng.random() < 0.005:
        texts[0] = no_program_feedback(truncated=rng.random() < 0.5)
    return texts


def feedback(asked: Question, attempt: Sequence[Operation], *, marked: bool = True) -> str:
    """Returns what the judge would say to the author of `attempt`; empty where every test passes."""
    return feedback_text(problem(asked, ""), results(asked, attempt, marked=marked))


def results(asked: Question, attempt: Sequence[Operation], *, marked: bool = True) -> list[CaseResult]:
    """Returns the tests of `attempt` as the judge runs them: in order, up to the first runtime error."""
    found: list[CaseResult] = []
    for index, (rule, operation) in enumerate(zip(asked.rules, attempt, strict=True)):
        actual, error = evaluate(operation.code, asked.family.variable, rule.argument)
        expected, _ = evaluate(rule.operation.code, asked.family.variable, rule.argument)
        if error:
            text = _traceback(asked, attempt, index, error, marked)
            return [*found, CaseResult(index, Status.RUNTIME_ERROR, error=text)]
        status = Status.ACCEPTED if actual == expected else Status.WRONG_ANSWER
        found.append(CaseResult(index, status, actual=actual))
    return found


def _attempt(asked: Question, named: set[int], heed: float, luck: float, rng: random.Random) -> list[Operation]:
    return [
        rule.operation
        if rng.random() < (heed if index in named else luck)
        else guess(asked.family, rule.verb, rng.randrange)
        for index, rule in enumerate(asked.rules)
    ]


def _mentions(text: str, name: str) -> bool:
    return f"\n{name}\n" in text or f'\n"{name}"\n' in text


def _traceback(asked: Question, attempt: Sequence[Operation], index: int, error: str, marked: bool) -> str:
    lines = program(asked, attempt).splitlines()
    number = next(n for n, line in enumerate(lines) if json.dumps(asked.rules[index].name) in line) + 1
    where = f"in {asked.family.entry_point}" if asked.family.entry_point else "in <module>"
    marks = _marks(lines[number].strip(), asked.family.variable, asked.rules[index].argument) if marked else ""
    return f'  File "solution.py", line {number + 1}, {where}\n    {lines[number].strip()}\n{marks}{error}'


@lru_cache(maxsize=4096)
def _marks(line: str, variable: str, argument: str) -> str:
    """Returns the line that this Python puts under `line` when it fails for `argument`; empty where it puts none."""
    source = f"def f({variable}):\n    {line}\n"
    linecache.cache[_MARKED] = (len(source), None, source.splitlines(keepends=True), _MARKED)
    space: dict[str, Any] = {}
    exec(compile(source, _MARKED, "exec"), space)
    try:
        space["f"](json.loads(argument))
    except Exception as error:
        marks = traceback.format_exception(error)[-2].splitlines(keepends=True)[2:]
        return "".join(marks)
    raise ValueError(f"{line!r} does not fail for {argument}")
