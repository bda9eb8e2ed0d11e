"""Rollouts and runs to put into a record."""

from __future__ import annotations

from ttsd.nouns import Attempt, Completion, Status, Verdict
from ttsd.record.store import Store


def rollout(attempt: int, step: int = 1, verdict: Verdict | None = None) -> Attempt:
    completion = Completion((1, 2, 3), "text \N{SNOWMAN}", (-0.5, -0.25, -1.0), "stop", 4, 17, 0.5)
    return Attempt(attempt, step, completion, "print(1)", verdict or failed(), 0.125)


def failed() -> Verdict:
    return Verdict(Status.WRONG_ANSWER, 1, 2, 0, 3, first_failure=1, feedback="no", cpu_seconds=0.01)


def passed() -> Verdict:
    return Verdict(Status.ACCEPTED, 2, 2, 3, 3)


def begin(store: Store) -> int:
    return store.new_run(
        question="micro:x", method="sdpo", seed=3, model="m", config={"a": {"b": 1}}, split={}, environment={}
    )
