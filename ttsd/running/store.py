"""The record and the resume point: one SQLite file, written before the next step begins. The door to sqlite-utils.

Every attempt is a row as soon as it is judged; a step's row follows when its gradient step is done and names the
folder with the learner's state, which lies on disk before the row does. So after `kill -9` the database says exactly
which attempts are finished, which step was broken off, and where the weights are.
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import json
import math
import os
import shutil
import sqlite3
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import sqlite_utils
from sqlite_utils.migrations import Migrations

from ttsd.errors import InfrastructureError, UserError
from ttsd.loop import Past
from ttsd.nouns import Completion, Rollout, Status, Step, Verdict

migrations = Migrations("ttsd")
Row = dict[str, Any]

KEPT_STATES = 2


@migrations()
def m001_initial(db: sqlite_utils.Database) -> None:
    db.table("runs").create(
        {
            "run": int,
            "question": str,
            "method": str,
            "seed": int,
            "status": str,  # running, discovered, exhausted
            "model": str,
            "config": str,
            "split": str,
            "environment": str,
            "discovery_attempt": int,
            "program": str,
            "created": str,
            "updated": str,
        },
        pk="run",
        not_null={"question", "method", "seed", "status", "config", "created"},
    )
    db.table("steps").create(
        {
            "run": int,
            "step": int,
            "first_attempt": int,
            "attempts": int,
            "adapter_version": int,
            "loss": float,
            "metrics": str,
            "seconds": str,
            "state": str,
            "created": str,
        },
        pk=("run", "step"),
        foreign_keys=[("run", "runs", "run")],
    )
    db.table("attempts").create(
        {
            "run": int,
            "attempt": int,
            "step": int,
            "adapter_version": int,
            "verdict": str,
            "discovered": int,
            "visible_passed": int,
            "visible_total": int,
            "hidden_passed": int,
            "hidden_total": int,
            "first_failure": int,
            "feedback": str,
            "program": str,
            "program_hash": str,
            "completion": str,
            "token_ids": bytes,
            "logprobs": bytes,
            "finish_reason": str,
            "prompt_tokens": int,
            "completion_tokens": int,
            "mean_logprob": float,
            "min_logprob": float,
            "sample_seconds": float,
            "judge_seconds": float,
            "cpu_seconds": float,
            "created": str,
        },
        pk=("run", "attempt"),
        foreign_keys=[("run", "runs", "run")],
    )
    db.table("attempts").create_index(["run", "step"])


@migrations()
def m002_reading(db: sqlite_utils.Database) -> None:
    """What readers need: an index that holds every number, so that counting never touches completions; views."""
    numbers = (
        "run, attempt, step, verdict, discovered, visible_passed, visible_total, finish_reason, prompt_tokens, "
        "completion_tokens, sample_seconds, judge_seconds, cpu_seconds, program_hash"
    )
    db.execute(f"create index attempts_numbers on attempts ({numbers})")
    db.create_view(
        "run_summary",
        """select r.run, r.question, r.method, r.seed, r.status, r.discovery_attempt, count(a.attempt) as attempts,
        sum(a.discovered = 0 and a.visible_total > 0 and a.visible_passed = a.visible_total) as visible_only,
        max(a.visible_passed * 1.0 / nullif(a.visible_total, 0)) as best_visible_fraction,
        sum(a.prompt_tokens) as prompt_tokens, sum(a.completion_tokens) as completion_tokens
        from runs r left join attempts a on a.run = r.run group by r.run""",
    )
    db.create_view(
        "question_summary",
        """select question, method, count(*) as runs, sum(discovery_attempt is not null) as discovered,
        min(discovery_attempt) as first_discovery, sum(attempts) as attempts, sum(visible_only) as visible_only
        from run_summary group by question, method""",
    )


@migrations()
def m003_roles(db: sqlite_utils.Database) -> None:
    """Which attempts were drawn under a reprompt."""
    db.table("attempts").add_column("role", str, not_null_default="student")


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


class Store:
    """Runs, steps and attempts in the SQLite file at `path`; learner states in folders under `state_dir`."""

    def __init__(self, path: str | Path, state_dir: str | Path | None = None) -> None:
        self.path = Path(path)
        self.state_dir = Path(state_dir) if state_dir else self.path.with_name(self.path.name + ".state")
        with _told(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=30, isolation_level=None)
            connection.execute("PRAGMA foreign_keys = ON")
            self._db = sqlite_utils.Database(connection)
            self._db.enable_wal()
            connection.execute("PRAGMA synchronous = NORMAL")  # survives kill -9; a power cut may cost the last rows
            migrations.apply(self._db)

    @classmethod
    def existing(cls, path: str | Path, state_dir: str | Path | None = None) -> Store:
        """The database at `path`; UserError where there is none yet."""
        if not Path(path).is_file():
            raise UserError(f"there is no database {path}; `ttsd solve` makes it, and store.path names another")
        return cls(path, state_dir)

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
        """Begins a run; gives its number."""
        row = {
            "question": question,
            "method": method,
            "seed": seed,
            "status": "running",
            "model": model,
            "config": _json(config),
            "split": _json(split),
            "environment": _json(environment),
            "created": _now(),
            "updated": _now(),
        }
        with _told(self.path), self._db.atomic():
            return int(str(self._db.table("runs").insert(row).last_pk))

    def runs_of(self, question: str, method: str, seed: int) -> list[Row]:
        """The runs of this question, method and seed, the newest first, their JSON columns decoded."""
        where = "question = ? and method = ? and seed = ?"
        rows = self._db.table("runs").rows_where(where, [question, method, seed], order_by="run desc")
        return [_decoded(row) for row in rows]

    def run(self, run: int) -> Row:
        """One run's row, its JSON columns decoded. UserError where there is none."""
        rows = list(self._db.table("runs").rows_where("run = ?", [run]))
        if not rows:
            raise UserError(f"{self.path} has no run {run}; `ttsd show` lists the runs it has")
        return _decoded(rows[0])

    def runs(self) -> list[Row]:
        return [_decoded(row) for row in self._db.table("runs").rows_where(order_by="run")]

    def answer(self, run: int) -> Answer:
        """What the record says of a run."""
        row = self.run(run)
        return Answer(
            run=run,
            question=row["question"],
            method=row["method"],
            seed=row["seed"],
            discovered=row["discovery_attempt"] is not None,
            attempts=self._db.table("attempts").count_where("run = ?", [run]),
            discovery_attempt=row["discovery_attempt"],
            steps=self._db.table("steps").count_where("run = ?", [run]),
            program=row["program"],
        )

    def overview(self) -> list[Row]:
        """One row a run, for a table."""
        sql = """select run, question, method, seed, status, discovery_attempt,
            (select count(*) from attempts where attempts.run = runs.run) as attempts,
            (select count(*) from steps where steps.run = runs.run) as steps,
            (select round(max(visible_passed * 1.0 / nullif(visible_total, 0)), 3) from attempts
             where attempts.run = runs.run) as best_visible from runs order by run"""
        return list(self._db.query(sql))

    def attempt_overview(self, run: int) -> list[Row]:
        """One row an attempt, for a table."""
        self.run(run)
        sql = """select attempt, step, verdict, visible_passed || '/' || visible_total as visible,
            hidden_passed || '/' || hidden_total as hidden, completion_tokens as tokens,
            substr(replace(feedback, char(10), ' '), 1, 60) as feedback from attempts where run = ? order by attempt"""
        return list(self._db.query(sql, [run]))

    def finish(self, run: int, status: str) -> None:
        """Closes a run as `discovered` or `exhausted`. A run that is neither can be resumed."""
        with _told(self.path), self._db.atomic():
            self._db.table("runs").update(run, {"status": status, "updated": _now()})

    @contextmanager
    def claim(self, run: int) -> Iterator[Path]:
        """The run's own folder, held against other processes."""
        with claimed(self.state_dir, run, self.path) as folder:
            yield folder

    # -- what happens in a run ----------------------------------------------------------------------------------

    def add_attempt(self, run: int, rollout: Rollout) -> None:
        """Writes one judged attempt."""
        with _told(self.path), self._db.atomic():
            self._db.table("attempts").insert({"run": run, **_attempt_row(rollout)})

    def add_step(self, run: int, step: Step, state: Path | None) -> None:
        """Writes a finished step, naming the learner state that continues from it; prunes older states."""
        discovery = step.discovery
        row = {
            "run": run,
            "step": step.number,
            "first_attempt": step.rollouts[0].attempt,
            "attempts": len(step.rollouts),
            "adapter_version": step.adapter_version,
            "loss": step.metrics.get("loss"),
            "metrics": _json(step.metrics),
            "seconds": _json(step.seconds),
            "state": state.name if state else None,
            "created": _now(),
        }
        with _told(self.path), self._db.atomic():
            self._db.table("steps").insert(row)
            if discovery is not None and self.run(run)["discovery_attempt"] is None:
                found = {"discovery_attempt": discovery.attempt, "program": discovery.program}
                self._db.table("runs").update(run, {**found, "updated": _now()})
        if state is not None:
            self._prune(state)

    def past(self, run: int) -> tuple[Past, Path | None]:
        """Where the run stands, and the folder of the learner state that belongs there (None: untouched weights)."""
        steps = list(self._db.table("steps").rows_where("run = ?", [run], order_by="step"))
        finished = sum(row["attempts"] for row in steps)
        rollouts = [_rollout(row) for row in self.attempts(run)]
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
        yield from (_decoded(row) for row in self._db.table("steps").rows_where("run = ?", [run], order_by="step"))

    def rollouts(self, run: int, *, first: int = 1, last: int | None = None) -> tuple[Rollout, ...]:
        """Attempts `first` to `last` of the run (None: to its end), in order."""
        where, values = "run = ? and attempt between ? and ?", [run, first, last if last is not None else 1 << 62]
        return tuple(_rollout(row) for row in self._db.table("attempts").rows_where(where, values, order_by="attempt"))

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a `select`, for readers that count over many runs."""
        with _told(self.path):
            return list(self._db.execute(sql, list(values)).fetchall())

    def _prune(self, newest: Path) -> None:
        states = sorted(newest.parent.glob("step-*"), key=lambda folder: int(folder.name.partition("-")[2]))
        for folder in states[:-KEPT_STATES]:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def claimed(state_dir: Path, run: int, path: Path) -> Iterator[Path]:
    """Run `run`'s folder in `state_dir`, held against other processes. The lock goes with the process, however it ends.

    `path`: the database that errors speak of.
    """
    folder = state_dir / f"run-{run}"
    with _told(path):
        folder.mkdir(parents=True, exist_ok=True)
        lock: IO[str] = (folder / "lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"run {run} is being worked on by another process; wait for it, or start another run with --fresh"
            ) from None
        for draft in folder.glob(".step-*"):  # of a process that was killed while it wrote
            shutil.rmtree(draft, ignore_errors=True)
        yield folder


def _attempt_row(rollout: Rollout) -> Row:
    completion, verdict = rollout.completion, rollout.verdict
    logprobs = completion.logprobs
    return {
        "attempt": rollout.attempt,
        "step": rollout.step,
        "adapter_version": completion.adapter_version,
        "role": rollout.role,
        "verdict": verdict.status.value,
        "discovered": int(verdict.accepted),
        "visible_passed": verdict.visible_passed,
        "visible_total": verdict.visible_total,
        "hidden_passed": verdict.hidden_passed,
        "hidden_total": verdict.hidden_total,
        "first_failure": verdict.first_failure,
        "feedback": verdict.feedback,
        "program": rollout.program,
        "program_hash": hashlib.sha256(rollout.program.encode("utf-8", "replace")).hexdigest()[:16]
        if rollout.program is not None
        else None,
        "completion": completion.text,
        "token_ids": array("i", completion.token_ids).tobytes(),
        "logprobs": array("d", logprobs).tobytes(),
        "finish_reason": completion.finish_reason,
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": len(completion.token_ids),
        "mean_logprob": sum(logprobs) / len(logprobs) if logprobs else None,
        "min_logprob": min(logprobs, default=None),
        "sample_seconds": completion.seconds,
        "judge_seconds": rollout.judge_seconds,
        "cpu_seconds": verdict.cpu_seconds,
        "created": _now(),
    }


def _rollout(row: Row) -> Rollout:
    completion = Completion(
        token_ids=tuple(array("i", row["token_ids"])),
        text=row["completion"],
        logprobs=tuple(array("d", row["logprobs"])),
        finish_reason=row["finish_reason"],
        adapter_version=row["adapter_version"],
        prompt_tokens=row["prompt_tokens"],
        seconds=row["sample_seconds"],
    )
    verdict = Verdict(
        status=Status(row["verdict"]),
        visible_passed=row["visible_passed"],
        visible_total=row["visible_total"],
        hidden_passed=row["hidden_passed"],
        hidden_total=row["hidden_total"],
        first_failure=row["first_failure"],
        feedback=row["feedback"],
        cpu_seconds=row["cpu_seconds"],
    )
    return Rollout(row["attempt"], row["step"], completion, row["program"], verdict, row["judge_seconds"], row["role"])


def _decoded(row: Row) -> Row:
    columns = ("config", "split", "environment", "metrics", "seconds")
    return {name: json.loads(value) if name in columns and value else value for name, value in row.items()}


def _json(value: Mapping[str, Any]) -> str:
    finite = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in value.items()}
    return json.dumps(finite, default=str, sort_keys=True)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turns what a disk or a file can do to us into one sentence."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        text = str(error)
        if "not a database" in text or "malformed" in text:
            raise UserError(f"{path} is not a usable SQLite database ({text}); give another with store.path") from None
        if "readonly" in text or "unable to open" in text:
            raise UserError(
                f"can't write the database {path} ({text}); mend its permissions or set store.path"
            ) from None
        raise InfrastructureError(f"the database {path} failed ({text}); free disk space or set store.path") from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(
            f"can't use {error.filename or path} ({reason}); choose another place with store.path"
        ) from None
