"""What learning is measured against, on the same engine and the same judge: the loop with a policy that can't learn.

best-of-k reads the bare question each time: i.i.d. samples. Multi-turn keeps the feedback in the context instead of
in the weights (SDPO, section 5.1): a chain of attempts, each reading what the tests said of those before it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from ttsd.config import Reprompt
from ttsd.nouns import Attempt, Completion, Example, Reading
from ttsd.prompts import ChatTokenizer, attempt_and_feedback, teacher_prompt


class Frozen:
    """A policy whose weights never move; `draw` gives one completion of them."""

    adapter_version = 0

    def __init__(self, draw: Callable[[Sequence[int]], Awaitable[Completion]]) -> None:
        self._draw = draw

    async def sample(self, prompt_ids: Sequence[int]) -> Completion:
        return await self._draw(prompt_ids)

    async def distil(self, lessons: Sequence[Example]) -> Mapping[str, float]:
        return {}

    async def restart(self) -> None: ...


class Conversation:
    """Prompts of successive turns on one question (the paper's released baseline, `multiturn.py`): a `Teaching`.

    The question is said once; under it stand the feedback texts of earlier attempts, oldest first, joined by blank
    lines: alone (`feedback`, the paper's default) or each below its attempt (`attempt_and_feedback`). At most
    `multi_turn_window` of them, and as many as fit `multi_turn_max_prompt_len` tokens exactly; the oldest go first.
    With several `multi_turn_chains` attempts 1, 1 + chains, 1 + 2 chains, ... are one chain, and so on.
    """

    def __init__(self, question: str, tokenizer: ChatTokenizer, settings: Reprompt, *, room: int | None = None) -> None:
        """`room`: the tokens that the model has for a prompt, where that may be less than the settings allow."""
        self._question = question
        self._tokenizer = tokenizer
        self._settings = settings
        self._limit = min(settings.multi_turn_max_prompt_len, room or settings.multi_turn_max_prompt_len)

    def readings(self, size: int, known: Sequence[Attempt]) -> list[Reading]:
        """What the next `size` attempts read, the first of which has the number len(known) + 1."""
        chains, numbers = self._settings.multi_turn_chains, range(len(known), len(known) + size)
        return [Reading(self.prompt_ids(known[number % chains :: chains])) for number in numbers]

    def lessons(self, rollouts: Sequence[Attempt], readings: Mapping[int, Reading]) -> list[Example]:
        return []

    def remember(self, rollouts: Sequence[Attempt]) -> None: ...

    def discard(self) -> None: ...

    def prompt_ids(self, earlier: Sequence[Attempt]) -> tuple[int, ...]:
        """The next turn's prompt after the rollouts `earlier` of its chain, given in order."""
        window = self._settings.multi_turn_window
        texts = [self._block(rollout) for rollout in earlier if rollout.verdict.feedback][-window if window else 0 :]
        # Most texts of a long chain don't fit: by bisection, the longest end that does.
        low, high = 0, len(texts)
        while low < high:
            middle = (low + high + 1) // 2
            fits = len(self._ids(texts[-middle:])) <= self._limit
            low, high = (middle, high) if fits else (low, middle - 1)
        return self._ids(texts[len(texts) - low :])

    def _block(self, rollout: Attempt) -> str:
        if self._settings.multi_turn_history == "feedback":
            return rollout.verdict.feedback
        return attempt_and_feedback(rollout.completion.text, rollout.verdict.feedback)

    def _ids(self, texts: Sequence[str]) -> tuple[int, ...]:
        if not texts:
            return self._tokenizer.chat(self._question)
        settings = self._settings
        text = teacher_prompt(
            self._question,
            feedback=texts,
            reprompt_template=settings.reprompt_template,
            feedback_template=settings.feedback_template,
        )
        return self._tokenizer.chat(text)
