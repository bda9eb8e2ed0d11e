"""Nouns to the database's rows and back."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import zlib
from array import array
from collections.abc import Mapping
from typing import Any

from ttsd.errors import UserError
from ttsd.nouns import Attempt, Charge, Completion, Example, Hint, Prompt, Status, TokenAdvantages, Verdict

Row = dict[str, Any]

CHARGED = ("prompt_tokens", "completion_tokens", "dollars")
MAX_PROMPT_BYTES = 64 << 20


def prompt_row(prompt: Prompt) -> Row:
    """Returns a prompt's row; its name is a hash of the rest."""
    return {
        "prompt": prompt.hash,
        "row": prompt.row,
        "shows": json.dumps(prompt.shows),
        "tokens": len(prompt.token_ids),
        "text": zlib.compress(prompt.text.encode("utf-8", "surrogatepass")),
        "token_ids": zlib.compress(array("i", prompt.token_ids).tobytes()),
    }


def prompt_of(row: Row) -> Prompt:
    """Returns the prompt of a row."""
    return Prompt(
        token_ids=tuple(array("i", _unpacked(row["token_ids"]))),
        text=_unpacked(row["text"]).decode("utf-8", "surrogatepass"),
        row=row["row"],
        shows=tuple(json.loads(row["shows"])),
    )


def attempt_row(attempt: Attempt) -> Row:
    """Returns an attempt's row, without its run's number."""
    completion, verdict, program = attempt.completion, attempt.verdict, attempt.program
    logprobs, charge, hint = completion.logprobs, completion.charge, attempt.hint
    digest = None if program is None else hashlib.sha256(program.encode("utf-8", "replace")).hexdigest()[:16]
    return {
        "attempt": attempt.number,
        "step": attempt.step,
        "round": attempt.round,
        "prompt": attempt.prompt.hash,
        "adapter_version": completion.adapter_version,
        "verdict": verdict.status.value,
        "discovered": int(verdict.accepted),
        "visible_passed": verdict.visible_passed,
        "visible_total": verdict.visible_total,
        "hidden_passed": verdict.hidden_passed,
        "hidden_total": verdict.hidden_total,
        "visible_fraction": verdict.visible_fraction if attempt.answered else None,
        "score": verdict.score,
        "first_failure": verdict.first_failure,
        "feedback": verdict.feedback,
        "program": program,
        "program_hash": digest,
        "completion": completion.text,
        "token_ids": array("i", completion.token_ids).tobytes(),
        "logprobs": array("d", logprobs).tobytes(),
        "finish_reason": completion.finish_reason,
        "prompt_tokens": attempt.prompt_tokens,
        "completion_tokens": completion.tokens,
        "mean_logprob": sum(logprobs) / len(logprobs) if logprobs else None,
        "min_logprob": min(logprobs, default=None),
        "sample_seconds": completion.seconds,
        "judge_seconds": attempt.judge_seconds,
        "cpu_seconds": verdict.cpu_seconds,
        "created": now(),
        "dollars": None if charge is None else charge.dollars,
        "hint": None if hint is None else hint.text,
        "hint_tokens": None if hint is None else hint.tokens,
        "hint_dollars": None if hint is None else hint.dollars,
    }


def _unpacked(packed: bytes) -> bytes:
    """Returns what was packed. UserError: it is longer than any prompt, in a database that ttsd did not write."""
    unpacker = zlib.decompressobj()
    found = unpacker.decompress(packed, MAX_PROMPT_BYTES)
    if not unpacker.eof:
        raise UserError("the database holds a prompt that is too long to read; give another with store.path")
    return found


def attempt_of(row: Row, prompt: Prompt) -> Attempt:
    """Returns the attempt of a row, with the prompt that it answered."""
    completion = Completion(
        token_ids=tuple(array("i", row["token_ids"])),
        text=row["completion"],
        logprobs=tuple(array("d", row["logprobs"])),
        finish_reason=row["finish_reason"],
        adapter_version=row["adapter_version"],
        seconds=row["sample_seconds"],
        charge=None if row["dollars"] is None else Charge(*(row[name] for name in CHARGED)),
    )
    hint = None if row["hint"] is None else Hint(row["hint"], row["hint_tokens"], row["hint_dollars"])
    verdict = Verdict(
        status=Status(row["verdict"]),
        visible_passed=row["visible_passed"],
        visible_total=row["visible_total"],
        hidden_passed=row["hidden_passed"],
        hidden_total=row["hidden_total"],
        first_failure=row["first_failure"],
        feedback=row["feedback"],
        cpu_seconds=row["cpu_seconds"],
        score=row["score"],
    )
    return Attempt(
        row["attempt"],
        row["step"],
        row["round"],
        prompt,
        completion,
        row["program"],
        verdict,
        row["judge_seconds"],
        hint,
    )


def example_row(run: int, example: Example, advantages: TokenAdvantages) -> Row:
    """Returns the row of what a step learned from one attempt."""
    tokens = advantages.get(example.attempt)
    return {
        "run": run,
        "attempt": example.attempt,
        "teacher_prompt": None if example.teacher is None else example.teacher.hash,
        "reward": example.reward,
        "token_advantages": None if tokens is None else array("f", tokens).tobytes(),
    }


def example_of(row: Row, attempt: Attempt, teacher: Prompt | None) -> Example:
    """Returns the example that a step learned from `attempt`."""
    completion = attempt.completion
    return Example(
        attempt.number, attempt.prompt.token_ids, completion.token_ids, completion.logprobs, teacher, row["reward"]
    )


def advantages_of(row: Row) -> tuple[float, ...] | None:
    """Returns the token advantages of an example's row, in nats; None where nothing was distilled."""
    stored = row["token_advantages"]
    return None if stored is None else tuple(array("f", stored))


def decoded(row: Row) -> Row:
    """Returns a row with its JSON columns decoded."""
    columns = ("config", "split", "environment", "metrics", "seconds")
    return {name: json.loads(value) if name in columns and value else value for name, value in row.items()}


def as_json(value: Mapping[str, Any]) -> str:
    """Returns JSON in which numbers that are not finite are null."""
    finite = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in value.items()}
    return json.dumps(finite, default=str, sort_keys=True)


def now() -> str:
    """Returns the time in UTC, to the millisecond."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
