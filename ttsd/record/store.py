"""The run database and the resume point: one SQLite file. The door to sqlite-utils is `tables`.

Every attempt is a row as soon as it is judged; a step's row follows when its gradient step is done. It names the
folder with the learner's state, which is on disk before the row is. So after `kill -9` the database says exactly
which attempts are finished, which step was not, and where the weights are.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ttsd.errors import UserError
from ttsd.nouns import Attempt, Example, History, Prompt, Step, TokenAdvantages
from ttsd.record.claims import claimed, is_claimed
from ttsd.record.faults import faults_in_words
from ttsd.record.protocol import Answer, Past, Row, Spent
from ttsd.record.rows import (
    advantages_of,
    as_json,
    attempt_of,
    attempt_row,
    decoded,
    example_of,
    example_row,
    now,
    prompt_of,
    prompt_row,
)
from ttsd.record.run import Run, wants_more
from ttsd.record.schema import foreign, migrations
from ttsd.record.tables import sqlite_utils

__all__ = ["Answer", "Row", "Store"]

KEPT_STATES = 2
BUSY_MILLISECONDS = 30_000
MAX_VALUE_BYTES = 64 << 20  # of a database that is only read, and may be a stranger's


class Store:
    """Holds runs, steps and attempts in the SQLite file at `path`; learner states in folders under `state_dir`."""

    def __init__(self, path: str | Path, state_dir: str | Path | None = None, *, read_only: bool = False) -> None:
        self.path = Path(path)
        self.state_dir = Path(state_dir) if state_dir else self.path.with_name(self.path.name + ".state")
        with faults_in_words(self.path):
            connection = self._reader() if read_only else self._writer()
            self._db = sqlite_utils.Database(connection)
            if reason := foreign(self._db):
                self._db.close()
                raise UserError(f"{self.path} {reason}, or give another store.path")
            if not read_only:
                self._db.enable_wal()
                migrations.apply(self._db)

    def _reader(self) -> sqlite3.Connection:
        address = f"{self.path.absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(address, uri=True, timeout=BUSY_MILLISECONDS / 1000, isolation_level=None)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
        return connection

    def _writer(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=BUSY_MILLISECONDS / 1000, isolation_level=None)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")  # survives kill -9; a power cut may cost the last rows
        return connection

    def check_writable(self) -> None:
        """Checks that it can be written.

        UserError or InfrastructureError: another program holds the database, or it can't be written.
        """
        with faults_in_words(self.path):
            self._db.execute("PRAGMA busy_timeout = 2000")
            self._db.execute("begin immediate")
            self._db.execute("rollback")
            self._db.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")

    @classmethod
    def read_only(cls, path: str | Path, state_dir: str | Path | None = None) -> Store:
        """Opens an existing database without ever writing to it. UserError: there is none, or it is not ours."""
        if not Path(path).is_file():
            raise UserError(f"there is no database {path}; `ttsd solve` makes it, and store.path names another")
        return cls(path, state_dir, read_only=True)

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.close()
        if isinstance(error, sqlite3.DatabaseError):
            with faults_in_words(self.path):
                raise error

    # -- runs ---------------------------------------------------------------------------------------------------

    def new_run(self, run: Run, environment: Mapping[str, Any]) -> int:
        """Starts a run; returns its number."""
        facts = {name: as_json(value) if isinstance(value, dict) else value for name, value in run.facts.items()}
        row = {**facts, "environment": as_json(environment), "status": "running", "created": now(), "updated": now()}
        with self._writing():
            return int(str(self._db.table("runs").insert(row).last_pk))

    def newest(self, run: Run) -> Row | None:
        """Returns the row of the newest run with this fingerprint, JSON columns decoded; None: there is none."""
        rows = self._db.table("runs").rows_where("fingerprint = ?", [run.fingerprint], order_by="run desc", limit=1)
        return next(map(decoded, rows), None)

    def stopped_otherwise(self, run: Run) -> Row | None:
        """Returns the newest run of this question, method and seed that was stopped under other settings."""
        where = "question = ? and method = ? and seed = ? and fingerprint != ? and status = 'running'"
        values = [run.question, run.method.name, run.seed, run.fingerprint]
        return next(map(decoded, self._db.table("runs").rows_where(where, values, order_by="run desc", limit=1)), None)

    def is_finished(self, row: Row, run: Run) -> bool:
        """Tells whether a stored run needs no more attempts under the settings of `run`."""
        if row["discovery_attempt"] is not None and not run.config.budget.continue_after_discovery:
            return True
        return row["status"] != "running" and not wants_more(row, self.answer(row["run"]).attempts, run.config)

    def settled(self, row: Row, run: Run) -> Answer | None:
        """Returns the answer of a run that has nothing left to do; closes one that was stopped at its discovery."""
        if not self.is_finished(row, run):
            return None
        if row["status"] == "running":
            self.finish(row["run"], "discovery")
        return self.answer(row["run"])

    def run(self, run: int) -> Row:
        """Returns one run's row, its JSON columns decoded. UserError where there is none."""
        rows = list(self._db.table("runs").rows_where("run = ?", [run]))
        if not rows:
            raise UserError(f"{self.path} has no run {run}; `ttsd show` lists the runs it has")
        return decoded(rows[0])

    def runs(self) -> list[Row]:
        """Returns all runs' rows, JSON columns decoded."""
        return [decoded(row) for row in self._db.table("runs").rows_where(order_by="run")]

    def answer(self, run: int) -> Answer:
        """Returns what is stored about a run."""
        row = self.run(run)
        ((attempts, best),) = self.query("select count(*), max(visible_fraction) from attempts where run = ?", [run])
        return Answer(
            run=run,
            question=row["question"],
            method=row["method"],
            seed=row["seed"],
            discovered=row["discovery_attempt"] is not None,
            attempts=attempts,
            discovery_attempt=row["discovery_attempt"],
            steps=self._db.table("steps").count_where("run = ?", [run]),
            program=row["program"],
            best=round(best or 0.0, 4),
            ended=row["ended"],
        )

    def spent(self, run: int) -> Spent:
        """Returns what counts towards the run's budgets; its seconds are those of its finished steps."""
        sql = "select count(*), coalesce(sum(prompt_tokens + completion_tokens), 0) from attempts where run = ?"
        ((attempts, tokens),) = self.query(sql, [run])
        ((seconds,),) = self.query("select max(json_extract(seconds, '$.run')) from steps where run = ?", [run])
        return Spent(attempts, tokens, seconds or 0.0)

    def resume(self, run: int, config: Mapping[str, Any]) -> None:
        """Stores the settings under which a run continues: its budget may have grown."""
        with self._writing():
            changed = {"config": as_json(config), "status": "running", "ended": None, "updated": now()}
            self._db.table("runs").update(run, changed)

    def finish(self, run: int, ended: str) -> None:
        """Closes a run; `ended` says by what: discovery, attempts, tokens or seconds."""
        with self._writing():
            found = self.run(run)["discovery_attempt"] is not None
            status = "discovered" if found else "exhausted"
            self._db.table("runs").update(run, {"status": status, "ended": ended, "updated": now()})

    @contextmanager
    def claim(self, run: int) -> Iterator[Path]:
        """Holds the run's own folder against other processes. RunHeld: another process has it."""
        with claimed(self.state_dir, run, self.path) as folder:
            yield folder

    def state(self, row: Row) -> str:
        """Says how a run stands: running, interrupted, discovered, or which budget is spent."""
        if row["status"] == "discovered":
            return "discovered"
        if row["status"] == "exhausted":
            return f"{row['ended'] or 'attempts'} spent"
        return "running" if is_claimed(self.state_dir, row["run"]) else "interrupted"

    # -- what happens in a run ----------------------------------------------------------------------------------

    def add_attempt(self, run: int, attempt: Attempt) -> None:
        """Writes one judged attempt and its prompt."""
        with self._writing():
            self._add_prompts([attempt.prompt])
            self._db.table("attempts").insert({"run": run, **attempt_row(attempt)})

    def add_step(self, run: int, step: Step, state: Path | None, advantages: TokenAdvantages) -> None:
        """Writes a finished step, what it learned, and the learner's state after it; prunes older states."""
        row = {
            "run": run,
            "step": step.number,
            "first_attempt": step.attempts[0].number,
            "attempts": len(step.attempts),
            "adapter_version": step.adapter_version,
            "loss": step.metrics.get("loss"),
            "metrics": as_json(step.metrics),
            "seconds": as_json(step.seconds),
            "state": state.name if state else None,
            "created": now(),
        }
        with self._writing():
            self._db.table("steps").insert(row)
            self._add_prompts(example.teacher for example in step.examples if example.teacher is not None)
            rows = [example_row(run, example, advantages) for example in step.examples]
            self._db.table("examples").insert_all(rows)
            discovery = step.discovery
            if discovery is not None and self.run(run)["discovery_attempt"] is None:
                found = {"discovery_attempt": discovery.number, "program": discovery.program}
                self._db.table("runs").update(run, {**found, "updated": now()})
        if state is not None:
            self._prune(state)

    def _add_prompts(self, prompts: Iterable[Prompt]) -> None:
        self._db.table("prompts").insert_all(map(prompt_row, prompts), ignore=True)

    def past(self, run: int) -> Past:
        """Returns where the run stands."""
        steps = list(self.steps(run))
        finished = sum(row["attempts"] for row in steps)
        attempts = self.attempts(run)
        restarts = [row["step"] for row in steps if "restarted" in (row["metrics"] or {})]
        restarted = sum(row["attempts"] for row in steps if restarts and row["step"] <= restarts[-1])
        state = next((row["state"] for row in reversed(steps) if row["state"]), None)
        return Past(
            history=History(tuple(one for one in attempts if one.number <= finished), restarted),
            begun=tuple(one for one in attempts if one.number > finished),
            adapter_version=steps[-1]["adapter_version"] if steps else 0,
            state=self.state_dir / f"run-{run}" / state if state else None,
        )

    def steps(self, run: int) -> Iterator[Row]:
        """Returns the run's finished steps in order, JSON columns decoded."""
        yield from (decoded(row) for row in self._db.table("steps").rows_where("run = ?", [run], order_by="step"))

    def attempts(self, run: int, *, first: int = 1, last: int = 1 << 62) -> tuple[Attempt, ...]:
        """Returns attempts `first` to `last` of the run, in order, each with its prompt."""
        where, values = "run = ? and attempt between ? and ?", [run, first, last]
        rows = list(self._db.table("attempts").rows_where(where, values, order_by="attempt"))
        prompts = {name: self._prompt(name) for name in {row["prompt"] for row in rows}}
        return tuple(attempt_of(row, prompts[row["prompt"]]) for row in rows)

    def example(self, run: int, attempt: int) -> tuple[Example, tuple[float, ...] | None] | None:
        """Returns what a step learned from an attempt, and its token advantages; None: nothing."""
        rows = list(self._db.table("examples").rows_where("run = ? and attempt = ?", [run, attempt]))
        if not rows:
            return None
        (made,), name = self.attempts(run, first=attempt, last=attempt), rows[0]["teacher_prompt"]
        return example_of(rows[0], made, self._prompt(name) if name else None), advantages_of(rows[0])

    def _prompt(self, name: str) -> Prompt:
        return prompt_of(next(iter(self._db.table("prompts").rows_where("prompt = ?", [name]))))

    # -- for readers --------------------------------------------------------------------------------------------

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Returns the rows of a `select`, for readers that count over many runs."""
        with faults_in_words(self.path):
            return list(self._db.execute(sql, list(values)).fetchall())

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Returns the rows of a `select` by the names of its columns."""
        with faults_in_words(self.path):
            return list(self._db.query(sql, list(values)))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Opens a transaction that waits for its turn: SQLite refuses one that read before another program wrote."""
        with faults_in_words(self.path):
            self._db.execute("begin immediate")
            try:
                yield
            except BaseException:
                self._db.execute("rollback")
                raise
            self._db.execute("commit")

    def _prune(self, newest: Path) -> None:
        states = sorted(newest.parent.glob("step-*"), key=lambda folder: int(folder.name.partition("-")[2]))
        for folder in states[:-KEPT_STATES]:
            shutil.rmtree(folder, ignore_errors=True)
