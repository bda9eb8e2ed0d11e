"""Prompts: the question, and the question with context (feedback on earlier attempts, or a demonstration).

A role is a prompt, not a model (SDPO, arXiv 2601.20802, table 2): the student and the self-teacher go through the same
chat template, system message and thinking flag. The functions `question`, `feedback` and `search` are rows of the table
of methods: from the history of a run they make the prompts of its next attempts.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from functools import lru_cache
from itertools import cycle, islice
from typing import Protocol

from ttsd.config import Config
from ttsd.errors import UserError
from ttsd.nouns import Attempt, Hint, History, Problem, Prompt
from ttsd.thinking import without_thinking

STDIN_FORMAT = """\
Write a Python program that reads standard input and writes the answer to standard output.
Put the whole program in one ```python code block."""

FUNCTION_FORMAT = """\
Complete this Python code. Put the whole program in one ```python code block.
```python
{starter_code}
```"""

ANSWER_FORMAT = """\
Give the final answer on the last line, after the word `Answer:`, or in \\boxed{}."""

ATTEMPT_TEMPLATE = "Attempt:\n\n{attempt}\n\nFeedback:\n\n{feedback}"

HINT_TEMPLATE = "Hint:\n\n{hint}"

# Of a prompt with context, in the words of the paper's code.
REPROMPT = "{prompt}{solution}{feedback}\n\nCorrectly solve the original question."
SOLUTION = "\n\nCorrect solution:\n\n{successful_previous_attempt}"
FEEDBACK = "\n\nThe following is feedback from your unsuccessful earlier attempt:\n\n{feedback_raw}"

SIBLINGS = 4  # attempts that one choice of a parent gets; 1, 2, 4, 8: 31, 41, 50, 50 % (Policy of Thoughts, 2601.20379)
EXPLORATION = 1.41  # PUCT's constant there
QUESTION_PRIOR = 0.3  # PUCT's prior of the question alone; the earlier attempts share the rest
STEEPNESS = 3  # a share passed counts to this power, so that nearly right is worth far more than half right


class ChatTokenizer(Protocol):
    """Turns one user turn into token ids under the model's chat template, up to where the answer begins."""

    @property
    def length(self) -> int | None:
        """Returns how many tokens of prompt and answer the model takes; None: any number."""

    def chat(self, user: str) -> tuple[int, ...]: ...


class PromptWriter:
    """Writes the prompts of one question within the limits of the settings.

    The question is never cut. Context that is too long loses its oldest feedback items, then its end.
    """

    def __init__(self, problem: Problem, tokenizer: ChatTokenizer, config: Config) -> None:
        """Checks the lengths. UserError: the question is longer than `sampling.max_prompt_len`."""
        self._tokenizer = tokenizer
        self.extensions = config.extensions
        self._question = question_text(problem)
        self._limit = _context_limit(config, tokenizer.length)
        self.question = Prompt(tokenizer.chat(self._question), self._question)
        tokens, limit = len(self.question.token_ids), config.sampling.max_prompt_len
        if tokens > limit:
            raise UserError(
                f"the question's prompt has {tokens} tokens, more than sampling.max_prompt_len={limit}; "
                "raise that setting (questions are never cut)"
            )

    def with_feedback(
        self, row: str, attempts: Sequence[Attempt], answers: Container[int] = (), hint: Hint | None = None
    ) -> Prompt:
        """Returns the question with the feedback on `attempts`, in their order; the last one's with a hint.

        `answers`: numbers of the attempts that are shown themselves, each with its feedback below it.
        """
        items = [self._item(attempt, attempt.number in answers) for attempt in attempts]
        items[-1] += f"\n\n{_fill(HINT_TEMPLATE, hint=hint.text)}" if hint else ""
        kept = _longest(len(items), lambda count: self._fits(feedback=items[len(items) - count :]))
        if kept:
            return self._prompt(row, attempts[-kept:], feedback=items[-kept:])
        shortened = self._shortened(items[-1], lambda text: self._fits(feedback=[text]))
        return self._prompt(row, attempts[-1:], feedback=[shortened])

    def with_demonstration(self, row: str, success: Attempt) -> Prompt:
        """Returns the question with a successful attempt as its solution; thinking is left out."""
        solution = without_thinking(success.completion.text).strip()
        shortened = self._shortened(solution, lambda text: self._fits(solution=text))
        return self._prompt(row, [success], solution=shortened)

    def _item(self, attempt: Attempt, answer: bool) -> str:
        text = attempt.verdict.feedback
        if not answer:
            return text
        return _fill(ATTEMPT_TEMPLATE, attempt=without_thinking(attempt.completion.text).strip(), feedback=text)

    def _shortened(self, text: str, fits: Callable[[str], bool]) -> str:
        return text if fits(text) else text[: _longest(len(text), lambda count: fits(text[:count]))]

    def _fits(self, *, solution: str | None = None, feedback: Sequence[str] = ()) -> bool:
        text = context_text(self._question, solution=solution, feedback=feedback)
        return len(self._tokenizer.chat(text)) <= self._limit

    def _prompt(
        self, row: str, shown: Sequence[Attempt], *, solution: str | None = None, feedback: Sequence[str] = ()
    ) -> Prompt:
        text = context_text(self._question, solution=solution, feedback=feedback)
        return Prompt(self._tokenizer.chat(text), text, row, tuple(attempt.number for attempt in shown))


def question(writer: PromptWriter, count: int, history: History) -> list[Prompt]:
    """Returns the question alone, for each attempt."""
    return [writer.question] * count


def feedback(writer: PromptWriter, count: int, history: History) -> list[Prompt]:
    """Returns the question with feedback on the earlier attempts that the weights were learned from.

    Without `history_length` every prompt shows all feedback, the oldest first, as far as it fits (the paper's
    multi-turn baseline). With it each prompt ends with the feedback on another attempt of the newest step, the newest
    first, after the items that add most to it (`selected`).
    """
    failed = [attempt for attempt in history.current if attempt.verdict.feedback]
    distinct = list(islice(_distinct(writer, failed, history), count)) or [writer.question]
    return list(islice(cycle(distinct), count))


def _distinct(writer: PromptWriter, failed: Sequence[Attempt], history: History) -> Iterator[Prompt]:
    length, seen = writer.extensions.history_length, set[tuple[int, ...]]()
    if length is None:
        if failed:
            yield writer.with_feedback("feedback", failed)
        return
    for attempt in reversed(failed):
        if attempt.step != history.steps:
            return
        prompt = writer.with_feedback("feedback", selected(attempt, failed, length))
        if prompt.token_ids not in seen:
            seen.add(prompt.token_ids)
            yield prompt


def selected(own: Attempt, known: Sequence[Attempt], count: int) -> list[Attempt]:
    """Returns at most `count` attempts whose feedback is shown: `own` last, before it those that add most to it.

    What counts is the number of lines that no chosen item has; of equals the newest is chosen.
    """
    texts = {attempt.verdict.feedback: attempt for attempt in known}  # of equal texts the newest
    candidates = sorted(texts.values(), key=lambda attempt: -attempt.number)
    chosen, lines = [own], set(_lines(own.verdict.feedback))
    while len(chosen) < count:
        best = max(candidates, key=lambda attempt: len(_lines(attempt.verdict.feedback) - lines), default=own)
        new = _lines(best.verdict.feedback) - lines
        if not new:
            break
        chosen.append(best)
        lines |= new
    return chosen[::-1]


def search(writer: PromptWriter, count: int, history: History) -> list[Prompt]:
    """Returns the question with one earlier attempt, the parent, and its feedback; or the question alone.

    `SIBLINGS` attempts of one parent come together. Further parents of a round are chosen as if these had been made.
    """
    made = [attempt for attempt in history.attempts if attempt.answered]
    visits, prompts = Counter(map(parent_of, made)), list[Prompt]()
    while len(prompts) < count:
        parent, size = _best_parent(made, visits), min(SIBLINGS, count - len(prompts))
        visits[parent.number if parent else 0] += size
        shown = writer.with_feedback("search", [parent], [parent.number]) if parent else writer.question
        prompts += [shown] * size
    return prompts


def parent_of(attempt: Attempt) -> int:
    """Returns the number of the attempt that was shown last; 0: the question alone."""
    return attempt.prompt.shows[-1] if attempt.prompt.shows else 0


def _best_parent(made: Sequence[Attempt], visits: Counter[int]) -> Attempt | None:
    """Chooses the next parent by PUCT (as TTT-Discover, arXiv 2601.16175); None: the question alone.

    Its value is the largest share that it or a child of it passed. The prior grows steeply with its own share. Of equal
    programs the first is a candidate; attempts without a program or without feedback are none.
    """
    programs = {one.program: one for one in reversed(made) if one.program is not None and one.verdict.feedback}
    credit = {one.number: one.verdict.visible_fraction**STEEPNESS + 1e-3 for one in programs.values()}
    value = {one.number: one.verdict.visible_fraction for one in made}
    for child in made:
        value[parent_of(child)] = max(value.get(parent_of(child), 0.0), child.verdict.visible_fraction)
    total, explored = sum(credit.values()), EXPLORATION * math.sqrt(1 + visits.total() / SIBLINGS)

    def score(candidate: Attempt | None) -> float:
        number = candidate.number if candidate else 0
        share = (1 - QUESTION_PRIOR) * credit[number] / total if candidate else QUESTION_PRIOR
        return value.get(number, 0.0) + explored * share / (1 + visits[number] / SIBLINGS)

    return max((None, *programs.values()), key=score)


def question_text(problem: Problem) -> str:
    """Returns the user turn of the question alone. A judge of the user's own asks for whatever its statement says."""
    statement = problem.statement.strip()
    if problem.kind == "judge":
        return statement
    if problem.kind == "answer":
        return f"{statement}\n\n{ANSWER_FORMAT}"
    if problem.entry_point is None:
        return f"{statement}\n\n{STDIN_FORMAT}"
    return f"{statement}\n\n{_fill(FUNCTION_FORMAT, starter_code=problem.starter_code.rstrip())}"


def context_text(question: str, *, solution: str | None = None, feedback: Sequence[str] = ()) -> str:
    """Returns the user turn with context: a successful attempt, feedback items joined by blank lines, or both.

    Templates are filled by replacement, never by `str.format`: attempts and statements are full of braces.
    """
    joined = "\n\n".join(feedback)
    shown = "" if solution is None else _fill(SOLUTION, successful_previous_attempt=solution)
    said = _fill(FEEDBACK, feedback_raw=joined) if joined else ""
    return _fill(REPROMPT, prompt=question, solution=shown, feedback=said)


def _context_limit(config: Config, own: int | None) -> int:
    """Returns the tokens that a prompt with context may have and still leave room for an answer.

    That is one of full length, or half of what the model takes (`own`, where `model.max_model_len` is none).
    """
    limit, length = config.reprompt.max_reprompt_len, config.model.max_model_len or own
    return limit if length is None else min(limit, length - min(config.sampling.max_tokens, length // 2))


def _longest(most: int, fits: Callable[[int], bool]) -> int:
    """Returns the largest count up to `most` that fits, by bisection; 0 where none does."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


@lru_cache(maxsize=1 << 14)
def _lines(text: str) -> frozenset[str]:
    return frozenset(text.splitlines())


def _fill(template: str, **values: str) -> str:
    # One pass, so that a placeholder's name inside a value stays as it is.
    names = "|".join(values)
    return re.sub(rf"\{{({names})\}}", lambda match: values[match[1]], template)
