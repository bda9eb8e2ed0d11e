"""The run database as a worker sees it: another process has the file, and answers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttsd.nouns import Attempt, Step, TokenAdvantages
from ttsd.record.claims import claimed
from ttsd.record.store import Store

if TYPE_CHECKING:
    from ray.actor import ActorHandle


class Keeper(Store):
    """The store in an actor that Ray starts again when its process dies; a call that was under way comes a second time.

    A run has one writer at a time, so a row that is there already is that writer's own.
    """

    def add_attempt(self, run: int, attempt: Attempt) -> None:
        """Writes one judged attempt, once."""
        if not self.query("select 1 from attempts where run = ? and attempt = ?", [run, attempt.number]):
            super().add_attempt(run, attempt)

    def add_step(self, run: int, step: Step, state: Path | None, advantages: TokenAdvantages) -> None:
        """Writes a finished step, once."""
        if not self.query("select 1 from steps where run = ? and step = ?", [run, step.number]):
            super().add_step(run, step, state, advantages)


class DistantStore:
    """A `RunDatabase` whose rows go to the `keeper`, an actor that has the `Store`; learner states are written here."""

    def __init__(self, keeper: ActorHandle, path: str, state_dir: Path) -> None:
        self._keeper, self._path, self._state_dir = keeper, Path(path), state_dir

    def claim(self, run: int) -> AbstractContextManager[Path]:
        """Holds the run's own folder against other processes."""
        return claimed(self._state_dir, run, self._path, self.run(run)["tracker_id"])

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Returns the keeper's method of that name, which is waited for."""
        import ray

        return lambda *args: ray.get(getattr(self._keeper, name).remote(*args))
