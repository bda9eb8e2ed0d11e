"""Databases with a known truth: runs whose discovery times are sampled from given hazards. Made through `Store`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tests.records import problem, run_of
from ttsd.config import load_config
from ttsd.nouns import Attempt, Completion, Prompt, Status, Step, Verdict
from ttsd.record.run import Run
from ttsd.record.store import Store

Hazards = Mapping[str, Mapping[str, float]]  # question -> method -> chance of each attempt

RIGHT = (
    "def solve(n):\n    return sum(d for d in range(1, n) if n % d == 0)  # <script>\n\nprint(solve(int(input())))\n"
)


READ = Prompt((7,) * 100, "what was read")


@dataclass(frozen=True)
class World:
    """How runs look. `keep_all`: a discovery ends no run of best-of-k, so its attempts can be pooled."""

    seeds: int = 3
    budget: int = 64
    group_size: int = 8
    keep_all: bool = True
    model: str = "model"


def populate(store: Store, hazards: Hazards, world: World = World(), seed: int = 0) -> None:
    """One run for every question, method and seed, with attempts, steps, metrics and timings."""
    rng = np.random.default_rng(seed)
    for question, methods in hazards.items():
        for method, hazard in methods.items():
            for number in range(world.seeds):
                _run(store, question, method, number, hazard, world, rng)


def _run(
    store: Store, question: str, method: str, seed: int, hazard: float, world: World, rng: np.random.Generator
) -> None:
    on = world.keep_all and method == "best-of-k"
    settings = [f"method={method}", f"model.path={world.model}", f"sampling.group_size={world.group_size}"]
    settings += [f"budget.attempts={world.budget}", f"budget.continue_after_discovery={str(on).lower()}"]
    made = Run(problem(question), load_config(None, settings), seed)
    run = store.new_run(made, {"device": "synthetic", "torch": "0"})
    size = 1 if method == "multi-turn" else world.group_size
    hits = set((1 + np.flatnonzero(rng.random(world.budget) < hazard)).tolist())
    for number, first in enumerate(range(1, world.budget + 1, size), 1):
        wanted = range(first, min(first + size, world.budget + 1))
        hit = next((attempt for attempt in wanted if attempt in hits), None)
        attempts = tuple(
            _aborted(attempt, number) if hit and attempt > hit and not on else _attempt(attempt, number, hits, rng)
            for attempt in wanted
        )
        for one in attempts:
            store.add_attempt(run, one)
        learns = method in ("sdpo", "grpo")
        metrics = _metrics(number) if learns else {}
        store.add_step(run, Step(number, attempts, number, (), metrics, _seconds(learns)), None, {})
        if hit and not on:
            break
    store.finish(run, "discovery" if hits else "attempts")


def _attempt(number: int, step: int, hits: set[int], rng: np.random.Generator) -> Attempt:
    length = int(rng.integers(20, 60))
    completion = Completion(tuple(range(length)), f"```python\n{RIGHT}```", (-0.5,) * length, "stop", step, 0.5)
    if number in hits:
        return Attempt(number, step, step, READ, completion, RIGHT, Verdict(Status.ACCEPTED, 3, 3, 1, 1), 0.1)
    passed = int(rng.integers(0, 3)) if rng.random() > 0.02 else 3
    feedback = f"Wrong Answer\nInput:\n{number % 5} <b>\nOutput:\n0\nExpected:\n1"
    verdict = Verdict(Status.WRONG_ANSWER, passed, 3, 0, 1, first_failure=passed, feedback=feedback, cpu_seconds=0.01)
    return Attempt(number, step, step, READ, completion, f"print({number % 7})", verdict, 0.1)


def _aborted(number: int, step: int) -> Attempt:
    completion = Completion((), "", (), "abort", step)
    return Attempt(number, step, step, READ, completion, None, Verdict(Status.ABORTED, 0, 0, 0, 0))


def _metrics(step: int) -> dict[str, float]:
    return {
        "loss": 0.3 / math.sqrt(step),
        "entropy": 0.5 / step**0.2,
        "kl/base": 0.001 * step,
        "kl/teacher": 0.2 / step**0.5,
        "grad_norm": 1.0 + 1 / step,
        "updated": 1.0,
        "logprob_gap/mean": 0.01,
    }


def _seconds(learns: bool) -> dict[str, float]:
    return {"group": 4.0, "step": 2.0 if learns else 0.0}


MILLION = """
insert into attempts (run, attempt, step, round, visible_fraction, adapter_version, verdict, discovered,
    visible_passed, visible_total,
    hidden_passed, hidden_total, feedback, program, program_hash, completion, token_ids, logprobs, finish_reason,
    prompt_tokens, completion_tokens, sample_seconds, judge_seconds, cpu_seconds, created)
with recursive n(i) as (select 1 union all select i + 1 from n where i < ?)
select run, i, (i + 15) / 16, (i + 15) / 16, 0.5, 0, 'wrong_answer', 0,
    abs(random() % 3), 3, 0, 1, 'Wrong Answer', 'print(1)',
    abs(random() % 1000), ?, ?, ?, 'stop', 100, 400, 5.0, 0.1, 0.1, '' from runs, n where run = ?
"""


def populate_much(store: Store, questions: int, seeds: int, attempts: int, characters: int = 400) -> None:
    """Runs of three methods with `attempts` undiscovered attempts each, written by SQL: for measuring size and time."""
    text, blob = "x" * characters, bytes(characters)
    for question in range(questions):
        for method in ("sdpo", "multi-turn", "best-of-k"):
            for seed in range(seeds):
                run = store.new_run(run_of(f"q{question}", method, seed), {})
                with store._db.atomic():
                    store._db.execute(MILLION, [attempts, text, blob, blob, run])
                    store._db.execute(
                        """insert into steps (run, step, first_attempt, attempts, loss, metrics, seconds, created)
                        select run, step, min(attempt), count(*), 0.2, ?, '{"group": 4.0, "step": 1.0}', ''
                        from attempts where run = ? group by step""",
                        ['{"loss": 0.2, "entropy": 0.5, "grad_norm": 1.0}' if method == "sdpo" else "{}", run],
                    )
    with store._db.atomic():
        store._db.execute(
            "update attempts set discovered = 1, verdict = 'accepted' where (run * 7919 + attempt * 104729) % 40009 = 0"
        )
