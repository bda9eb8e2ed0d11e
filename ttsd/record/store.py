"""The run database and the resume point: one SQLite file. The door to sqlite-utils is `tables`.

Every attempt is a row as soon as it is judged; a step's row follows when its gradient step is done. It names the
folder with the learner's state, which is on disk before the row is. So after `kill -9` the database says exactly
which attempts are finished, which step was not, and where the weights are.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from ttsd.errors import UserError
from ttsd.nouns import Attempt, Example, History, Prompt, Step, TokenAdvantages
from ttsd.record.claims import check_owner, claimed, default_state_dir, is_claimed, prune_states, state_folder
from ttsd.record.disks import filesystem_of, is_network
from ttsd.record.faults import check_files, faults_in_words
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
from ttsd.record.schema import create, foreign, foreign_file
from ttsd.record.tables import sqlite_utils

__all__ = ["Answer", "Row", "Store"]

KEPT_STATES = 2  # besides the best
BUSY_MILLISECONDS = 30_000
MAX_VALUE_BYTES = 64 << 20  # of a database that is only read, and may be a stranger's


class Store:
    """Holds runs, steps and attempts in the SQLite file at `path`; learner states in folders under `state_dir`.

    `filesystem`: the type of the disk below `path`; None: as the machine says.
    """

    def __init__(
        self,
        path: str | Path,
        state_dir: str | Path | None = None,
        *,
        read_only: bool = False,
        filesystem: str | None = None,
    ) -> None:
        self.path = Path(path).absolute()  # messages name it in full
        # A folder that the user names may be a link; one that merely stands next to the database may not (claims.py).
        self.state_dir = Path(state_dir).resolve() if state_dir else default_state_dir(self.path)
        with faults_in_words(self.path):
            check_files(self.path)
            self._disk = filesystem_of(self.path) if filesystem is None else filesystem
            self._check(foreign_file(self.path, MAX_VALUE_BYTES) if read_only else None)
            self._db = sqlite_utils.Database(self._reader() if read_only else self._writer())
            if reason := foreign(self._db, may_be_new=not read_only):
                self._db.close()
            self._check(reason)
            if not read_only:
                self._create()

    def _check(self, reason: str | None) -> None:
        if reason:
            raise UserError(f"{self.path} {reason}, or give another store.path")

    def _reader(self) -> sqlite3.Connection:
        """Opens the file to read it. In a folder that can't be written SQLite must be assured that nobody writes."""
        for address in ("?mode=ro", "?mode=ro&immutable=1"):
            address = f"{self.path.absolute().as_uri()}{address}"
            connection = sqlite3.connect(address, uri=True, timeout=BUSY_MILLISECONDS / 1000, isolation_level=None)
            try:
                connection.execute("select 1 from sqlite_master")
                connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
                break
            except sqlite3.OperationalError:
                connection.close()
                log = self.path.with_name(f"{self.path.name}-wal")
                if log.exists() and log.stat().st_size:
                    rows = f"the newest rows of {self.path} are in {log.name}"
                    raise UserError(f"{rows}, which can't be read here; copy both to a folder of yours") from None
                if address.endswith("immutable=1"):
                    raise
        return connection

    def _create(self) -> None:
        """Creates what is missing. SQLite does not wait where another process does the same at this moment."""
        patience = time.monotonic() + BUSY_MILLISECONDS / 1000
        while True:
            try:
                self._db.disable_wal() if is_network(self._disk) else self._db.enable_wal()
                create(self._db)
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > patience:
                    raise
                time.sleep(0.02)

    def _writer(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=BUSY_MILLISECONDS / 1000, isolation_level=None)
        connection.execute("PRAGMA foreign_keys = ON")
        # In WAL mode NORMAL survives kill -9, and a power cut may cost the last rows; without WAL it may cost the file.
        connection.execute(f"PRAGMA synchronous = {'FULL' if is_network(self._disk) else 'NORMAL'}")
        return connection

    @property
    def note(self) -> str:
        """Says in one sentence what to mind on this disk; "": nothing."""
        if not is_network(self._disk):
            return ""
        return (
            f"{self.path} is on a network disk ({self._disk}), where locks may not hold between machines: work on it "
            "from one machine at a time, or set store.path to a local disk"
        )

    def check_writable(self) -> None:
        """Checks that it can be written.

        UserError or InfrastructureError: another program holds the database, or it can't be written.
        """
        with faults_in_words(self.path):
            self._db.execute("PRAGMA busy_timeout = 2000")
            self._db.execute("begin immediate")
            try:
                self._db.execute("PRAGMA user_version = 0")  # in WAL mode a file that can't be written can be locked
            finally:
                self._db.execute("rollback")
            self._db.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")

    @classmethod
    def read_only(cls, path: str | Path, state_dir: str | Path | None = None) -> Store:
        """Opens an existing database without ever writing to it. UserError: there is none, or it is not ours."""
        path = Path(path).absolute()
        if path.is_dir():
            raise UserError(f"{path} is a folder; store.path names a file, as in {path / 'ttsd.sqlite'}")
        if not path.is_file():
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

    def new_run(self, run: Run, environment: Mapping[str, Any], fresh: bool = True) -> int:
        """Starts a run; returns its number. Unless `fresh`, one that another process has started is that run."""
        facts = {name: as_json(value) if isinstance(value, dict) else value for name, value in run.facts.items()}
        made = {"environment": as_json(environment), "tracker_id": uuid4().hex[:16]}
        row = {**facts, **made, "status": "running", "created": now(), "updated": now()}
        with self._writing():
            if not fresh and (started := self.newest(run)):
                return int(started["run"])
            return int(str(self._db.table("runs").insert(row).last_pk))

    def newest(self, run: Run) -> Row | None:
        """Returns the row of the newest run with this fingerprint, JSON columns decoded; None: there is none."""
        rows = self._select("runs", "fingerprint = ?", [run.fingerprint], order_by="run desc", limit=1)
        return next(map(decoded, rows), None)

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
        rows = self._select("runs", "run = ?", [run])
        if not rows:
            raise UserError(f"{self.path} has no run {run}; `ttsd show` lists the runs it has")
        return decoded(rows[0])

    def runs(self) -> list[Row]:
        """Returns all runs' rows, JSON columns decoded."""
        return [decoded(row) for row in self._select("runs", order_by="run")]

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
            visible_cases=len(row["split"]["visible"]),
            hidden_cases=len(row["split"]["hidden"]),
            label=row["label"],
        )

    def spent(self, run: int) -> Spent:
        """Returns what counts towards the run's budgets; its seconds are those of its finished steps."""
        sql = """select count(*), total(prompt_tokens + completion_tokens) + total(hint_tokens),
            total(dollars) + total(hint_dollars) from attempts where run = ?"""
        ((attempts, tokens, dollars),) = self.query(sql, [run])
        ((seconds,),) = self.query("select max(json_extract(seconds, '$.run')) from steps where run = ?", [run])
        return Spent(attempts, int(tokens), seconds or 0.0, dollars)

    def resume(self, run: int, config: Mapping[str, Any]) -> None:
        """Stores the settings under which a run continues: its budget may have grown."""
        with self._writing():
            changed = {"config": as_json(config), "status": "running", "ended": None, "updated": now()}
            self._db.table("runs").update(run, changed)

    def finish(self, run: int, ended: str) -> None:
        """Closes a run; `ended` says by what: discovery, or the budget that is spent."""
        with self._writing():
            found = self.run(run)["discovery_attempt"] is not None
            status = "discovered" if found else "exhausted"
            self._db.table("runs").update(run, {"status": status, "ended": ended, "updated": now()})

    def delete(self, run: int) -> None:
        """Takes a run out of the database and its learner states off the disk. RunHeld: a process works on it."""
        self.run(run)
        with self.claim(run) as folder:
            with self._writing():
                for table in ("examples", "attempts", "steps", "runs"):
                    self._db.table(table).delete_where("run = ?", [run])
                used = "select prompt from attempts union select teacher_prompt from examples"
                self._db.table("prompts").delete_where(f"prompt not in ({used} where teacher_prompt is not null)")
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def claim(self, run: int) -> Iterator[Path]:
        """Holds the run's own folder against other processes. RunHeld: another process has it."""
        with claimed(self.state_dir, run, self.path, self.run(run)["tracker_id"]) as folder:
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
        """Writes a finished step, what it learned, and the learner's state after it.

        Of the states the last two and the best are kept: after step `metrics["best_state"]`.
        """
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
            self._prune(run, int(step.metrics.get("best_state", 0)))

    def _add_prompts(self, prompts: Iterable[Prompt]) -> None:
        self._db.table("prompts").insert_all(map(prompt_row, prompts), ignore=True)

    def past(self, run: int) -> Past:
        """Returns where the run stands."""
        steps = list(self.steps(run))
        finished = sum(row["attempts"] for row in steps)
        attempts = self.attempts(run)
        back = {row["step"]: int(row["metrics"]["returned_to"]) for row in steps if "returned_to" in row["metrics"]}
        state = next((row["state"] for row in reversed(steps) if row["state"]), None)
        begun_as = self.run(run)
        return Past(
            history=History(tuple(one for one in attempts if one.number <= finished), back),
            begun=tuple(one for one in attempts if one.number > finished),
            adapter_version=steps[-1]["adapter_version"] if steps else 0,
            state=self.state_folder(run, state) if state else None,
            environment=begun_as["environment"],
            tracker_id=begun_as["tracker_id"],
        )

    def state_folder(self, run: int, name: str) -> Path:
        """Returns the folder of a learner's state by its name in a step's row; it may be gone.

        UserError: that is no name, or no folder, of a state, or the folder is another database's.
        """
        folder = state_folder(self.state_dir, run, str(name))
        check_owner(folder.parent, self.run(run)["tracker_id"])
        return folder

    def steps(self, run: int) -> Iterator[Row]:
        """Returns the run's finished steps in order, JSON columns decoded."""
        yield from (decoded(row) for row in self._select("steps", "run = ?", [run], order_by="step"))

    def attempts(self, run: int, *, first: int = 1, last: int = 1 << 62) -> tuple[Attempt, ...]:
        """Returns attempts `first` to `last` of the run, in order, each with its prompt."""
        where, values = "run = ? and attempt between ? and ?", [run, first, last]
        rows = self._select("attempts", where, values, order_by="attempt")
        prompts = {name: self._prompt(name) for name in {row["prompt"] for row in rows}}
        return tuple(attempt_of(row, prompts[row["prompt"]]) for row in rows)

    def example(self, run: int, attempt: int) -> tuple[Example, tuple[float, ...] | None] | None:
        """Returns what a step learned from an attempt, and its token advantages; None: nothing."""
        rows = self._select("examples", "run = ? and attempt = ?", [run, attempt])
        if not rows:
            return None
        (made,), name = self.attempts(run, first=attempt, last=attempt), rows[0]["teacher_prompt"]
        return example_of(rows[0], made, self._prompt(name) if name else None), advantages_of(rows[0])

    def _prompt(self, name: str) -> Prompt:
        return prompt_of(self._select("prompts", "prompt = ?", [name])[0])

    # -- for readers --------------------------------------------------------------------------------------------

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Returns the rows of a `select`, for readers that count over many runs."""
        with faults_in_words(self.path):
            return list(self._db.execute(sql, list(values)).fetchall())

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Returns the rows of a `select` by the names of its columns."""
        with faults_in_words(self.path):
            return list(self._db.query(sql, list(values)))

    def _select(self, table: str, where: str = "1", values: Sequence[Any] = (), **options: Any) -> list[Row]:
        with faults_in_words(self.path):
            return list(self._db.table(table).rows_where(where, values, **options))

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

    def _prune(self, run: int, best: int) -> None:
        """Removes the run's learner states but for the newest and that of the step `best`."""
        names = {row["step"]: str(row["state"]) for row in self.steps(run) if row["state"]}
        old = [*names][:-KEPT_STATES]
        prune_states(self.state_dir, run, [names[step] for step in old if step != best])
