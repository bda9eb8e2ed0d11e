"""What learning is measured against, on the same engine and the same judge.

best-of-k is `loop.learn` with a policy that can't: a frozen model, i.i.d. samples. Multi-turn keeps the feedback in
the context instead of in the weights (SDPO, section 5.1), one attempt after the other.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

from ttsd.config import Reprompt
from ttsd.loop import START, Event, Judge, Past, Policy, one_attempt
from ttsd.nouns import Completion, Lesson, Reading, Rollout, Step
from ttsd.prompts import ChatTokenizer, teacher_prompt, without_thinking

ATTEMPT_TEMPLATE = "Attempt:\n\n{attempt}\n\nFeedback:\n\n{feedback}"


class Frozen:
    """A policy whose weights never move; `draw` gives one completion of them."""

    adapter_version = 0

    def __init__(self, draw: Callable[[Sequence[int]], Awaitable[Completion]]) -> None:
        self._draw = draw

    async def sample(self, prompt_ids: Sequence[int]) -> Completion:
        return await self._draw(prompt_ids)

    async def distil(self, lessons: Sequence[Lesson]) -> Mapping[str, float]:
        return {}

    async def restart(self) -> None: ...


class Conversation:
    """Prompts of successive turns on one question (the paper's released baseline, `multiturn.py`).

    The question is said once; under it stand the feedback texts of earlier attempts, oldest first, joined by blank
    lines: alone (`feedback`, the paper's default) or each below its attempt (`attempt_and_feedback`). At most
    `multi_turn_window` of them, and as many as fit `multi_turn_max_prompt_len` tokens exactly; the oldest go first.
    """

    def __init__(self, question: str, tokenizer: ChatTokenizer, settings: Reprompt, *, room: int | None = None) -> None:
        """`room`: the tokens that the model has for a prompt, where that may be less than the settings allow."""
        self._question = question
        self._tokenizer = tokenizer
        self._settings = settings
        self._limit = min(settings.multi_turn_max_prompt_len, room or settings.multi_turn_max_prompt_len)
        self._dropped = 0  # never shrinks: what has been dropped does not come back

    def prompt_ids(self, earlier: Sequence[Rollout]) -> tuple[int, ...]:
        """The next turn's prompt after the rollouts `earlier`, given in order."""
        told = [self._block(rollout) for rollout in earlier if rollout.verdict.feedback]
        if self._settings.multi_turn_window is not None:
            self._dropped = max(self._dropped, len(told) - self._settings.multi_turn_window)
        while True:
            ids = self._ids(told[self._dropped :])
            if len(ids) <= self._limit or self._dropped >= len(told):
                return ids
            self._dropped += 1

    def _block(self, rollout: Rollout) -> str:
        if self._settings.multi_turn_history == "feedback":
            return rollout.verdict.feedback
        attempt = without_thinking(rollout.completion.text)
        head, tail = ATTEMPT_TEMPLATE.split("{attempt}")
        return head + attempt + tail.replace("{feedback}", rollout.verdict.feedback)

    def _ids(self, told: Sequence[str]) -> tuple[int, ...]:
        if not told:
            return self._tokenizer.chat(self._question)
        settings = self._settings
        text = teacher_prompt(
            self._question,
            feedback=told,
            reprompt_template=settings.reprompt_template,
            feedback_template=settings.feedback_template,
        )
        return self._tokenizer.chat(text)


async def multi_turn(
    policy: Policy,
    judge: Judge,
    conversation: Conversation,
    *,
    budget: int,
    continue_after_discovery: bool = False,
    past: Past = START,
) -> AsyncGenerator[Event, None]:
    """One attempt a step, each reading the feedback of those before it; ends with the first discovery."""
    rollouts = list(past.rollouts)
    for rollout in past.unfinished:  # judged, but its step's row was not written any more
        yield Step(len(rollouts) + 1, (rollout,), 0)
        rollouts.append(rollout)
    while len(rollouts) < budget and (continue_after_discovery or not any(r.verdict.accepted for r in rollouts)):
        start, number = time.monotonic(), len(rollouts) + 1
        rollout = await one_attempt(policy, judge, Reading(conversation.prompt_ids(rollouts)), number, number)
        yield rollout
        yield Step(number, (rollout,), 0, seconds={"draw": time.monotonic() - start, "distil": 0.0})
        rollouts.append(rollout)
