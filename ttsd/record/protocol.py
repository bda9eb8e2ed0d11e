"""What a run needs from a record, and what a record says of a run.

Two records implement it: `store.Store`, the SQLite file, and `cluster.keeper.DistantStore`, which asks the process
that has the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ttsd.loop import Past
from ttsd.nouns import Attempt, Gains, Step

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """How a run ended, or stands; the object that `ttsd solve --json` prints."""

    run: int
    question: str
    method: str
    seed: int
    discovered: bool
    attempts: int
    discovery_attempt: int | None
    steps: int
    program: str | None
    best: float = 0.0  # the largest share of the visible cases, or the best score of a judge of the user's own
    ended: str | None = None  # by what: discovery, attempts, tokens, seconds; None: it can be resumed


@dataclass(frozen=True, slots=True)
class Spent:
    """What a run has spent of its budgets, over all its resumptions. `tokens`: of prompts and completions."""

    attempts: int
    tokens: int
    seconds: float


class Record(Protocol):
    """Where a run is written down, and where it resumes. Each call returns once its rows are safe."""

    def new_run(
        self,
        *,
        question: str,
        method: str,
        seed: int,
        model: str,
        config: Mapping[str, Any],
        split: Mapping[str, Any],
        environment: Mapping[str, Any],
    ) -> int:
        """Starts a run; returns its number."""

    def run(self, run: int) -> Row:
        """One run's row, its JSON columns decoded. UserError where there is none."""

    def answer(self, run: int) -> Answer:
        """What the record says of a run."""

    def spent(self, run: int) -> Spent:
        """What counts towards the run's budgets; its seconds are those of its finished steps."""

    def past(self, run: int) -> tuple[Past, Path | None]:
        """Where the run stands, and the folder of the learner state that belongs there (None: untouched weights)."""

    def claim(self, run: int) -> AbstractContextManager[Path]:
        """The run's own folder, held against other processes."""

    def add_attempt(self, run: int, rollout: Attempt) -> None:
        """Writes one judged attempt."""

    def add_step(self, run: int, step: Step, state: Path | None, gains: Gains | None = None) -> None:
        """Writes a finished step, naming the learner state that continues from it."""

    def resume(self, run: int, config: Mapping[str, Any]) -> None:
        """Notes the settings under which an unfinished run continues: its budget may have grown."""

    def finish(self, run: int, ended: str) -> None:
        """Closes a run; `ended` says by what: discovery, attempts, tokens or seconds."""
