"""`ttsd solve`: one question, one run, one engine."""

from __future__ import annotations

import math
import time
from typing import Protocol

import problems
from problems import Problem
from ttsd.config import Config
from ttsd.record import resume
from ttsd.record.protocol import Answer, Row
from ttsd.record.resume import Job
from ttsd.record.store import Store
from ttsd.running import run
from ttsd.running.engine import load_tokenizer
from ttsd.running.estimate import announcement
from ttsd.running.preview import Preview, looked_at, previewed
from ttsd.running.readings import teaching
from ttsd.running.tasks import Task, Wanted
from ttsd.running.writer import View
from ttsd.sampling.background import beside


class Talk(View, Protocol):
    """A view that can also be talked to before there is anything to show."""

    def say(self, text: str) -> None: ...


async def solve(job: Job, config: Config, *, fresh: bool = False, view: Talk, problem: Problem | None = None) -> Answer:
    """Runs `job` until a discovery or the end of the budget; resumes a run that was stopped, unless `fresh`.

    `problem`: the question itself, where its name is not one that `problems` finds it by.
    """
    problem = problem or problems.load(job.question)
    with run.open_store(config) as store:
        config = config if fresh else resume.as_begun(store, job, config)
        parts = run.divided(problem, config)
        resumed, done = _stands(store, job, config, fresh=fresh)
        if done is not None:
            if resumed is not None:
                store.finish(done, "discovery")
            answer = store.answer(done)
            view.say(f"{ending(answer)}: nothing is left to do; {_further(answer)}")
            return answer
        view.say(f"{problem.title}: {len(parts.visible)} visible and {len(parts.hidden)} hidden cases")
        tokenizer = await beside(load_tokenizer, config)
        teaching(problem, tokenizer, config)
        task = Task(Wanted(job, config), problem, resumed)
        view.say(await announcement([task], config, store, tokenizer))
        view.say(f"loading the model {config.model.path} (sampler: {config.model.sampler})")
        start = time.monotonic()
        async with run.open_session(config, store, tokenizer, learns=job.kind.learns, seed=job.seed) as session:
            view.say(f"ready after {time.monotonic() - start:.0f} s (sandbox: {session.sandbox.tier})")
            answer = await run.execute(session, job, problem, view, resumed)
        view.say(f"{ending(answer)}; `ttsd show {answer.run}`")
        return answer


async def preview(job: Job, config: Config, *, fresh: bool = False, problem: Problem | None = None) -> Preview:
    """What `solve` would begin with."""
    problem = problem or problems.load(job.question)
    run.divided(problem, config)
    with looked_at(config) as store:
        config = config if fresh else resume.as_begun(store, job, config)
        resumed, done = _stands(store, job, config, fresh=fresh)
        if done is not None:
            return Preview()
        tokenizer = await beside(load_tokenizer, config)
        teaching(problem, tokenizer, config)
        return await previewed([Task(Wanted(job, config), problem, resumed)], config, store, tokenizer)


def _stands(store: Store, job: Job, config: Config, *, fresh: bool) -> tuple[Row | None, int | None]:
    """The run of `job` to resume, and the one that is over; both: it made its discovery, and was then stopped."""
    resumed = None if fresh else resume.unfinished(store, job, config)
    if resumed is not None:
        return resumed, resumed["run"] if resume.is_over(resumed, config) else None
    return None, None if fresh else resume.finished(store, job, config)


def ending(answer: Answer) -> str:
    """How a run ended, in a sentence without its stop."""
    if answer.discovered and answer.ended == "discovery":
        return f"discovered at attempt {answer.discovery_attempt}, run {answer.run}"
    found = f"discovered at attempt {answer.discovery_attempt}" if answer.discovered else f"best {shown_best(answer)}"
    spent = "budget" if answer.ended in (None, "attempts") else f"budget.{answer.ended}"
    return f"{spent} spent: {answer.attempts} attempts, {found}, run {answer.run}"


def shown_best(answer: Answer) -> str:
    return f"{math.floor(100 * answer.best):d} % of the visible cases"


def _further(answer: Answer) -> str:
    if answer.discovered:
        return "--fresh starts another run"
    return f"--set budget.{answer.ended or 'attempts'}=N extends it, --fresh starts another run"
