"""Runs on one engine, and one of them in trouble: the others never notice. Real sampler, sandbox and gradient steps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import problems
from problems import micro
from sandbox import Limits, Outcome, Program, SandboxFault
from ttsd.config import Config, load_config
from ttsd.record.run import Run
from ttsd.record.store import Answer, Store
from ttsd.reporting.board import QuietView
from ttsd.running import run as running
from ttsd.running.batch import Failure, to_its_end
from ttsd.running.engine import load_tokenizer

BUDGET, GROUP = 8, 4


class Trouble(RuntimeError):
    """What goes wrong here."""


class TroubledTrainer:
    """A trainer whose steps fail for the question `name`."""

    def __init__(self, trainer: Any, name: str) -> None:
        self._trainer, self._name = trainer, name

    def step(self, name: str, *rest: object, **named: object) -> dict[str, float]:
        if name == self._name:
            raise Trouble("no step")
        return self._trainer.step(name, *rest, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trainer, name)


class TroubledSandbox:
    """A sandbox that fails its third program."""

    def __init__(self, sandbox: Any) -> None:
        self._sandbox, self._programs = sandbox, 0

    async def run(self, program: Program, inputs: Iterable[bytes], limits: Limits) -> AsyncGenerator[Outcome]:
        self._programs += 1
        if self._programs == 3:
            raise SandboxFault("no sandbox")
        async for outcome in self._sandbox.run(program, inputs, limits):
            yield outcome

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sandbox, name)


def settings(folder: Path) -> Config:
    wanted = ["model.sampler=transformers", f"sampling.group_size={GROUP}", f"budget.attempts={BUDGET}"]
    return load_config(
        None, [*wanted, "method=sdpo", "budget.continue_after_discovery=true", f"store.path={folder}/ttsd.sqlite"]
    )


@asynccontextmanager
async def session_of(config: Config) -> AsyncGenerator[running.Session, None]:
    with Store(config.store.path) as store:
        async with running.open_session(config, store, load_tokenizer(config), learns=True, runs_at_once=3) as session:
            yield session


def store_of(session: running.Session) -> Store:
    assert isinstance(session.database, Store)
    return session.database


def started(session: running.Session, seed: int) -> asyncio.Task[Answer | Failure]:
    config = settings(store_of(session).path.parent)
    run = Run(problems.load(micro.subset("micro-hard")[0]), config, seed)
    row = store_of(session).newest(run)
    return asyncio.create_task(to_its_end(session, run, row["run"] if row else None, lambda _: QuietView()))


def check(session: running.Session, answer: Answer | Failure) -> None:
    """It ran to its end, with every number once."""
    assert isinstance(answer, Answer), answer
    numbers = [attempt.number for attempt in store_of(session).attempts(answer.run)]
    assert numbers == list(range(1, BUDGET + 1))
    assert answer.steps == BUDGET // GROUP


def check_costs(session: running.Session, answer: Answer | Failure) -> None:
    """Every step says what it spent; equal programs are judged once, so only a step with a new one judges."""
    check(session, answer)
    assert isinstance(answer, Answer)
    attempts, judged = store_of(session).attempts(answer.run), {None}
    for step in store_of(session).steps(answer.run):
        programs = {attempt.program for attempt in attempts if attempt.step == step["step"]}
        judging = {"judge", "wait_judge"} if programs - judged else set()
        judged |= programs
        assert {"group", "step", "sample"} | judging <= set(step["seconds"])
        assert not step["metrics"]["updated"] or {"train", "swap", "wait_train"} <= set(step["seconds"])


@pytest.fixture
async def session(tmp_path: Path) -> AsyncGenerator[running.Session, None]:
    async with session_of(settings(tmp_path)) as session:
        yield session


@pytest.mark.slow
async def test_a_judge_that_fails_ends_its_own_run_which_then_goes_on(session: running.Session) -> None:
    troubled = replace(session, sandbox=TroubledSandbox(session.sandbox))
    failed, *others = await asyncio.gather(*(started(*which) for which in ((troubled, 0), (session, 1), (session, 2))))
    assert isinstance(failed, Failure)
    assert "no sandbox" in failed.error
    for other in others:
        check_costs(session, other)
    check(session, await started(session, 0))


@pytest.mark.slow
async def test_a_step_that_fails_ends_its_own_run_which_then_goes_on(session: running.Session) -> None:
    trainer = session.engine.trainer
    session.engine.trainer = TroubledTrainer(trainer, "run-1")
    failed, *others = await asyncio.gather(*(started(session, seed) for seed in range(3)))
    assert isinstance(failed, Failure)
    assert "no step" in failed.error
    for other in others:
        check_costs(session, other)
    session.engine.trainer = trainer
    check(session, await started(session, 0))


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.05, 0.3, 0.8])
async def test_an_interrupted_run_leaves_its_neighbours_and_the_engine_alone(
    session: running.Session, seconds: float
) -> None:
    victim, *others = [started(session, seed) for seed in range(3)]
    await asyncio.sleep(seconds)
    victim.cancel()
    await asyncio.gather(victim, return_exceptions=True)
    for other in others:
        check_costs(session, await other)
    check(session, await started(session, 0))
    assert not session.engine.sampler._resident
