"""The multi-turn baseline's prompt: earlier feedback kept in the context, the oldest dropped when it is full."""

from __future__ import annotations

from collections.abc import Sequence

from ttsd.config import Reprompt
from ttsd.nouns import Rollout
from ttsd.prompts import teacher_prompt, without_thinking
from ttsd.reprompts import ChatTokenizer

ATTEMPT_TEMPLATE = "Attempt:\n\n{attempt}\n\nFeedback:\n\n{feedback}"


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
