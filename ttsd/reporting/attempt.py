"""One attempt or one step of the run database: what was read, answered, judged and learned. Values; no printing."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from ttsd.config import BUNDLED_MODEL, recorded_config
from ttsd.errors import UserError
from ttsd.nouns import Attempt, Example
from ttsd.record.store import Row, Store

FEEDBACK = 120  # characters of feedback in a table
_CURVE = 3  # steps on either side whose loss is shown


@dataclass(frozen=True, slots=True)
class AttemptView:
    """Everything about one attempt; `example` is what a step learned from it (None: nothing yet)."""

    run: Row
    attempt: Attempt
    example: Example | None
    steps: tuple[Row, ...]  # this step's row and those around it


@dataclass(frozen=True, slots=True)
class StepView:
    """One step: its row, the rows around it, and its attempts in a line each."""

    run: Row
    step: int
    steps: tuple[Row, ...]
    attempts: tuple[Row, ...]


def attempt_view(store: Store, run: int, attempt: int) -> AttemptView:
    """Reads one attempt. UserError: no such run, or no such attempt in it."""
    found, learned = attempt_of(store, run, attempt), store.example(run, attempt)
    return AttemptView(run_row(store, run), found, learned[0] if learned else None, _around(store, run, found.step))


def step_view(store: Store, run: int, step: int) -> StepView:
    """Reads one step. UserError: no such run, or no attempt of that step in it."""
    attempts = tuple(one for one in attempt_rows(store, run) if one["step"] == step)
    if not attempts:
        raise UserError(f"run {run} has no step {step}; `ttsd show {run}` lists its attempts with their steps")
    return StepView(run_row(store, run), step, _around(store, run, step), attempts)


def attempt_of(store: Store, run: int, attempt: int) -> Attempt:
    """Reads one attempt. UserError where the run has no such attempt."""
    found = store.attempts(run, first=attempt, last=attempt)
    if not found:
        store.run(run)
        raise UserError(f"run {run} has no attempt {attempt}; `ttsd show {run}` lists those it has")
    return found[0]


def run_row(store: Store, run: int) -> Row:
    """Returns one run's row; its status says whether it is running or interrupted, and what ended it."""
    row = store.run(run)
    return row | {"status": store.state(row)}


def check_model(store: Store, run: int, given: str | None) -> None:
    """Checks that the user names the model of a run. UserError: only the database names it, and it would be loaded."""
    recorded = recorded_config(store.run(run)["config"]).model
    if recorded.local and recorded.path not in (given, BUNDLED_MODEL):
        raise UserError(
            f"run {run} needs the model {recorded.path!r}, which only the database names; to load it, add "
            f"-m {shlex.quote(recorded.path)}"
        )


def run_rows(store: Store) -> list[Row]:
    """Returns one row a run, for a table. A run that is neither finished nor held by a process is interrupted."""
    counts = store.query(
        """select r.run, (select count(*) from attempts where run = r.run),
        (select count(*) from steps where run = r.run),
        (select round(max(visible_fraction), 3) from attempts where run = r.run) from runs r"""
    )
    numbers = {run: (attempts, steps, best) for run, attempts, steps, best in counts}
    rows, runs = [], store.runs()
    labelled = any(row["label"] for row in runs)
    for row in runs:
        attempts, steps, best = numbers[row["run"]]
        rows.append(
            {
                "run": row["run"],
                "question": row["question"],
                "method": row["method"],
                "seed": row["seed"],
                **({"label": row["label"]} if labelled else {}),
                "status": store.state(row),
                "discovery": row["discovery_attempt"],
                "attempts": attempts,
                "budget": row["config"]["budget"]["attempts"],
                "steps": steps,
                "best": best,
                "model": row["model"],
                "started": row["created"][:16].replace("T", " "),
            }
        )
    return rows


def attempt_rows(store: Store, run: int) -> list[Row]:
    """Returns one row an attempt, for a table. UserError where there is no such run.

    `parent`: the one attempt that its prompt shows, in runs where no prompt shows several.
    """
    store.run(run)
    scored = store.query("select 1 from attempts where run = ? and score is not null limit 1", [run])
    score = ", score" if scored else ""
    shows = "select max(json_array_length(shows)) from attempts join prompts using (prompt) where run = ?"
    parent = ", json_extract(shows, '$[0]') as parent" if store.query(shows, [run]) == [(1,)] else ""
    sql = f"""select attempt, step{parent}, verdict, visible_passed || '/' || visible_total as visible,
        hidden_passed || '/' || hidden_total as hidden{score}, completion_tokens as tokens,
        replace(substr(feedback, 1, {FEEDBACK}), char(10), ' ') || iif(length(feedback) > {FEEDBACK}, '…', '')
        as feedback from attempts left join prompts using (prompt) where run = ? order by attempt"""
    return store.rows(sql, [run])


def in_words(rows: Iterable[Row]) -> list[Row]:
    """Returns attempts for a reader: the verdict in words, and which is the discovery."""
    return [row | {"verdict": row["verdict"].replace("accepted", "discovery").replace("_", " ")} for row in rows]


def _around(store: Store, run: int, step: int) -> tuple[Row, ...]:
    return tuple(row for row in store.steps(run) if abs(row["step"] - step) <= _CURVE)
