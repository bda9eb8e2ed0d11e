"""One run (a question, a method, a seed) on a shared session, from its first attempt or from where it was stopped.

The loop yields, this writes: every event is on disk before the next one is asked for.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from problems.split import split
from sandbox import Limits, Outcome, Program, Sandbox
from ttsd.baselines import Frozen
from ttsd.config import Config
from ttsd.errors import UserError
from ttsd.judging.judge import judge_for
from ttsd.judging.sandbox_settings import limits_of, open_sandbox
from ttsd.loop import Event, Judge, Past, Policy, Teaching, learn
from ttsd.nouns import Attempt, Problem, Split
from ttsd.record.protocol import Answer, Record, Row
from ttsd.record.resume import Job, is_over
from ttsd.record.store import Store
from ttsd.running.budget import Meter
from ttsd.running.engine import Engine, LoraPolicy, open_engine
from ttsd.running.readings import group_size_of, readings_of, rounds_of
from ttsd.running.self_teacher import SelfTeacher
from ttsd.running.shared_time import Shared, Spending, Stopwatch, Usage
from ttsd.running.trackers import Tracker, check_tracker, open_tracker
from ttsd.running.watchdog import Watched, watching
from ttsd.running.writer import View, Writer

if TYPE_CHECKING:
    from ttsd.backbone import Tokenizer


@dataclass(frozen=True, slots=True)
class Session:
    """What runs share: the record, the sandbox and one engine."""

    config: Config
    record: Record
    sandbox: Sandbox
    engine: Engine
    judging: Shared
    stopwatch: Stopwatch

    def usage(self) -> Usage:
        """How busy sampler, judge and trainer were since they stood ready."""
        return self.stopwatch.usage(self.engine.sampling, self.judging, self.engine.training)


@dataclass(frozen=True, slots=True)
class Turns:
    """A sandbox whose slots are given in the order of asking, on the account of one run."""

    sandbox: Sandbox
    judging: Shared
    spending: Spending

    async def run(self, program: Program, inputs: Iterable[bytes], limits: Limits) -> AsyncGenerator[Outcome]:
        async with self.judging.use(self.spending), aclosing(self.sandbox.run(program, inputs, limits)) as outcomes:
            async for outcome in outcomes:
                yield outcome


def open_store(config: Config) -> Store:
    """The record, before anything heavy is loaded. UserError: it can't be written, or the tracker can't be used."""
    check_tracker(config.store.track)
    store = Store(config.store.path, config.store.state_dir)
    store.check_writable()
    return store


@asynccontextmanager
async def open_session(
    config: Config, record: Record, tokenizer: Tokenizer, *, learns: bool, runs_at_once: int = 1, seed: int = 0
) -> AsyncGenerator[Session, None]:
    """Starts sandbox and engine, and stops both at the end. `learns`: at least one run trains."""
    engine = open_engine(config, tokenizer, learns=learns, adapters=runs_at_once, seed=seed)
    async with open_sandbox(config, spare=int(runs_at_once > 1)) as sandbox, engine as opened:
        judging = Shared("judge", places=len(sandbox.zygotes))
        stats = opened.sampler.stats
        watched = [
            Watched("sampler", opened.sampling, lambda: stats.tokens),
            Watched("judge", judging),
            Watched("trainer", opened.training),
        ]
        async with watching(watched):
            yield Session(config, record, sandbox, opened, judging, Stopwatch())


async def execute(
    session: Session,
    job: Job,
    problem: Problem,
    view: View,
    resumed: Row | None = None,
    teacher: SelfTeacher | None = None,
) -> Answer:
    """Runs `job` to its end. `resumed`: the unfinished run to continue; None starts a new one.

    `teacher`: what the attempts read, where the method alone does not say it.
    """
    record, config, parts = session.record, session.config, divided(problem, session.config)
    run = resumed["run"] if resumed else _new_run(session, job, parts, teacher)
    with record.claim(run) as folder:
        if resumed:
            record.resume(run, config.model_dump())
        past, state = record.past(run)
        spending, meter = Spending(), Meter(config.budget, record.spent(run))
        view.begin(run, job.label(config), past, meter, group_size_of(job.kind, config))
        reads = teacher or readings_of(job.kind, problem, session.engine.tokenizer, config)
        async with _policy(session, job, run, spending, past, state) as policy:
            with closing(_tracker(session, job, run, folder)) as tracker:
                async with _judge(session, problem, parts, spending) as judge:
                    events = _accounted(_events(config, job, policy, judge, reads, past, meter), spending, meter)
                    await Writer(run, record, folder, view, tracker, policy).write(events)
    record.finish(run, "discovery" if is_over(record.run(run), config) else meter.ended_by() or "attempts")
    return record.answer(run)


@asynccontextmanager
async def _policy(
    session: Session, job: Job, run: int, spending: Spending, past: Past, state: Path | None
) -> AsyncGenerator[LoraPolicy | Frozen, None]:
    """The run's weights as `past` left them; an adapter of their own only where the method learns."""
    if not job.kind.learns:
        yield Frozen(partial(session.engine.sample, spending, adapter=None))
        return
    policy = LoraPolicy(session.engine, f"run-{run}", spending, rewards_only=not job.kind.taught, seed=job.seed)
    try:
        await _restore(policy, run, past, state)
        yield policy
    finally:
        await policy.close()


async def _restore(policy: LoraPolicy, run: int, past: Past, state: Path | None) -> None:
    if past.steps == 0:
        await policy.begin()
    elif state is None or not state.is_dir():
        raise UserError(
            f"the learner's state of run {run} ({state}) is gone, so the run can't be resumed; "
            "start another run with --fresh"
        )
    else:
        await policy.restore(state, past.adapter_version)


def _judge(session: Session, problem: Problem, parts: Split, spending: Spending) -> AbstractAsyncContextManager[Judge]:
    turns = Turns(session.sandbox, session.judging, spending)
    return judge_for(
        problem,
        parts,
        turns,
        limits=limits_of(session.config),
        comparison=session.config.judge.comparison,
        workers=len(session.sandbox.zygotes),
        shuffle_feedback=session.config.judge.shuffle_feedback,
    )


def _tracker(session: Session, job: Job, run: int, folder: Path) -> Tracker:
    config = session.config
    return open_tracker(config.store.track, f"run-{run} {job.label(config)}", config.model_dump(), folder)


def divided(problem: Problem, config: Config) -> Split:
    """Visible and hidden cases, as the configuration or the question's source wants them."""
    mode = problem.default_split if config.judge.split == "auto" else config.judge.split
    return split(problem, mode, config.judge.split_seed)


def _events(
    config: Config, job: Job, policy: Policy, judge: Judge, reads: Teaching, past: Past, meter: Meter
) -> AsyncGenerator[Event, None]:
    return learn(
        policy,
        judge,
        reads,
        group_size=group_size_of(job.kind, config),
        budget=config.budget.attempts,
        rounds=rounds_of(job.kind, config),
        continue_after_discovery=config.budget.continue_after_discovery,
        restart_after_collapse=config.budget.restart_after_collapse and job.kind.taught,
        one_step_off=config.sampling.pipeline == "one-step-off",
        enough=lambda: meter.ended_by() is not None,
        past=past,
    )


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


def _new_run(session: Session, job: Job, parts: Split, teacher: SelfTeacher | None) -> int:
    return session.record.new_run(
        question=job.question,
        method=job.method,
        seed=job.seed,
        model=session.config.model.path,
        config=session.config.model_dump(),
        split=asdict(parts),
        environment={
            **session.engine.sampler.info,
            "sandbox": session.sandbox.tier,
            "solution_python": session.sandbox.python_version,
            "cores": str(len(os.sched_getaffinity(0))),
            **({} if teacher is None else teacher.source.note),
        },
    )
