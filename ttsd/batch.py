"""`ttsd batch`: methods x seeds x questions on one engine, many at once, resumable.

Every run is its own loop on the shared session: while one takes its gradient step, others sample and judge. The
trainer's thread serves them in the order they ask, so none is starved. A run that fails takes no other with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import problems
from problems.problem import Problem
from ttsd import run
from ttsd.config import Config, Method
from ttsd.engine import load_tokenizer
from ttsd.store import Answer, Row, Store


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that ended with a fault; the next `ttsd batch` goes on with it."""

    job: run.Job
    error: str


@dataclass(frozen=True, slots=True)
class Task:
    """A job with its question loaded, its settings, and the run it goes on with."""

    job: run.Job
    problem: Problem
    config: Config
    begun: Row | None


class Overview(Protocol):
    """Whoever watches many runs."""

    def say(self, text: str) -> None: ...

    def view(self, job: run.Job) -> run.View:
        """A place for one run, which is about to begin."""

    def end(self, job: run.Job, answer: Answer | Failure) -> None: ...


def jobs(questions: Sequence[str], methods: Sequence[Method], seeds: int) -> list[run.Job]:
    """All jobs, seed by seed, so that an interrupted batch has seen every question."""
    return [run.Job(question, method, seed) for seed in range(seeds) for question in questions for method in methods]


async def batch(
    wanted: Sequence[run.Job], config: Config, *, runs_at_once: int, overview: Overview
) -> list[Answer | Failure]:
    """Brings every wanted job to its end, `runs_at_once` at a time; finished ones are not repeated."""
    with Store(config.store.path, config.store.state_dir) as store:
        done, tasks = _sorted_out(wanted, config, store)
        overview.say(f"{len(tasks)} runs to do, {len(done)} done before")
        results: list[Answer | Failure] = [store.answer(number) for number in done]
        if tasks:
            tokenizer = load_tokenizer(config)
            for task in tasks:
                run.teaching(task.problem, tokenizer, config)
            learns = any(task.job.method in run.LEARNING for task in tasks)
            at_once = min(runs_at_once, len(tasks))
            async with run.open_session(config, store, tokenizer, learns=learns, runs_at_once=at_once) as session:
                overview.say(f"ready (sandbox: {session.sandbox.tier}); {at_once} runs at once")
                results += await _all(session, tasks, at_once, overview)
        return results


def _sorted_out(wanted: Sequence[run.Job], config: Config, store: Store) -> tuple[list[int], list[Task]]:
    """Runs that are finished, and what is left to do."""
    loaded = {job.question: problems.load(job.question) for job in wanted}
    done, tasks = [], []
    for job in wanted:
        own = _measured(config) if job.method == "best-of-k" else config
        finished = run.finished(store, job, own)
        if finished is not None:
            done.append(finished)
        else:
            tasks.append(Task(job, loaded[job.question], own, run.broken_off(store, job, own)))
    return done, tasks


def _measured(config: Config) -> Config:
    """best-of-k spends its whole budget: only then can its samples be pooled into an unbiased pass@k."""
    return config.model_copy(update={"budget": config.budget.model_copy(update={"continue_after_discovery": True})})


async def _all(session: run.Session, tasks: Sequence[Task], at_once: int, overview: Overview) -> list[Answer | Failure]:
    places = asyncio.Semaphore(at_once)

    async def one(task: Task) -> Answer | Failure:
        async with places:
            result = await _one(session, task, overview.view)
            overview.end(task.job, result)
            return result

    running = [asyncio.create_task(one(task)) for task in tasks]
    try:
        return list(await asyncio.gather(*running))
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _one(session: run.Session, task: Task, view: Callable[[run.Job], run.View]) -> Answer | Failure:
    try:
        own = replace(session, config=task.config)
        return await run.pursue(own, task.job, task.problem, view(task.job), task.begun)
    except Exception as error:  # a fault of one run must not end its neighbours; a dead engine ends them all
        await session.engine.sampler.health()
        return Failure(task.job, f"{type(error).__name__}: {error}")
