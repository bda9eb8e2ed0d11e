"""Attempts and runs to put into a run database."""

from __future__ import annotations

from dataclasses import replace

from tests.fakes import QUESTION
from ttsd.config import Config, load_config
from ttsd.nouns import Attempt, Completion, Problem, Prompt, Status, Verdict
from ttsd.record.run import Run
from ttsd.record.store import Store


def attempt(number: int, step: int = 1, verdict: Verdict | None = None, prompt: Prompt | None = None) -> Attempt:
    completion = Completion((1, 2, 3), "text \N{SNOWMAN}", (-0.5, -0.25, -1.0), "stop", 4, 0.5)
    read = prompt or Prompt((7,) * 17, "what was read \N{SNOWMAN}", "feedback", (1, 2))
    return Attempt(number, step, step, read, completion, "print(1)", verdict or failed(), 0.125)


def failed() -> Verdict:
    return Verdict(Status.WRONG_ANSWER, 1, 2, 0, 3, first_failure=1, feedback="no", cpu_seconds=0.01)


def passed() -> Verdict:
    return Verdict(Status.ACCEPTED, 2, 2, 3, 3)


def problem(name: str) -> Problem:
    return replace(QUESTION, name=name)


def run_of(question: str = "micro:x", method: str = "sdpo", seed: int = 3, config: Config | None = None) -> Run:
    """A run of a question of that name, which need not exist."""
    settings = config or load_config("micro")
    return Run(problem(question), settings.model_copy(update={"method": method}), seed)


def begin(store: Store, question: str = "micro:x", method: str = "sdpo", seed: int = 3) -> int:
    return store.new_run(run_of(question, method, seed), {})
