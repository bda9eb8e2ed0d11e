"""`ttsd solve`: one run on one engine."""

from __future__ import annotations

import math
import time
from typing import Protocol

from ttsd.config import Config
from ttsd.judging.sandbox_settings import check_limits
from ttsd.prompts import PromptWriter
from ttsd.record.protocol import Answer
from ttsd.record.run import Run
from ttsd.running import run as running
from ttsd.running.engine import load_tokenizer
from ttsd.running.estimate import announcement
from ttsd.running.writer import View
from ttsd.sampling.background import in_thread
from ttsd.terminal import one_line


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
        view.say(f"{one_line(run.problem.title)}: {len(parts.visible)} visible and {len(parts.hidden)} hidden cases")
        tokenizer = await in_thread(load_tokenizer, config)
        PromptWriter(run.problem, tokenizer, config)
        view.say(await announcement([run], store))
        view.say(f"starting the sampler {config.model.sampler} on {config.model.label}")
        start = time.monotonic()
        async with running.open_session(config, store, tokenizer, learns=run.method.learns, seed=run.seed) as session:
            view.say(f"ready after {time.monotonic() - start:.0f} s (sandbox: {session.sandbox.tier})")
            answer = await running.execute(session, run, view, row["run"] if row else None, fresh=fresh)
        view.say(f"{ending(answer)} of {store.path.absolute()}; look closer: {show_command(answer, config)}")
        return answer


def ending(answer: Answer) -> str:
    """Says how a run ended, in a sentence without its full stop."""
    if answer.discovered and answer.ended == "discovery":
        return f"{discovery(answer)}, run {answer.run}"
    found = discovery(answer) if answer.discovered else f"best {percent(answer.best)} of the visible cases"
    spent = "budget" if answer.ended in (None, "attempts") else f"budget.{answer.ended}"
    return f"{spent} spent: {answer.attempts} attempts, {found}, run {answer.run}"


def discovery(answer: Answer) -> str:
    """Says where the discovery is, and what it passed where no hidden case confirmed it."""
    return f"discovered at attempt {answer.discovery_attempt}{answer.strength}"


def show_command(answer: Answer, config: Config) -> str:
    """Returns the command that shows the run."""
    elsewhere = config.store.path != Config().store.path
    return f"ttsd show {answer.run}" + (f" --set store.path={config.store.path}" if elsewhere else "")


def percent(share: float) -> str:
    """Writes a share so that only the whole is 100%."""
    return f"{math.floor(100 * share + 1e-9)}%"


def _further(answer: Answer) -> str:
    if answer.discovered:
        return "--fresh starts another run"
    return f"--set budget.{answer.ended or 'attempts'}=N extends it, --fresh starts another run"
