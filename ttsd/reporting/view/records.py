"""What the page shows, read again for each request: runs, a run's steps, a step's attempts, one attempt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from ttsd.errors import UserError
from ttsd.nouns import Attempt
from ttsd.record.store import Row, Store
from ttsd.reporting.attempt import AttemptView, attempt_rows, attempt_view, check_model, in_words, run_row, run_rows
from ttsd.reporting.report.charts import discovery_data, learning_data
from ttsd.reporting.report.figures import scripts
from ttsd.reporting.show import learning_alarms
from ttsd.reporting.token_scores import Token, tokens_of
from ttsd.terminal import keep_streams_clean

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Database:
    """A database, under its name in addresses."""

    name: str
    path: Path
    state_dir: Path | None

    def store(self) -> Store:
        return Store.read_only(self.path, self.state_dir)


def opened(databases: Sequence[tuple[Path, Path | None]]) -> dict[str, Database]:
    """Returns every database under a number. UserError where one is not there, or is not ours."""
    found = {str(n): Database(str(n), path, states) for n, (path, states) in enumerate(databases, 1)}
    for source in found.values():
        source.store().close()
    return found


class Worker:
    """A process of its own for calls, one at a time. Where it was killed, the next call starts another."""

    def __init__(self) -> None:
        self._pool = self._started()

    def _started(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=keep_streams_clean)

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Returns what `function` returns there. UserError: the process was killed during two such calls."""
        for _ in range(2):
            pool = self._pool
            try:
                return pool.submit(function, *args, **kwargs).result()
            except BrokenProcessPool:
                if self._pool is pool:
                    self._pool = self._started()
        raise UserError("the process that reads this page's data was killed; the machine may be out of memory")

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class Records:
    """Reads the databases. A tokenizer has a process of its own, and so have the charts."""

    def __init__(self, sources: Mapping[str, Database], model: str | None = None) -> None:
        self.sources, self._model = sources, model
        self._tokenizing, self._charting = Worker(), Worker()

    def __enter__(self) -> Records:
        return self

    def __exit__(self, *_: object) -> None:
        self._tokenizing.close()
        self._charting.close()

    def source(self, name: str) -> Database:
        if name not in self.sources:
            raise UserError(f"there is no database {name!r} here; those are numbered 1 to {len(self.sources)}")
        return self.sources[name]

    def runs(self) -> list[tuple[Database, list[Row], dict[int, int], str]]:
        """Returns every database with one row a run, the newest first, and the last attempt of a run with colours.

        Last comes what is wrong with a database that can't be read any more: that hides no other one.
        """
        taught = "select run, max(attempt) from examples where token_advantages is not null group by run"
        found = list[tuple[Database, list[Row], dict[int, int], str]]()
        for source in self.sources.values():
            try:
                with source.store() as store:
                    found.append((source, run_rows(store)[::-1], dict(store.query(taught)), ""))
            except UserError as error:
                found.append((source, [], {}, str(error)))
        return found

    def run(self, name: str, run: int) -> Row:
        """Returns a run's row with its steps and alarms."""
        with self.source(name).store() as store:
            row, steps = run_row(store, run), _steps(store, run)
        return row | {"steps": steps, "alarms": learning_alarms(steps)}

    def state(self, name: str) -> str:
        """Returns another text whenever the database has more."""
        with self.source(name).store() as store:
            counts = "(select count(*) from attempts), (select count(*) from steps), (select max(updated) from runs)"
            return str(store.query(f"select {counts}"))

    def questions(self, name: str) -> list[str]:
        with self.source(name).store() as store:
            return [question for (question,) in store.query("select distinct question from runs order by run")]

    def discovery(self, name: str) -> Row:
        """Returns the report's discovery curves, as of now."""
        return self._charting.call(_read, self.source(name), discovery_data)

    def learning(self, name: str, run: int) -> Row:
        """Returns the report's learning curves of a run, as of now."""
        return self._charting.call(_read, self.source(name), learning_data, run)

    @cached_property
    def chart_script(self) -> str:
        """Makes the script that shows charts in a browser: once, in a process whose memory is then returned."""
        making = Worker()
        try:
            return making.call(scripts)
        finally:
            making.close()

    def step(self, name: str, run: int, step: int) -> list[Row]:
        """Returns one row an attempt of the step. UserError where there is none."""
        with self.source(name).store() as store:
            rows = in_words(row for row in attempt_rows(store, run) if row["step"] == step)
        if not rows:
            raise UserError(f"run {run} has no step {step}")
        return rows

    def attempt(self, name: str, run: int, attempt: int) -> tuple[AttemptView, dict[int, Attempt], bool]:
        """Returns the attempt, its neighbours and the last one it was shown, and whether its tokens are scored."""
        with self.source(name).store() as store:
            view = attempt_view(store, run, attempt)
            others = {attempt - 1, attempt + 1, *view.attempt.prompt.shows[-1:]}
            near = {one.number: one for number in others for one in store.attempts(run, first=number, last=number)}
            learned = store.example(run, attempt)
            return view, near, learned is not None and learned[1] is not None

    def tokens(self, name: str, run: int, attempt: int) -> list[Token]:
        """Returns the attempt's tokens with their advantages. UserError: only the database names the model."""
        with self.source(name).store() as store:
            check_model(store, run, self._model)
        return self._tokenizing.call(_read, self.source(name), tokens_of, run, attempt)


def _read(source: Database, function: Callable[..., T], *numbers: int) -> T:
    with source.store() as store:
        return function(store, *numbers)


def _steps(store: Store, run: int) -> list[Row]:
    """Returns every step that has an attempt, finished or not, with what its attempts passed."""
    sql = """select step, count(*) as attempts, min(attempt) as first, max(attempt) as last,
        max(visible_fraction) as best, avg(visible_fraction) as mean, sum(discovered) as discovered
        from attempts where run = ? group by step order by step"""
    finished = {row["step"]: row for row in store.steps(run)}
    rows = store.rows(sql, [run])
    for row in rows:
        known: Mapping[str, Any] = finished.get(row["step"], {})
        row |= {"finished": bool(known), "loss": known.get("loss"), "metrics": known.get("metrics") or {}}
    return rows
