"""`ttsd solve`: one question, one run, one engine."""

from __future__ import annotations

import time
from typing import Protocol

import problems
from ttsd.config import Config
from ttsd.running import run
from ttsd.running.engine import load_tokenizer
from ttsd.running.readings import teaching
from ttsd.running.store import Answer, Store
from ttsd.sampling.loading import beside


class Talk(run.View, Protocol):
    """A view that can also be talked to before there is anything to show."""

    def say(self, text: str) -> None: ...


async def solve(job: run.Job, config: Config, *, fresh: bool = False, view: Talk) -> Answer:
    """Pursues `job` until a discovery or the end of the budget, going on with a run that was broken off."""
    problem = problems.load(job.question)
    parts = run.divided(problem, config)
    with Store(config.store.path, config.store.state_dir) as store:
        begun = None if fresh else run.broken_off(store, job, config)
        if begun is not None and run.is_over(begun, config):
            store.finish(begun["run"], "discovered")
            return store.answer(begun["run"])
        view.say(f"{problem.title}: {len(parts.visible)} visible and {len(parts.hidden)} hidden cases")
        tokenizer = await beside(load_tokenizer, config)
        teaching(problem, tokenizer, config)
        view.say(f"loading the model {config.model.path} (sampler: {config.model.sampler})")
        start = time.monotonic()
        learns = job.method in run.LEARNING
        async with run.open_session(config, store, tokenizer, learns=learns, seed=job.seed) as session:
            view.say(f"ready after {time.monotonic() - start:.0f} s (sandbox: {session.sandbox.tier})")
            return await run.pursue(session, job, problem, view, begun)
