"""Pairs of prompt and completion that teach a model to use feedback, made of its own attempts.

The prompts are those that multi-turn, search and the self-teacher read, written by the same `PromptWriter`; the
completion is right: the model's own success on the question, or else the solution that the question's source has.
Three kinds are mixed: most prompts show feedback on wrong attempts, with or without the attempts themselves; some a
success, which is to be kept; some the question alone, so that it is not forgotten how that is answered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from ttsd.config import Config
from ttsd.nouns import Attempt, Problem, Prompt
from ttsd.prompts import PromptWriter, selected

if TYPE_CHECKING:
    from ttsd.backbone import Tokenizer

MOST_ITEMS = 4  # feedback items of a prompt
REPAIR, KEEP, QUESTION = "wrong to right", "right to right", "question to right"
SHARES = {REPAIR: 6, KEEP: 1, QUESTION: 2}
IDLE_PASSES = 20  # over all questions, without a new pair: then there are no more


@dataclass(frozen=True, slots=True)
class Source:
    """One question, the attempts on it, and a right program of another author (None: there is none)."""

    problem: Problem
    attempts: Sequence[Attempt]
    reference: str | None = None

    @property
    def failed(self) -> list[Attempt]:
        """Returns the attempts that feedback can be shown on."""
        return [one for one in self.attempts if one.verdict.feedback]

    @property
    def successes(self) -> list[Attempt]:
        """Returns the attempts that passed every case and came to their end."""
        return [one for one in self.attempts if one.verdict.accepted and one.completion.finish_reason == "stop"]


@dataclass(frozen=True, slots=True)
class Pair:
    """What is read, (prompt,) token ids, and what is to be said, (completion,) token ids with the end of the turn."""

    question: str
    kind: str
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]


def pairs_of(sources: Sequence[Source], tokenizer: Tokenizer, config: Config, count: int) -> list[Pair]:
    """Returns at most `count` different pairs, one of each question before a second one of any."""
    random, found, idle = Random(0), dict[Pair, None](), 0
    makers = [_Maker(source, tokenizer, config, random) for source in sources]
    while idle < IDLE_PASSES:
        before = len(found)
        for maker in random.sample(makers, len(makers)):
            if (pair := maker.pair()) is not None:
                found[pair] = None
            if len(found) == count:
                return list(found)
        idle = 0 if len(found) > before else idle + 1
    return list(found)


class _Maker:
    """Makes random pairs of one question."""

    def __init__(self, source: Source, tokenizer: Tokenizer, config: Config, random: Random) -> None:
        self._source, self._tokenizer, self._random = source, tokenizer, random
        self._writer = PromptWriter(source.problem, tokenizer, config)
        self._length = config.model.max_model_len or tokenizer.length
        self._failed, self._successes = source.failed, source.successes
        self._completions = [one.completion.token_ids for one in self._successes] or list(self._reference())
        kinds = {REPAIR: self._failed and self._completions, KEEP: self._successes, QUESTION: self._successes}
        self._kinds = [kind for kind, possible in kinds.items() if possible]

    def pair(self) -> Pair | None:
        """Returns a pair; None: this question has none, or this one is longer than what the model takes."""
        if not self._kinds:
            return None
        (kind,) = self._random.choices(self._kinds, [SHARES[kind] for kind in self._kinds])
        prompt = self._prompt(kind).token_ids
        completion = self._random.choice(self._completions)
        if self._length is not None and len(prompt) + len(completion) > self._length:
            return None
        return Pair(self._source.problem.name, kind, prompt, completion)

    def _prompt(self, kind: str) -> Prompt:
        if kind == QUESTION:
            return self._writer.question
        if kind == KEEP:
            return self._writer.with_demonstration("teacher", self._random.choice(self._successes))
        shown = selected(self._random.choice(self._failed), self._failed, self._random.randint(1, MOST_ITEMS))
        answers = [one.number for one in shown] if self._random.random() < 0.5 else []
        return self._writer.with_feedback("feedback", shown, answers)

    def _reference(self) -> Iterator[tuple[int, ...]]:
        """Yields the reference as a model would write it, in a code block."""
        if self._source.reference is not None:
            answer = f"```python\n{self._source.reference}\n```"
            yield (*self._tokenizer.encode(answer), self._tokenizer.end_of_turn)
