"""What a run spends of its budgets: attempts, tokens, seconds, dollars. Whichever is spent first ends it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

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
        tokens = f", {amount(self.tokens)} tokens" if self.tokens else ""  # 0: those of other machines are not known
        return f"{duration(self.seconds)}{tokens} left"


class Meter:
    """Counts on from what a run has `spent` before. Every method is measured alike.

    `made`, `made_tokens` and `made_dollars`: since then.
    """

    def __init__(self, budget: Budget, spent: Spent, clock: Callable[[], float] = time.monotonic) -> None:
        self.budget = budget
        self.made = self.made_tokens = 0
        self.made_dollars = 0.0
        self._spent, self._clock, self._start = asdict(spent), clock, clock()

    @property
    def seconds(self) -> float:
        """Returns wall time of the run, but not of the time between its resumptions."""
        return self._total("seconds")

    @property
    def dollars(self) -> float:
        """Returns what endpoints charged for the run so far."""
        return self._total("dollars")

    def add(self, attempt: Attempt) -> None:
        self.made += 1
        self.made_tokens += attempt.tokens
        self.made_dollars += attempt.dollars

    def left(self) -> Left | None:
        """Returns what the run will take at most, by the pace since it was begun or resumed; None: it made nothing."""
        if not self.made:
            return None
        made = self._made()
        pace = {name: amount / self.made for name, amount in made.items() if amount}
        limits = [(limit - self._total(name)) / pace[name] for name, limit in self._limits() if name in pace]
        attempts = max(0.0, min(limits))
        return Left(attempts, attempts * made["seconds"] / self.made, attempts * made["tokens"] / self.made)

    def ended_by(self) -> str | None:
        """Returns which budget is spent; None: none is."""
        return next((name for name, limit in self._limits() if self._total(name) >= limit), None)

    def _limits(self) -> list[tuple[str, float]]:
        limits = ((name, getattr(self.budget, name)) for name in ("attempts", "tokens", "seconds", "dollars"))
        return [(name, limit) for name, limit in limits if limit is not None]

    def _made(self) -> dict[str, float]:
        seconds = self._clock() - self._start
        return {"attempts": self.made, "tokens": self.made_tokens, "seconds": seconds, "dollars": self.made_dollars}

    def _total(self, name: str) -> float:
        total: float = self._spent[name] + self._made()[name]
        return total


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
