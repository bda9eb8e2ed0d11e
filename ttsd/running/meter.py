"""What a run spends of its budgets: attempts, tokens, seconds. Whichever is spent first ends it."""

from __future__ import annotations

import time
from collections.abc import Callable

from ttsd.config import Budget
from ttsd.nouns import Rollout
from ttsd.running.record import Spent


class Meter:
    """Counts on from what a run has `spent` before. Every method is measured alike."""

    def __init__(self, budget: Budget, spent: Spent, clock: Callable[[], float] = time.monotonic) -> None:
        self._budget = budget
        self._attempts, self._tokens = spent.attempts, spent.tokens
        self._clock, self._zero = clock, clock() - spent.seconds

    @property
    def seconds(self) -> float:
        """Wall time of the run, but not of the time between its resumptions."""
        return self._clock() - self._zero

    def add(self, rollout: Rollout) -> None:
        self._attempts += 1
        self._tokens += rollout.completion.prompt_tokens + len(rollout.completion.token_ids)

    def ended_by(self) -> str | None:
        """Which budget is spent; None: none is."""
        budget = self._budget
        if self._attempts >= budget.attempts:
            return "attempts"
        if budget.tokens is not None and self._tokens >= budget.tokens:
            return "tokens"
        if budget.seconds is not None and self.seconds >= budget.seconds:
            return "seconds"
        return None
