"""What `ttsd show` answers on stdout: the JSON of what was asked for, or the text with its table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from ttsd.errors import UserError
from ttsd.nouns import Attempt, Prompt
from ttsd.record.store import Row, Store
from ttsd.reporting.attempt import (
    attempt_of,
    attempt_rows,
    attempt_view,
    check_model,
    in_words,
    run_row,
    run_rows,
    step_view,
)
from ttsd.reporting.live import print_table
from ttsd.reporting.report.attempt_page import attempt_page
from ttsd.reporting.show import attempt_text, difference_text, run_text, step_text
from ttsd.reporting.token_scores import token_rows, tokens_of
from ttsd.terminal import json_text

# Columns that a narrow terminal goes without.
RUN_LESS = ("model", "label", "steps", "started", "seed", "budget", "best", "attempts", "method")
ATTEMPT_LESS = ("tokens", "step", "hidden")


def show_runs(store: Store, wanted: Mapping[str, str | None], limit: int | None, as_json: bool) -> None:
    """Prints the newest `limit` runs (None: all) in whose columns the texts of `wanted` occur."""
    rows = [row for row in run_rows(store) if all((text or "") in row[name] for name, text in wanted.items())]
    rows = rows[-limit:] if limit is not None else rows
    if as_json:
        print(json_text([_run(store, row["run"]) for row in rows]))
    else:
        print_table(rows, less=RUN_LESS)


def show_run(store: Store, run: int, limit: int | None, as_json: bool) -> None:
    """Prints a run and its last `limit` attempts (None, and in JSON: all)."""
    row, attempts = run_row(store, run), attempt_rows(store, run)
    if as_json:
        print(json_text(_run(store, run) | {"settings": row["config"], "attempt_rows": attempts}))
    else:
        print(run_text(row, tuple(store.steps(run))))
        print_table(in_words(attempts[-limit if limit is not None else 0 :]), less=ATTEMPT_LESS)


def show_step(store: Store, run: int, step: int, as_json: bool) -> None:
    """Prints a step: its numbers and its attempts."""
    view = step_view(store, run, step)
    if as_json:
        own: Row = next((row for row in view.steps if row["step"] == step), {})
        facts = {name: own.get(name) for name in ("loss", "adapter_version", "metrics", "seconds")}
        print(json_text({"run": run, "step": step, "finished": bool(own), **facts, "attempts": view.attempts}))
    else:
        print(step_text(view))
        print_table(in_words(view.attempts), less=ATTEMPT_LESS)


def show_difference(store: Store, run: int, pair: tuple[int, int], as_json: bool) -> None:
    """Prints what changed from one attempt to another."""
    before, after = (attempt_of(store, run, number) for number in pair)
    text = difference_text(before, after)
    if as_json:
        text = json_text({"before": _attempt(before), "after": _attempt(after), "difference": text})
    print(text)


def show_attempt(
    store: Store, run: int, number: int, model: str, tokens: bool, page: Path | None, as_json: bool
) -> None:
    """Prints an attempt, with `tokens` one by one, or writes it as a page with its tokens in colour.

    `model`: what the user calls the run's model.
    """
    if tokens or page is not None:
        check_model(store, run, model)
    if page is not None:
        text = attempt_page(attempt_view(store, run, number), tokens_of(store, run, number))
        try:
            page.write_text(text, "utf-8")
        except OSError as error:
            raise UserError(f"can't write the page {page} ({error.strerror}); give --html another file") from None
        print(page)
        return
    view = attempt_view(store, run, number)
    scored = tokens_of(store, run, number) if tokens else []
    if as_json:
        teacher = view.example.teacher if view.example else None
        facts = {
            "prompt": _prompt(view.attempt.prompt),
            "teacher_prompt": None if teacher is None else _prompt(teacher),
            "reward": view.example.reward if view.example else None,
            "tokens": [asdict(token) for token in scored],
        }
        print(json_text({"run": run, **_attempt(view.attempt), **facts}))
        return
    print(attempt_text(view))
    if tokens:
        print()
        print_table(token_rows(scored))


def _run(store: Store, run: int) -> Row:
    row = run_row(store, run)
    return asdict(store.answer(run)) | {"status": row["status"], "model": row["model"], "started": row["created"]}


def _attempt(attempt: Attempt) -> Row:
    completion = attempt.completion
    return {
        "attempt": attempt.number,
        "step": attempt.step,
        "adapter_version": completion.adapter_version,
        "completion": completion.text,
        "completion_tokens": completion.tokens,
        "finish_reason": completion.finish_reason,
        "hint": attempt.hint and attempt.hint.text,
        "program": attempt.program,
        "verdict": asdict(attempt.verdict) | {"visible_fraction": attempt.verdict.visible_fraction},
    }


def _prompt(prompt: Prompt) -> Row:
    return {"text": prompt.text, "tokens": len(prompt.token_ids), "row": prompt.row, "shows": prompt.shows}
