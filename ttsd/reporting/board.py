"""What has happened in a run so far, as numbers that a view shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from ttsd.loop import Event
from ttsd.nouns import Attempt, Step
from ttsd.record.protocol import Past
from ttsd.record.run import Run
from ttsd.reporting.alarms import alarms
from ttsd.running.budget import Meter


@dataclass
class Board:
    """What has happened so far, as numbers."""

    run: int = 0
    name: str = ""
    meter: Meter | None = None
    attempts: int = 0
    step: int = 0
    best_fraction: float = 0.0
    loss: float | None = None
    adapter_version: int = 0
    discovery: int | None = None
    tokens: int = 0
    seconds: float = 0.0  # of sampling and judging
    metrics: list[Mapping[str, float]] = field(default_factory=list)
    group_size: int = 0
    stepped: int = 0
    ended: str = ""  # how, once it has

    def begin(self, number: int, run: Run, past: Past, meter: Meter) -> None:
        """Starts where `past` ended."""
        self.run, self.name, self.meter = number, str(run), meter
        self.group_size = run.config.sampling.group_size
        for attempt in past.history.attempts:
            self.add(attempt)
        self.stepped, self.step, self.adapter_version = self.attempts, past.history.steps, past.adapter_version
        for attempt in past.begun:
            self.add(attempt)
        self.tokens = 0  # those were not sampled by this process

    def add(self, event: Event) -> None:
        """Counts one event."""
        if isinstance(event, Attempt):
            self._attempt(event)
        else:
            self._step(event)

    def _attempt(self, attempt: Attempt) -> None:
        self.attempts += 1
        self.tokens += attempt.completion.tokens
        self.best_fraction = max(self.best_fraction, attempt.verdict.visible_fraction)
        if attempt.verdict.accepted:
            self.discovery = min(attempt.number, self.discovery or attempt.number)

    def _step(self, step: Step) -> None:
        self.metrics.append(step.metrics)
        self.step, self.adapter_version = step.number, step.adapter_version
        self.stepped = self.attempts
        self.loss = step.metrics.get("loss", self.loss)
        self.seconds += step.seconds["group"]

    @property
    def budget(self) -> int:
        return self.meter.budget.attempts if self.meter else 0

    @property
    def left(self) -> str:
        """Says what is left at most; empty before the first attempt and after the last."""
        left = self.meter.left() if self.meter and not self.ended else None
        return f"at most {left}" if left and left.attempts else ""

    @property
    def price(self) -> str:
        """Says what endpoints charged for the run so far; empty: nothing."""
        return f"${self.meter.dollars:.4g}" if self.meter and self.meter.dollars else ""

    @property
    def alarms(self) -> list[str]:
        return alarms(self.metrics)

    def end(self) -> None:
        """Notes that the run came to its end."""
        self.ended = "budget spent" if self.discovery is None else "discovered"

    @property
    def phase(self) -> str:
        """Says what the run does now, or how it ended."""
        if self.ended:
            return self.ended
        complete = self.attempts - self.stepped == min(self.group_size, self.budget - self.stepped)
        return "distilling" if complete else "sampling and judging"

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0


class QuietView:
    """Keeps the numbers of one run and shows nothing."""

    def __init__(self) -> None:
        self.board = Board()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        return None

    def say(self, text: str) -> None:
        """Says nothing: talk is for terminals."""

    def begin(self, number: int, run: Run, past: Past, meter: Meter) -> None:
        """Starts where `past` ended."""
        self.board.begin(number, run, past, meter)

    def show(self, event: Event) -> None:
        self.board.add(event)
