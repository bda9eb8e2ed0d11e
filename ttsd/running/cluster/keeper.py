"""The run database as a worker sees it: another process has the file, and answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from ttsd.nouns import Attempt, Step, TokenAdvantages
from ttsd.record.claims import claimed
from ttsd.record.protocol import Answer, Past, Spent
from ttsd.record.run import Run
from ttsd.record.store import Store

if TYPE_CHECKING:
    from ray.actor import ActorHandle

P = ParamSpec("P")
T = TypeVar("T")


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

    def new_run(self, run: Run, environment: Mapping[str, Any]) -> int:
        """Starts a run; returns its number."""
        return self._ask(Store.new_run, run, environment)

    def answer(self, run: int) -> Answer:
        """Returns what is stored about a run."""
        return self._ask(Store.answer, run)

    def spent(self, run: int) -> Spent:
        """Returns what counts towards the run's budgets."""
        return self._ask(Store.spent, run)

    def past(self, run: int) -> Past:
        """Returns where the run stands."""
        return self._ask(Store.past, run)

    @contextmanager
    def claim(self, run: int) -> Iterator[Path]:
        """Holds the run's own folder against other processes."""
        with claimed(self._state_dir, run, self._path) as folder:
            yield folder

    def add_attempt(self, run: int, attempt: Attempt) -> None:
        """Writes one judged attempt."""
        self._ask(Store.add_attempt, run, attempt)

    def add_step(self, run: int, step: Step, state: Path | None, advantages: TokenAdvantages) -> None:
        """Writes a finished step."""
        self._ask(Store.add_step, run, step, state, advantages)

    def resume(self, run: int, config: Mapping[str, Any]) -> None:
        """Stores the settings under which a run continues."""
        self._ask(Store.resume, run, config)

    def finish(self, run: int, ended: str) -> None:
        """Closes a run."""
        self._ask(Store.finish, run, ended)

    def _ask(self, method: Callable[Concatenate[Store, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls `method` of the keeper's store, with the types of that method."""
        import ray

        answer: T = ray.get(getattr(self._keeper, method.__name__).remote(*args, **kwargs))
        return answer
