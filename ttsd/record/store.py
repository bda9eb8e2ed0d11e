"""The record and the resume point: one SQLite file, written before the next step begins. The door to sqlite-utils.

Every attempt is a row as soon as it is judged; a step's row follows when its gradient step is done and names the
folder with the learner's state, which lies on disk before the row does. So after `kill -9` the database says exactly
which attempts are finished, which step was not, and where the weights are.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ttsd.config import recorded_config
from ttsd.errors import UserError
from ttsd.loop import Past
from ttsd.methods import kind_of
from ttsd.nouns import Attempt, Gains, Step
from ttsd.record.claims import claimed, is_claimed
from ttsd.record.faults import faults_in_words
from ttsd.record.protocol import Answer, Row, Spent
from ttsd.record.rows import as_json, attempt_row, decoded, gain_rows, gains_of, now, rollout_of
from ttsd.record.schema import migrations, unknown
from ttsd.record.tables import sqlite_utils

__all__ = ["Answer", "Row", "Store"]

KEPT_STATES = 2
BUSY_MILLISECONDS = 30_000
SHARE = "coalesce(score, visible_passed * 1.0 / nullif(visible_total, 0))"  # of success, of an attempt


class Store:
    """Runs, steps and attempts in the SQLite file at `path`; learner states in folders under `state_dir`."""

    def __init__(self, path: str | Path, state_dir: str | Path | None = None, *, read_only: bool = False) -> None:
        self.path = Path(path)
        self.state_dir = Path(state_dir) if state_dir else self.path.with_name(self.path.name + ".state")
        if read_only:
            address = f"{self.path.absolute().as_uri()}?mode=ro"
            self._db = sqlite_utils.Database(sqlite3.connect(address, uri=True, timeout=30, isolation_level=None))
            return
        with faults_in_words(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=BUSY_MILLISECONDS / 1000, isolation_level=None)
            connection.execute("PRAGMA foreign_keys = ON")
            self._db = sqlite_utils.Database(connection)
            self._db.enable_wal()
            connection.execute("PRAGMA synchronous = NORMAL")  # survives kill -9; a power cut may cost the last rows
            if unknown(self._db):
                raise UserError(
                    f"{self.path} was written by a newer version of ttsd; install that one, or give another store.path"
                )
            migrations.apply(self._db)

    def check_writable(self) -> None:
        """UserError or InfrastructureError: another program holds the database, or it can't be written."""
        with faults_in_words(self.path):
            self._db.execute("PRAGMA busy_timeout = 2000")
            self._db.execute("begin immediate")
            self._db.execute("rollback")
            self._db.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")

    @classmethod
    def existing(cls, path: str | Path, state_dir: str | Path | None = None) -> Store:
        """The database at `path`; UserError where there is none yet."""
        if not Path(path).is_file():
            raise UserError(f"there is no database {path}; `ttsd solve` makes it, and store.path names another")
        return cls(path, state_dir)

    @classmethod
    def reading(cls, path: str | Path, state_dir: str | Path | None = None) -> Store:
        """The existing database, of this version, for a reader that can't write, beside whoever does."""
        return cls(path, state_dir, read_only=True)

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- runs ---------------------------------------------------------------------------------------------------

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
        row = {
            "question": question,
            "method": method,
            "seed": seed,
            "status": "running",
            "model": model,
            "config": as_json(config),
            "split": as_json(split),
            "environment": as_json(environment),
            "created": now(),
            "updated": now(),
        }
        with self._writing():
            return int(str(self._db.table("runs").insert(row).last_pk))

    def runs_of(self, question: str, method: str, seed: int) -> list[Row]:
        """The runs of this question, method and seed, the newest first, their JSON columns decoded."""
        where = "question = ? and method = ? and seed = ?"
        rows = self._db.table("runs").rows_where(where, [question, method, seed], order_by="run desc")
        return [decoded(row) for row in rows]

    def run(self, run: int) -> Row:
        """One run's row, its JSON columns decoded. UserError where there is none."""
        rows = list(self._db.table("runs").rows_where("run = ?", [run]))
        if not rows:
            raise UserError(f"{self.path} has no run {run}; `ttsd show` lists the runs it has")
        return decoded(rows[0])

    def runs(self) -> list[Row]:
        return [decoded(row) for row in self._db.table("runs").rows_where(order_by="run")]

    def answer(self, run: int) -> Answer:
        """What the record says of a run."""
        row = self.run(run)
        ((attempts, best),) = self.query(f"select count(*), max({SHARE}) from attempts where run = ?", [run])
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
        """What counts towards the run's budgets; its seconds are those of its finished steps."""
        ((attempts, tokens),) = self.query(
            "select count(*), sum(prompt_tokens + completion_tokens) from attempts where run = ?", [run]
        )
        # Before version 5 of the schema a step's row held no more than its own seconds.
        ((seconds,),) = self.query(
            """select coalesce(max(json_extract(seconds, '$.run')),
            sum(json_extract(seconds, '$.draw') + json_extract(seconds, '$.distil'))) from steps where run = ?""",
            [run],
        )
        return Spent(attempts, tokens or 0, seconds or 0.0)

    def overview(self) -> list[Row]:
        """One row a run, for a table. A run that is neither finished nor claimed by a process is interrupted."""
        sql = f"""select r.*, (select count(*) from attempts where run = r.run) as attempts,
            (select count(*) from steps where run = r.run) as steps,
            (select round(max({SHARE}), 3) from attempts where run = r.run) as best from runs r order by run"""
        return [self._summary(decoded(row)) for row in self._db.query(sql)]

    def _summary(self, row: Row) -> Row:
        config = recorded_config(row["config"])
        return {
            "run": row["run"],
            "question": row["question"],
            "method": kind_of(row["method"]).label(config),
            "seed": row["seed"],
            "status": self._state(row),
            "discovery": row["discovery_attempt"],
            "attempts": row["attempts"],
            "budget": config.budget.attempts,
            "steps": row["steps"],
            "best": row["best"],
            "model": row["model"],
            "started": row["created"][:16].replace("T", " "),
        }

    def looked_at(self, run: int) -> Row:
        """One run's row for a reader: its status says whether it is running or interrupted, and what ended it."""
        row = self.run(run)
        return row | {"status": self._state(row)}

    def _state(self, row: Row) -> str:
        if row["status"] == "discovered":
            return "discovered"
        if row["status"] == "exhausted":
            return f"{row['ended'] or 'attempts'} spent"
        return "running" if is_claimed(self.state_dir, row["run"]) else "interrupted"

    def attempt_overview(self, run: int) -> list[Row]:
        """One row an attempt, for a table."""
        self.run(run)
        scored = self.query("select 1 from attempts where run = ? and score is not null limit 1", [run])
        score = ", score" if scored else ""
        sql = f"""select attempt, step, verdict, visible_passed || '/' || visible_total as visible,
            hidden_passed || '/' || hidden_total as hidden{score}, completion_tokens as tokens,
            substr(replace(feedback, char(10), ' '), 1, 60) as feedback from attempts where run = ? order by attempt"""
        return list(self._db.query(sql, [run]))

    def resume(self, run: int, config: Mapping[str, Any]) -> None:
        """Notes the settings under which an unfinished run continues: its budget may have grown."""
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
    def _writing(self) -> Iterator[None]:
        """A transaction that waits for its turn: SQLite refuses whoever read before another program wrote."""
        with faults_in_words(self.path):
            self._db.execute("begin immediate")
            try:
                yield
            except BaseException:
                self._db.execute("rollback")
                raise
            self._db.execute("commit")

    @contextmanager
    def claim(self, run: int) -> Iterator[Path]:
        """The run's own folder, held against other processes."""
        with claimed(self.state_dir, run, self.path) as folder:
            yield folder

    # -- what happens in a run ----------------------------------------------------------------------------------

    def add_attempt(self, run: int, rollout: Attempt) -> None:
        """Writes one judged attempt."""
        with self._writing():
            self._db.table("attempts").insert({"run": run, **attempt_row(rollout)})

    def add_step(self, run: int, step: Step, state: Path | None, gains: Gains | None = None) -> None:
        """Writes a finished step, naming the learner state that continues from it; prunes older states."""
        discovery = step.discovery
        row = {
            "run": run,
            "step": step.number,
            "first_attempt": step.rollouts[0].attempt,
            "attempts": len(step.rollouts),
            "adapter_version": step.adapter_version,
            "loss": step.metrics.get("loss"),
            "metrics": as_json(step.metrics),
            "seconds": as_json(step.seconds),
            "state": state.name if state else None,
            "created": now(),
        }
        with self._writing():
            self._db.table("steps").insert(row)
            self._db.table("token_gains").insert_all(gain_rows(run, step, gains or {}))
            if discovery is not None and self.run(run)["discovery_attempt"] is None:
                found = {"discovery_attempt": discovery.attempt, "program": discovery.program}
                self._db.table("runs").update(run, {**found, "updated": now()})
        if state is not None:
            self._prune(state)

    def past(self, run: int) -> tuple[Past, Path | None]:
        """Where the run stands, and the folder of the learner state that belongs there (None: untouched weights)."""
        steps = list(self._db.table("steps").rows_where("run = ?", [run], order_by="step"))
        finished = sum(row["attempts"] for row in steps)
        rollouts = [rollout_of(row) for row in self.attempts(run)]
        past = Past(
            steps=len(steps),
            adapter_version=steps[-1]["adapter_version"] if steps else 0,
            rollouts=tuple(rollout for rollout in rollouts if rollout.attempt <= finished),
            unfinished=tuple(rollout for rollout in rollouts if rollout.attempt > finished),
        )
        state = next((row["state"] for row in reversed(steps) if row["state"]), None)
        return past, self.state_dir / f"run-{run}" / state if state else None

    def attempts(self, run: int) -> Iterator[Row]:
        """The run's attempts in order."""
        yield from self._db.table("attempts").rows_where("run = ?", [run], order_by="attempt")

    def steps(self, run: int) -> Iterator[Row]:
        """The run's finished steps in order, JSON columns decoded."""
        yield from (decoded(row) for row in self._db.table("steps").rows_where("run = ?", [run], order_by="step"))

    def rollouts(self, run: int, *, first: int = 1, last: int | None = None) -> tuple[Attempt, ...]:
        """Attempts `first` to `last` of the run (None: to its end), in order."""
        where, values = "run = ? and attempt between ? and ?", [run, first, last if last is not None else 1 << 62]
        return tuple(
            rollout_of(row) for row in self._db.table("attempts").rows_where(where, values, order_by="attempt")
        )

    def gains(self, run: int, attempt: int) -> tuple[float, ...] | None:
        """What a step found for each token of an attempt (see `Gains`); None where none has learnt from it."""
        rows = self.query("select gains from token_gains where run = ? and attempt = ?", [run, attempt])
        return gains_of(rows[0][0]) if rows else None

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a `select`, for readers that count over many runs."""
        with faults_in_words(self.path):
            return list(self._db.execute(sql, list(values)).fetchall())

    def _prune(self, newest: Path) -> None:
        states = sorted(newest.parent.glob("step-*"), key=lambda folder: int(folder.name.partition("-")[2]))
        for folder in states[:-KEPT_STATES]:
            shutil.rmtree(folder, ignore_errors=True)
