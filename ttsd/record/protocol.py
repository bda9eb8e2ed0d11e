"""What a run needs from the run database, and what the database says about a run.

Two classes implement it: `store.Store`, the SQLite file, and `cluster.keeper.DistantStore`, which asks the process that
has the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ttsd.nouns import Attempt, History, Step, TokenAdvantages
from ttsd.record.run import Run

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """Tells how a run ended, or stands; `ttsd solve --json` prints it."""

    run: int
    question: str
    method: str
    seed: int
    discovered: bool
    attempts: int
    discovery_attempt: int | None
    steps: int
    program: str | None
    best: float = 0.0  # the largest share passed
    ended: str | None = None  # by what: discovery, or the budget that is spent; None: it can be resumed
    visible_cases: int = 0
    hidden_cases: int = 0  # 0: nothing confirms a discovery
    label: str | None = None

    @property
    def strength(self) -> str:
        """Says how strong a discovery is where no hidden case confirms it."""
        return unconfirmed(self.visible_cases, self.hidden_cases)


def unconfirmed(visible: int, hidden: int) -> str:
    """Returns what follows the word "discovered" where no hidden case confirms that; "": some do."""
    return "" if hidden else f" ({visible} visible, no hidden cases)"


@dataclass(frozen=True, slots=True)
class Spent:
    """Counts what a run has spent of its budgets, over all its resumptions."""

    attempts: int = 0
    tokens: int = 0
    seconds: float = 0.0
    dollars: float = 0.0


@dataclass(frozen=True, slots=True)
class Past:
    """Tells where a run stands.

    `history` has its finished steps, `begun` the attempts of steps that are not finished, `state` is the folder of the
    learner's state that continues from it (None: untouched weights), `environment` was recorded at the first start,
    `tracker_id` names the run in W&B and trackio.
    """

    history: History = field(default_factory=History)
    begun: tuple[Attempt, ...] = ()
    adapter_version: int = 0
    state: Path | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    tracker_id: str = ""


class RunDatabase(Protocol):
    """Where a run is stored and from where it resumes. Each call returns once its rows are safe; see `store.Store`."""

    def new_run(self, run: Run, environment: Mapping[str, Any], fresh: bool = True) -> int: ...

    def run(self, run: int) -> dict[str, Any]: ...

    def settled(self, row: dict[str, Any], run: Run) -> Answer | None: ...

    def answer(self, run: int) -> Answer: ...

    def spent(self, run: int) -> Spent: ...

    def past(self, run: int) -> Past: ...

    def claim(self, run: int) -> AbstractContextManager[Path]: ...

    def add_attempt(self, run: int, attempt: Attempt) -> None: ...

    def add_step(self, run: int, step: Step, state: Path | None, advantages: TokenAdvantages) -> None: ...

    def resume(self, run: int, config: Mapping[str, Any]) -> None: ...

    def finish(self, run: int, ended: str) -> None: ...
