"""What a run spends of its budgets: attempts, tokens, seconds, dollars. Whichever is spent first ends it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ttsd.config import Budget
from ttsd.nouns import Attempt
from ttsd.record.protocol import Spent


@dataclass(frozen=True, slots=True)
class Left:
    """What is still to come, by the pace so far."""

    attempts: float
    seconds: float
    tokens: float

    def __str__(self) -> str:
        return f"{duration(self.seconds)}, {amount(self.tokens)} tokens left"


class Meter:
    """Counts on from what a run has `spent` before. Every method is measured alike.

    `made`, `made_tokens` and `made_dollars`: since then.
    """

    def __init__(self, budget: Budget, spent: Spent, clock: Callable[[], float] = time.monotonic) -> None:
        self.budget = budget
        self.made = self.made_tokens = 0
        self.made_dollars = 0.0
        self._spent, self._clock, self._start = spent, clock, clock()

    @property
    def seconds(self) -> float:
        """Returns wall time of the run, but not of the time between its resumptions."""
        return self._spent.seconds + self.made_seconds

    @property
    def dollars(self) -> float:
        """Returns what endpoints charged for the run so far."""
        return self._spent.dollars + self.made_dollars

    @property
    def made_seconds(self) -> float:
        return self._clock() - self._start

    def add(self, attempt: Attempt) -> None:
        self.made += 1
        self.made_tokens += attempt.tokens
        self.made_dollars += attempt.dollars

    def left(self) -> Left | None:
        """Returns what the run will take at most, as its attempts have since it was begun or resumed; None: it made
        none.
        """
        if not self.made:
            return None
        budget, spent = self.budget, self._spent
        seconds, tokens = self.made_seconds / self.made, self.made_tokens / self.made
        attempts = float(max(0, budget.attempts - spent.attempts - self.made))
        if budget.seconds is not None and seconds:
            attempts = min(attempts, max(0.0, budget.seconds - self.seconds) / seconds)
        if budget.tokens is not None and tokens:
            attempts = min(attempts, max(0.0, budget.tokens - spent.tokens - self.made_tokens) / tokens)
        if budget.dollars is not None and self.made_dollars:
            attempts = min(attempts, max(0.0, budget.dollars - self.dollars) / (self.made_dollars / self.made))
        return Left(attempts, attempts * seconds, attempts * tokens)

    def ended_by(self) -> str | None:
        """Returns which budget is spent; None: none is."""
        budget = self.budget
        if self._spent.attempts + self.made >= budget.attempts:
            return "attempts"
        if budget.tokens is not None and self._spent.tokens + self.made_tokens >= budget.tokens:
            return "tokens"
        if budget.seconds is not None and self.seconds >= budget.seconds:
            return "seconds"
        if budget.dollars is not None and self.dollars >= budget.dollars:
            return "dollars"
        return None


def duration(seconds: float) -> str:
    """Writes it in the unit that suits it, as in `12 min`."""
    value, unit = (
        (seconds, "s") if seconds < 120 else (seconds / 60, "min") if seconds < 7200 else (seconds / 3600, "h")
    )
    return f"{value:.0f} {unit}" if value >= 10 or unit == "s" else f"{value:.1f} {unit}"


def amount(tokens: float) -> str:
    """Writes an amount, as in `570`, `3.4 k`, `1.2 M`."""
    size, unit = (1.0, "") if tokens < 1e3 else (1e3, " k") if tokens < 1e6 else (1e6, " M")
    return f"{tokens / size:.0f}{unit}" if tokens >= 10 * size or not unit else f"{tokens / size:.1f}{unit}"
