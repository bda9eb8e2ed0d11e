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
from ttsd.nouns import Rollout, Step

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

    def past(self, run: int) -> tuple[Past, Path | None]:
        """Where the run stands, and the folder of the learner state that belongs there (None: untouched weights)."""

    def claim(self, run: int) -> AbstractContextManager[Path]:
        """The run's own folder, held against other processes."""

    def add_attempt(self, run: int, rollout: Rollout) -> None:
        """Writes one judged attempt."""

    def add_step(self, run: int, step: Step, state: Path | None) -> None:
        """Writes a finished step, naming the learner state that continues from it."""

    def finish(self, run: int, status: str) -> None:
        """Closes a run as `discovered` or `exhausted`. A run that is neither can be resumed."""
