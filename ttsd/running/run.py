"""One run (a question, a method, a seed) on a shared session, from its first attempt or where it was broken off.

The loop yields, this writes: every event is on disk before the next one is asked for.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from problems.split import split
from sandbox import Limits, Outcome, Program, Sandbox
from ttsd.baselines import Frozen, multi_turn
from ttsd.config import Config, Method, recorded_config
from ttsd.errors import InfrastructureError, UserError
from ttsd.judging.judge import judge_for
from ttsd.judging.sandbox_settings import limits_of, open_sandbox
from ttsd.loop import Event, Judge, Past, Policy, learn
from ttsd.nouns import Problem, Rollout, Split
from ttsd.running.engine import Engine, LoraPolicy, open_engine
from ttsd.running.readings import conversation, teaching
from ttsd.running.shared_time import Shared, Spending, Stopwatch, Usage
from ttsd.running.store import Answer, Row, Store
from ttsd.running.trackers import Tracker, open_tracker, step_values

if TYPE_CHECKING:
    from ttsd.backbone import Tokenizer

METHODS: dict[str, Method] = {"sdpo": "sdpo", "grpo": "grpo", "best-of-k": "best-of-k", "multi-turn": "multi-turn"}
LEARNING: dict[Method, Literal["sdpo", "grpo"]] = {"sdpo": "sdpo", "grpo": "grpo"}


@dataclass(frozen=True, slots=True)
class Arm:
    """A setting that a method is compared by: a batch has runs with several values of it side by side."""

    section: str
    setting: str
    label: str


ARMS: dict[Method, Arm] = {
    "multi-turn": Arm("reprompt", "multi_turn_window", "window {}"),
    "sdpo": Arm("sampling", "teacher_fraction", "teacher {:.0%}"),
}

# What may differ when a run goes on: how far, where the record lies, and how many hands help.
FREE_SETTINGS = {
    ("budget", "attempts"),
    ("store", "path"),
    ("store", "state_dir"),
    ("store", "track"),
    ("judge", "slots"),
}


@dataclass(frozen=True, slots=True)
class Job:
    """What makes a run: the same job asked for again is the same run."""

    question: str
    method: Method
    seed: int

    def __str__(self) -> str:
        return f"{self.question} {self.method} seed {self.seed}"


@dataclass(frozen=True, slots=True)
class Session:
    """What runs share: the record, the sandbox and one engine."""

    config: Config
    store: Store
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


class View(Protocol):
    """Whoever watches one run."""

    def begin(self, job: str, past: Past, budget: int, group_size: int) -> None: ...

    def show(self, event: Event) -> None: ...


@asynccontextmanager
async def open_session(
    config: Config, store: Store, tokenizer: Tokenizer, *, learns: bool, runs_at_once: int = 1, seed: int = 0
) -> AsyncGenerator[Session, None]:
    """Starts sandbox and engine, and stops both at the end. `learns`: at least one run trains."""
    engine = open_engine(config, tokenizer, learns=learns, adapters=runs_at_once, seed=seed)
    async with open_sandbox(config, spare=int(runs_at_once > 1)) as sandbox, engine as opened:
        judging = Shared("judge", places=len(sandbox.zygotes))
        yield Session(config, store, sandbox, opened, judging, Stopwatch())


def broken_off(store: Store, job: Job, config: Config) -> Row | None:
    """The run of this job to go on with: one that was broken off, or that spent a smaller budget; None: begin anew.

    UserError if a run was broken off under other settings.
    """
    runs = _runs_of(store, job, config)
    row = next((row for row in runs if row["status"] == "running"), None)
    if row is None:
        return next((row for row in runs if _same(row, config) and _wants_more(store, row, config)), None)
    if changed := _changed_settings(row["config"], config):
        raise UserError(
            f"run {row['run']} of this question was broken off with other settings: {', '.join(changed)}; "
            "give the same settings to go on, or --fresh to start another run"
        )
    return row


def finished(store: Store, job: Job, config: Config) -> int | None:
    """The number of the newest run of this job that needs no more attempts under these settings, if there is one."""
    closed = (row for row in _runs_of(store, job, config) if row["status"] != "running")
    return next((row["run"] for row in closed if _same(row, config) and not _wants_more(store, row, config)), None)


def _runs_of(store: Store, job: Job, config: Config) -> list[Row]:
    """The job's runs, the newest first. What ARMS names makes another method of it, and is no changed setting."""
    runs = store.runs_of(job.question, job.method, job.seed)
    if job.method not in ARMS:
        return runs
    arm = ARMS[job.method]
    wanted = config.model_dump()[arm.section][arm.setting]
    return [row for row in runs if recorded_config(row["config"]).model_dump()[arm.section][arm.setting] == wanted]


def _same(row: Row, config: Config) -> bool:
    return not _changed_settings(row["config"], config)


def _wants_more(store: Store, row: Row, config: Config) -> bool:
    return not is_over(row, config) and store.answer(row["run"]).attempts < config.budget.attempts


def is_over(row: Row, config: Config) -> bool:
    """Whether a run has made its discovery and is to stop there."""
    return row["discovery_attempt"] is not None and not config.budget.continue_after_discovery


async def pursue(session: Session, job: Job, problem: Problem, view: View, begun: Row | None = None) -> Answer:
    """Runs `job` to its end, going on with the unfinished run `begun` where there is one."""
    store, config = session.store, session.config
    parts = divided(problem, config)
    run = begun["run"] if begun else _new_run(session, job, parts)
    with store.claim(run) as folder:
        past, state = store.past(run)
        size, budget = config.sampling.group_size, config.budget.attempts
        view.begin(str(job), past, budget, size)
        spending, learns = Spending(), job.method in LEARNING
        name = f"run-{run}"
        lora = LoraPolicy(session.engine, name, LEARNING[job.method], spending, seed=job.seed) if learns else None
        try:
            if lora is not None:
                await _ready(lora, run, past, state)
            policy = lora or Frozen(partial(session.engine.sample, spending, adapter=None))
            turns = Turns(session.sandbox, session.judging, spending)
            slots = len(session.sandbox.zygotes)
            tracker = open_tracker(config.store.track, f"run-{run} {job}", config.model_dump(), folder)
            with closing(tracker):
                async with judge_for(problem, parts, turns, limits=limits_of(config), workers=slots) as judge:
                    events = _events(session, job, problem, policy, judge, past)
                    await _record(run, _accounted(events, spending), lora, store, folder, view, tracker)
        finally:
            if lora is not None:
                await lora.close()
    found = store.run(run)["discovery_attempt"]
    store.finish(run, "exhausted" if found is None else "discovered")
    return store.answer(run)


def divided(problem: Problem, config: Config) -> Split:
    """Visible and hidden cases, as the configuration or the question's source wants them."""
    mode = problem.default_split if config.judge.split == "auto" else config.judge.split
    return split(problem, mode, config.judge.split_seed)


def _events(
    session: Session, job: Job, problem: Problem, policy: Policy, judge: Judge, past: Past
) -> AsyncGenerator[Event, None]:
    config, tokenizer = session.config, session.engine.tokenizer
    budget, on = config.budget.attempts, config.budget.continue_after_discovery
    if job.method == "multi-turn":
        turns = conversation(problem, tokenizer, config)
        return multi_turn(policy, judge, turns, budget=budget, continue_after_discovery=on, past=past)
    return learn(
        policy,
        judge,
        teaching(problem, tokenizer, config, taught=job.method == "sdpo"),
        group_size=config.sampling.group_size,
        budget=budget,
        continue_after_discovery=on,
        restart_after_collapse=config.budget.restart_after_collapse and job.method == "sdpo",
        one_step_off=config.sampling.pipeline == "one-step-off",
        past=past,
    )


async def _ready(policy: LoraPolicy, run: int, past: Past, state: Path | None) -> None:
    if past.steps == 0:
        await policy.begin()
    elif state is None or not state.is_dir():
        raise UserError(
            f"the learner's state of run {run} ({state}) is gone, so it can't go on; start anew with --fresh"
        )
    else:
        await policy.restore(state, past.adapter_version)


async def _accounted(events: AsyncGenerator[Event, None], spending: Spending) -> AsyncGenerator[Event, None]:
    """Adds to each step's seconds what was spent of the things that runs share."""
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Rollout):
                yield event
            else:
                yield replace(event, seconds={**event.seconds, **spending.take()})


async def _record(
    run: int,
    events: AsyncGenerator[Event, None],
    lora: LoraPolicy | None,
    store: Store,
    folder: Path,
    view: View,
    tracker: Tracker,
) -> None:
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Rollout):
                store.add_attempt(run, event)
            else:
                state = folder / f"step-{event.number}" if lora is not None else None
                if lora is not None and state is not None:
                    await _save(lora, state)
                store.add_step(run, event, state)
                tracker.log(step_values(event), event.number)
            view.show(event)


async def _save(lora: LoraPolicy, state: Path) -> None:
    from safetensors import SafetensorError

    try:
        await lora.save(state)
    except (OSError, SafetensorError) as error:
        raise InfrastructureError(
            f"can't write the learner's state {state} ({error}); free disk space or set store.state_dir, then go on"
        ) from None


def _new_run(session: Session, job: Job, parts: Split) -> int:
    return session.store.new_run(
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
        },
    )


def _changed_settings(recorded: Row, config: Config) -> list[str]:
    before = recorded_config(recorded).model_dump()
    return [
        f"{section}.{name} ({before[section][name]!r} before, now {value!r})"
        for section, settings in config.model_dump().items()
        for name, value in settings.items()
        if (section, name) not in FREE_SETTINGS and before[section][name] != value
    ]
