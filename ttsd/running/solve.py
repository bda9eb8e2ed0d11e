"""`ttsd solve`: one run on one engine."""

from __future__ import annotations

import math
import time
from typing import Protocol

from ttsd.judging.sandbox_settings import check_limits
from ttsd.prompts import PromptWriter
from ttsd.record.protocol import Answer
from ttsd.record.run import Run, changed_settings
from ttsd.running import run as running
from ttsd.running.engine import load_tokenizer
from ttsd.running.estimate import announcement
from ttsd.running.writer import View
from ttsd.sampling.background import in_thread


class Talk(View, Protocol):
    """A view that can also be written to before there is anything to show."""

    def say(self, text: str) -> None: ...


async def solve(run: Run, *, fresh: bool = False, view: Talk) -> Answer:
    """Brings `run` to a discovery or the end of its budget; resumes it where it was stopped, unless `fresh`."""
    config, parts = run.config, run.split
    check_limits(run.problem, config)
    with running.open_store(config) as store:
        row = None if fresh else store.newest(run)
        if row is not None and (answer := store.settled(row, run)):
            view.say(f"{ending(answer)}: nothing is left to do; {_further(answer)}")
            return answer
        if row is None and not fresh and (other := store.stopped_otherwise(run)):
            changed = ", ".join(changed_settings(other["config"], config))
            view.say(f"run {other['run']} was stopped under other settings: {changed}; this is another run")
        view.say(f"{run.problem.title}: {len(parts.visible)} visible and {len(parts.hidden)} hidden cases")
        tokenizer = await in_thread(load_tokenizer, config)
        PromptWriter(run.problem, tokenizer, config)
        view.say(await announcement([run], store))
        view.say(f"loading the model {config.model.path} (sampler: {config.model.sampler})")
        start = time.monotonic()
        async with running.open_session(config, store, tokenizer, learns=run.method.learns, seed=run.seed) as session:
            view.say(f"ready after {time.monotonic() - start:.0f} s (sandbox: {session.sandbox.tier})")
            answer = await running.execute(session, run, view, row["run"] if row else None)
        view.say(f"{ending(answer)}; `ttsd show {answer.run}`")
        return answer


def ending(answer: Answer) -> str:
    """Says how a run ended, in a sentence without its full stop."""
    if answer.discovered and answer.ended == "discovery":
        return f"discovered at attempt {answer.discovery_attempt}, run {answer.run}"
    found = f"discovered at attempt {answer.discovery_attempt}" if answer.discovered else f"best {shown_best(answer)}"
    spent = "budget" if answer.ended in (None, "attempts") else f"budget.{answer.ended}"
    return f"{spent} spent: {answer.attempts} attempts, {found}, run {answer.run}"


def shown_best(answer: Answer) -> str:
    """Says what the best attempt passed."""
    return f"{math.floor(100 * answer.best):d} % of the visible cases"


def _further(answer: Answer) -> str:
    if answer.discovered:
        return "--fresh starts another run"
    return f"--set budget.{answer.ended or 'attempts'}=N extends it, --fresh starts another run"
