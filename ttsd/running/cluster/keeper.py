"""The record as a worker sees it: another process has the file, and answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from ttsd.loop import Past
from ttsd.nouns import Attempt, Gains, Step
from ttsd.record.claims import claimed
from ttsd.record.protocol import Answer, Row, Spent
from ttsd.record.store import Store

if TYPE_CHECKING:
    from ray.actor import ActorHandle

P = ParamSpec("P")
T = TypeVar("T")


class Keeper(Store):
    """The store in an actor that Ray makes anew when its process dies; a call that was under way comes a second time.

    A run has one writer at a time, so a row that is there already is that writer's own.
    """

    def add_attempt(self, run: int, rollout: Attempt) -> None:
        if not self.query("select 1 from attempts where run = ? and attempt = ?", [run, rollout.attempt]):
            super().add_attempt(run, rollout)

    def add_step(
        self, run: int, step: Step, state: Path | None, gains: Mapping[int, Sequence[float]] | None = None
    ) -> None:
        if not self.query("select 1 from steps where run = ? and step = ?", [run, step.number]):
            super().add_step(run, step, state, gains)


class DistantStore:
    """A `Record` whose rows go to the `keeper`, an actor that holds the `Store`; learner states are written here."""

    def __init__(self, keeper: ActorHandle, path: str, state_dir: Path) -> None:
        self._keeper, self._path, self._state_dir = keeper, Path(path), state_dir

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
        return self._ask(
            Store.new_run,
            question=question,
            method=method,
            seed=seed,
            model=model,
            config=config,
            split=split,
            environment=environment,
        )

    def run(self, run: int) -> Row:
        return self._ask(Store.run, run)

    def answer(self, run: int) -> Answer:
        return self._ask(Store.answer, run)

    def spent(self, run: int) -> Spent:
        return self._ask(Store.spent, run)

    def past(self, run: int) -> tuple[Past, Path | None]:
        return self._ask(Store.past, run)

    @contextmanager
    def claim(self, run: int) -> Iterator[Path]:
        with claimed(self._state_dir, run, self._path) as folder:
            yield folder

    def add_attempt(self, run: int, rollout: Attempt) -> None:
        self._ask(Store.add_attempt, run, rollout)

    def add_step(self, run: int, step: Step, state: Path | None, gains: Gains | None = None) -> None:
        self._ask(Store.add_step, run, step, state, gains)

    def resume(self, run: int, config: Mapping[str, Any]) -> None:
        self._ask(Store.resume, run, config)

    def finish(self, run: int, ended: str) -> None:
        self._ask(Store.finish, run, ended)

    def _ask(self, method: Callable[Concatenate[Store, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Has the keeper call `method` of its store, with the types of that method."""
        import ray

        answer: T = ray.get(getattr(self._keeper, method.__name__).remote(*args, **kwargs))
        return answer
