"""What `ttsd show --json` answers: the same facts as the text, as values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ttsd.nouns import Attempt, Prompt
from ttsd.record.store import Row, Store
from ttsd.reporting.attempt import AttemptView, StepView, attempt_rows, run_row
from ttsd.reporting.token_scores import Token


def run_json(store: Store, run: int) -> Row:
    """Returns what stands in the table of runs about one run, with its program."""
    row = run_row(store, run)
    return asdict(store.answer(run)) | {"status": row["status"], "model": row["model"], "started": row["created"]}


def whole_run_json(store: Store, run: int) -> Row:
    """Returns `run_json` with the run's settings and one row an attempt. UserError: there is no such run."""
    rows = {"settings": run_row(store, run)["config"], "attempt_rows": attempt_rows(store, run)}
    return run_json(store, run) | rows


def attempt_json(view: AttemptView, tokens: Sequence[Token] = ()) -> Row:
    """Returns one attempt: its prompt, answer, verdict, the self-teacher's prompt, and `tokens` with their scores."""
    teacher = view.example.teacher if view.example else None
    return {
        "run": view.run["run"],
        **_attempt(view.attempt),
        "prompt": _prompt(view.attempt.prompt),
        "teacher_prompt": None if teacher is None else _prompt(teacher),
        "reward": view.example.reward if view.example else None,
        "tokens": [asdict(token) for token in tokens],
    }


def step_json(view: StepView) -> Row:
    """Returns one step: its metrics, the seconds of each phase, and one row an attempt."""
    own: Row = next((row for row in view.steps if row["step"] == view.step), {})
    facts = {name: own.get(name) for name in ("loss", "adapter_version", "metrics", "seconds")}
    return {"run": view.run["run"], "step": view.step, "finished": bool(own), **facts, "attempts": view.attempts}


def difference_json(before: Attempt, after: Attempt, text: str) -> Row:
    """Returns two attempts and what changed from one to the other."""
    return {"before": _attempt(before), "after": _attempt(after), "difference": text}


def _attempt(attempt: Attempt) -> dict[str, Any]:
    completion = attempt.completion
    return {
        "attempt": attempt.number,
        "step": attempt.step,
        "adapter_version": completion.adapter_version,
        "completion": completion.text,
        "completion_tokens": len(completion.token_ids),
        "finish_reason": completion.finish_reason,
        "program": attempt.program,
        "verdict": asdict(attempt.verdict) | {"visible_fraction": attempt.verdict.visible_fraction},
    }


def _prompt(prompt: Prompt) -> Row:
    return {"text": prompt.text, "tokens": len(prompt.token_ids), "row": prompt.row, "shows": prompt.shows}
