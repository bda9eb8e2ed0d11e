"""Nouns to the database's rows and back."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
from array import array
from collections.abc import Mapping
from typing import Any

from ttsd.nouns import Attempt, Completion, Gains, Status, Step, Verdict
from ttsd.record.protocol import Row


def attempt_row(rollout: Attempt) -> Row:
    completion, verdict = rollout.completion, rollout.verdict
    logprobs = completion.logprobs
    return {
        "attempt": rollout.attempt,
        "step": rollout.step,
        "round": rollout.round,
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
        "score": verdict.score,
        "created": now(),
    }


def gain_rows(run: int, step: Step, gains: Gains) -> list[Row]:
    """Of the step's attempts alone: where nothing was learnt, the learner still holds those of an earlier step."""
    numbers = [rollout.attempt for rollout in step.rollouts if rollout.attempt in gains]
    return [{"run": run, "attempt": number, "gains": array("f", gains[number]).tobytes()} for number in numbers]


def gains_of(stored: bytes) -> tuple[float, ...]:
    return tuple(array("f", stored))


def rollout_of(row: Row) -> Attempt:
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
        score=row["score"],
    )
    return Attempt(
        attempt=row["attempt"],
        step=row["step"],
        completion=completion,
        program=row["program"],
        verdict=verdict,
        judge_seconds=row["judge_seconds"],
        role=row["role"],
        round=row["round"],
    )


def decoded(row: Row) -> Row:
    columns = ("config", "split", "environment", "metrics", "seconds")
    return {name: json.loads(value) if name in columns and value else value for name, value in row.items()}


def as_json(value: Mapping[str, Any]) -> str:
    finite = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in value.items()}
    return json.dumps(finite, default=str, sort_keys=True)


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
