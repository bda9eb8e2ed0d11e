"""Executes one run on a shared session, from its first attempt or from where it was stopped.

The loop yields, this writes: every event is on disk before the next one is asked for.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, closing
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox import Limits, Outcome, Program, Sandbox
from ttsd.config import Config
from ttsd.errors import UserError
from ttsd.judging.judge import judge_for
from ttsd.judging.sandbox_settings import check_limits, limits_of, open_sandbox
from ttsd.loop import Event, Judge, learn
from ttsd.methods import MethodOnQuestion
from ttsd.nouns import Attempt
from ttsd.prompts import PromptWriter
from ttsd.record.protocol import Answer, Past, RunDatabase
from ttsd.record.run import Run, adapter_digest
from ttsd.record.store import Store
from ttsd.running.budget import Meter
from ttsd.running.engine import Engine, FrozenPolicy, LoraPolicy, open_engine
from ttsd.running.hints import WriteHint, hint_client, hint_writer
from ttsd.running.shared_time import Shared, Spending, Stopwatch, Usage
from ttsd.running.trackers import Tracker, check_tracker, open_tracker
from ttsd.running.watchdog import Watched, watching
from ttsd.running.writer import View, Writer
from ttsd.sampling.plain_text import PlainText
from ttsd.terminal import say

if TYPE_CHECKING:
    from ttsd.backbone import Tokenizer
    from ttsd.sampling.endpoint import Client


@dataclass(frozen=True, slots=True)
class Session:
    """What runs share: the run database, the sandbox, one engine, and what asks for hints (None: no run wants any)."""

    database: RunDatabase
    sandbox: Sandbox
    engine: Engine
    judging: Shared
    stopwatch: Stopwatch
    hints: Client | None = None

    def usage(self) -> Usage:
        """Returns how busy sampler, judge and trainer were since they were ready."""
        return self.stopwatch.usage(self.engine.sampling, self.judging, self.engine.training)


@dataclass(frozen=True, slots=True)
class FairSandbox:
    """A sandbox whose slots are given in the order of asking; the time is charged to one run."""

    sandbox: Sandbox
    judging: Shared
    spending: Spending

    async def run(self, program: Program, inputs: Iterable[bytes], limits: Limits) -> AsyncGenerator[Outcome]:
        """Runs a program as the sandbox does, once a slot is free."""
        async with self.judging.use(self.spending), aclosing(self.sandbox.run(program, inputs, limits)) as outcomes:
            async for outcome in outcomes:
                yield outcome


def open_store(config: Config) -> Store:
    """Opens the run database before anything heavy is loaded.

    UserError: it can't be written, or the tracker's client is not installed.
    """
    check_tracker(config.store.track)
    store = Store(config.store.path, config.store.state_dir)
    store.check_writable()
    if store.note:
        say(f"ttsd: {store.note}")
    return store


@asynccontextmanager
async def open_session(
    config: Config,
    database: RunDatabase,
    tokenizer: Tokenizer | PlainText,
    *,
    learns: bool,
    runs_at_once: int = 1,
    seed: int = 0,
) -> AsyncGenerator[Session, None]:
    """Starts sandbox and engine, and stops both at the end. `learns`: at least one run trains."""
    engine = open_engine(config, tokenizer, learns=learns, adapters=runs_at_once, seed=seed)
    hints = hint_client(config, learns=learns)
    async with hints as client, open_sandbox(config, spare=int(runs_at_once > 1)) as sandbox, engine as opened:
        judging = Shared("judge", places=len(sandbox.zygotes))
        stats = opened.sampler.stats
        watched = [
            Watched("sampler", opened.sampling, lambda: stats.tokens),
            Watched("judge", judging),
            Watched("trainer", opened.training),
        ]
        async with watching(watched):
            yield Session(database, sandbox, opened, judging, Stopwatch(), client)


async def execute(session: Session, run: Run, view: View, number: int | None = None, *, fresh: bool = False) -> Answer:
    """Brings `run` to its end. `number`: the stored run to continue; None: no such run was there, or it is `fresh`.

    RunHeld: another process works on it.
    """
    database, config = session.database, run.config
    number = database.new_run(run, _environment(session, config), fresh) if number is None else number
    with database.claim(number) as folder:
        if answer := database.settled(database.run(number), run):  # by another process, while the engine started
            return answer
        past = database.past(number)
        tokenizer = as_begun(past.environment, _environment(session, config), session.engine.tokenizer)
        database.resume(number, config.model_dump())
        spending, meter = Spending(), Meter(config.budget, database.spent(number))
        writer = PromptWriter(run.problem, tokenizer, config)
        view.begin(number, run, past, meter)
        async with _policy(session, run, number, spending, past, folder) as policy:
            with closing(_tracker(run, number, past, folder)) as tracker:
                async with _judge(session, run, spending) as judge:
                    events = learn(
                        policy,
                        judge,
                        MethodOnQuestion(run.method, writer),
                        replace(run.method.rules(config), hint=_hint(session, run, writer)),
                        spent=lambda: meter.ended_by() is not None,
                        history=past.history,
                        begun=past.begun,
                    )
                    writing = Writer(number, database, folder, view, tracker, policy)
                    await writing.write(_accounted(events, spending, meter))
    found = database.answer(number).discovered and not config.budget.continue_after_discovery
    database.finish(number, "discovery" if found else meter.ended_by() or "attempts")
    return database.answer(number)


@asynccontextmanager
async def _policy(
    session: Session, run: Run, number: int, spending: Spending, past: Past, folder: Path
) -> AsyncGenerator[LoraPolicy | FrozenPolicy, None]:
    """Gives the run's weights as `past` left them; an adapter of their own only where the method learns."""
    if not run.method.learns:
        yield FrozenPolicy(session.engine, spending)
        return
    policy = LoraPolicy(session.engine, f"run-{number}", spending, run.seed, folder)
    try:
        await _restore(policy, number, past)
        yield policy
    finally:
        await policy.close()


def _hint(session: Session, run: Run, writer: PromptWriter) -> WriteHint | None:
    """Returns what writes hints where a self-teacher reads them."""
    if session.hints is None or not run.method.column.teaches:
        return None
    return hint_writer(session.hints, writer.question.text)


async def _restore(policy: LoraPolicy, number: int, past: Past) -> None:
    if past.history.steps == 0:
        await policy.begin()
    elif past.state is None or not past.state.is_dir():
        raise UserError(
            f"the learner's state of run {number} ({past.state}) is gone, so the run can't be resumed; "
            "set store.state_dir to its place, or start another run with ttsd solve --fresh"
        )
    else:
        await policy.restore(past.state, past.adapter_version)


def _judge(session: Session, run: Run, spending: Spending) -> AbstractAsyncContextManager[Judge]:
    check_limits(run.problem, run.config)
    return judge_for(
        run.problem,
        run.split,
        FairSandbox(session.sandbox, session.judging, spending),
        limits=limits_of(run.config),
        comparison=run.config.judge.comparison,
        workers=len(session.sandbox.zygotes),
        shuffle_feedback=run.config.judge.shuffle_feedback,
    )


def _tracker(run: Run, number: int, past: Past, folder: Path) -> Tracker:
    return open_tracker(run.config.store, f"run-{number} {run}", past.tracker_id, run.config.model_dump(), folder)


async def _accounted(
    events: AsyncGenerator[Event, None], spending: Spending, meter: Meter
) -> AsyncGenerator[Event, None]:
    """Counts attempts; adds to each step's seconds what was spent of the things that runs share, and the run's own."""
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Attempt):
                meter.add(event)
                yield event
            else:
                yield replace(event, seconds={**event.seconds, **spending.take(), "run": meter.seconds})


def as_begun(
    recorded: Mapping[str, Any], now: Mapping[str, Any], tokenizer: Tokenizer | PlainText
) -> Tokenizer | PlainText:
    """Returns the tokenizer at the date on which the run began. UserError: model.path has other weights since then."""
    if recorded.get("weights") != now["weights"]:
        raise UserError(
            "model.path holds other weights, settings or another tokenizer than when this run began, so it can't be "
            "resumed; put the old ones back, or start another run with ttsd solve --fresh"
        )
    return tokenizer if isinstance(tokenizer, PlainText) else tokenizer.on(date.fromisoformat(recorded["date"]))


def _environment(session: Session, config: Config) -> dict[str, Any]:
    from ttsd.backbone import resolve, weights_digest

    init, tokenizer = config.lora.init, session.engine.tokenizer
    return {
        **({"init": adapter_digest(init)} if init else {}),
        **session.engine.sampler.info,
        "weights": weights_digest(resolve(config.model.path, config.model.revision)) if config.model.local else None,
        "date": None if isinstance(tokenizer, PlainText) else tokenizer.today.isoformat(),
        "sandbox": session.sandbox.tier,
        "solution_python": session.sandbox.python_version,
        "cores": str(len(os.sched_getaffinity(0))),
    }
