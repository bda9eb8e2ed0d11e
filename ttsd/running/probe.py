"""`ttsd probe`: how hard a pool of questions is for the user's model, and whether a reprompt helps it, before training.

The student's attempts are runs of best-of-k in the record, so a probe goes on where it was broken off, a larger one
adds to a smaller one, and `ttsd report` has them as its baseline. The one-turn self-teacher is the same frozen model
that reads the reprompt of a failed attempt (the question and that attempt's feedback); what it gets right more often
than the student is the gap that predicts how much self-distillation gains (arXiv 2605.30070). Its few attempts are not
recorded: no run made them.

The bands are the paper's: hard is pass@64 below 0.5, very hard below 0.03. A pool of 64 attempts can say no more of
pass@64 than that one succeeded or none, so the interval stands beside it; it takes some 1,000 to tell the two apart.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

import problems
from problems.problem import Problem
from ttsd.baselines import Frozen
from ttsd.config import Config
from ttsd.judging.judge import judge_for
from ttsd.judging.sandbox_settings import limits_of
from ttsd.loop import one_attempt
from ttsd.nouns import Reading, Rollout
from ttsd.running import batch, run
from ttsd.running.methods import BEST_OF_K
from ttsd.running.readings import teaching
from ttsd.running.shared_time import Spending
from ttsd.running.store import Answer, Store
from ttsd.statistics import LEVEL, Interval, Pool

AT = 64
HARD, VERY_HARD = 0.5, 0.03  # pass@64 below
BANDS = ("easy", "hard", "very-hard")


@dataclass(frozen=True, slots=True)
class Measured:
    """One question: the student's attempts, and the self-teacher's (0: no attempt failed with feedback)."""

    question: str
    attempts: int
    successes: int
    tokens: float
    teacher_attempts: int = 0
    teacher_successes: int = 0

    @property
    def pool(self) -> Pool:
        return Pool(self.attempts, self.successes)

    @property
    def accuracy(self) -> float:
        return self.successes / self.attempts

    @property
    def pass_at_64(self) -> float:
        return float(self.pool.discovered(AT))

    def interval(self, k: int = AT, level: float = LEVEL) -> Interval:
        low, high = self.pool.interval(k, level)
        return Interval(float(low), float(high))

    @property
    def band(self) -> str:
        return band_of(self.pass_at_64)

    @property
    def certain(self) -> bool:
        """Whether the whole interval lies in the band."""
        interval = self.interval()
        return band_of(interval.low) == band_of(interval.high)

    @property
    def teacher_accuracy(self) -> float | None:
        return self.teacher_successes / self.teacher_attempts if self.teacher_attempts else None

    @property
    def gap(self) -> float | None:
        """The self-teacher's accuracy less the student's."""
        return None if self.teacher_accuracy is None else self.teacher_accuracy - self.accuracy

    def expected_attempts(self, budget: int) -> float:
        """Of a best-of-k run that ends at its discovery or at `budget`."""
        return (1 - (1 - self.accuracy) ** budget) / self.accuracy if self.successes else float(budget)


def band_of(pass_at_64: float) -> str:
    return BANDS[(pass_at_64 < HARD) + (pass_at_64 < VERY_HARD)]


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found. `seconds_per_attempt`: wall time over the attempts drawn now; None if all were there."""

    measured: list[Measured]
    failures: list[batch.Failure]
    seconds_per_attempt: float | None = None


async def probe(
    questions: Sequence[str],
    config: Config,
    *,
    samples: int,
    teacher_samples: int,
    runs_at_once: int | None,
    overview: batch.Overview,
) -> Probe:
    """Draws until every question has `samples` attempts, then `teacher_samples` of its self-teacher."""
    config = config.model_copy(update={"budget": config.budget.model_copy(update={"attempts": samples})})
    wanted = batch.plan(questions, [BEST_OF_K.name], 1, config)
    with Store(config.store.path, config.store.state_dir) as store:
        done, tasks = batch.sorted_out(wanted, store)
        overview.say(f"{len(tasks)} questions to sample, {len(done)} sampled before")
        overview.expect(len(tasks))
        before = [store.answer(number) for number in done]
        if not tasks and not teacher_samples:
            return Probe([_measured(store, answer) for answer in before], [])
        everything = tasks or [batch.Task(one, problems.load(one.job.question), None) for one in wanted]
        tokenizer = batch.checked(everything, config)
        room = batch.room_for(everything, len(everything), runs_at_once, config)
        async with run.open_session(config, store, tokenizer, learns=False, runs_at_once=room.runs) as session:
            overview.say(f"ready (sandbox: {session.sandbox.tier}); {room}")
            start, already = time.monotonic(), _recorded(store, tasks)
            results = await batch.all_of(session, tasks, room.runs, overview)
            seconds = time.monotonic() - start
            answers = before + [one for one in results if isinstance(one, Answer)]
            drawn = sum(one.attempts for one in results if isinstance(one, Answer)) - already
            overview.say(f"{teacher_samples} attempts of each question's self-teacher")
            measured = await _taught(session, store, answers, teacher_samples, room.runs)
    order = {question: number for number, question in enumerate(questions)}
    return Probe(
        sorted(measured, key=lambda one: order[one.question]),
        [one for one in results if isinstance(one, batch.Failure)],
        seconds / drawn if drawn > 0 else None,
    )


def _recorded(store: Store, tasks: Sequence[batch.Task]) -> int:
    """Attempts of runs that were broken off."""
    return sum(store.answer(task.resumed["run"]).attempts for task in tasks if task.resumed is not None)


def _measured(store: Store, answer: Answer) -> Measured:
    rollouts = store.rollouts(answer.run)
    return Measured(
        answer.question,
        len(rollouts),
        sum(rollout.verdict.accepted for rollout in rollouts),
        fmean(len(rollout.completion.token_ids) for rollout in rollouts),
    )


async def _taught(
    session: run.Session, store: Store, answers: Sequence[Answer], samples: int, at_once: int
) -> list[Measured]:
    places = asyncio.Semaphore(at_once)

    async def one(answer: Answer) -> Measured:
        async with places:
            problem, measured = problems.load(answer.question), _measured(store, answer)
            prompts = _reprompts(session, problem, store.rollouts(answer.run), samples)
            right = await _successes(session, problem, prompts)
            return replace(measured, teacher_attempts=len(prompts), teacher_successes=right)

    return list(await asyncio.gather(*map(one, answers)))


def _reprompts(session: run.Session, problem: Problem, rollouts: Sequence[Rollout], samples: int) -> list[Reading]:
    """What the self-teacher reads: the reprompts of the first failed attempts, again from the first if they are few."""
    reprompts = teaching(problem, session.engine.tokenizer, session.config, taught=False)
    failed = [rollout for rollout in rollouts if rollout.verdict.feedback][:samples]
    read = [lesson.reprompt_ids for lesson in reprompts.lessons(failed) if lesson.reprompt_ids]
    return [Reading(read[at % len(read)], "teacher") for at in range(samples if read else 0)]


async def _successes(session: run.Session, problem: Problem, readings: Sequence[Reading]) -> int:
    """How many of the frozen model's attempts under `readings` pass every case."""
    config, spending = session.config, Spending()
    policy = Frozen(partial(session.engine.sample, spending, adapter=None))
    turns = run.Turns(session.sandbox, session.judging, spending)
    async with judge_for(problem, run.divided(problem, config), turns, limits=limits_of(config)) as judge:
        attempts = (one_attempt(policy, judge, reading, at, 1) for at, reading in enumerate(readings, 1))
        return sum(rollout.verdict.accepted for rollout in await asyncio.gather(*attempts))


def rows(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """One row a question, for a table or a script."""
    return [
        {
            "question": one.question,
            "attempts": one.attempts,
            "successes": one.successes,
            "accuracy": _rounded(one.accuracy),
            "pass@64": _rounded(one.pass_at_64),
            "low": _rounded(one.interval().low),
            "high": _rounded(one.interval().high),
            "band": one.band,
            "certain": one.certain,
            "teacher": _rounded(one.teacher_accuracy),
            "gap": _rounded(one.gap),
            "tokens": round(one.tokens),
        }
        for one in measured
    ]


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(np.format_float_positional(value, 3, fractional=False))


@dataclass(frozen=True, slots=True)
class Cost:
    """An estimate for all questions together, one run each; sampling and judging alone, without gradient steps."""

    what: str
    attempts: float
    tokens: float
    hours: float | None


def costs(found: Probe, budget: int) -> list[Cost]:
    """What runs of `budget` attempts would take, if every discovery came as it does by chance, and if none came."""
    seconds = found.seconds_per_attempt
    estimates = []
    for what, spent in (
        (f"best-of-k to its discovery, budget {budget}", [one.expected_attempts(budget) for one in found.measured]),
        (f"no discovery, budget {budget}", [float(budget) for _ in found.measured]),
    ):
        tokens = sum(number * one.tokens for number, one in zip(spent, found.measured, strict=True))
        hours = None if seconds is None else sum(spent) * seconds / 3600
        estimates.append(Cost(what, sum(spent), tokens, hours))
    return estimates


def write_subsets(measured: Sequence[Measured], out: Path) -> list[Path]:
    """A subset file for each band that has questions, beside `out`: `NAME-hard.toml`; hard holds the very hard too."""
    bands = {band: [one.question for one in measured if one.band == band] for band in BANDS}
    bands["hard"] = [one.question for one in measured if one.band != "easy"]
    written = []
    for band, questions in bands.items():
        if questions:
            path = out.with_name(f"{out.name.removesuffix('.toml')}-{band}.toml")
            path.write_text(f"# {band} for this model, by ttsd probe\nquestions = {_listed(questions)}\n", "utf-8")
            written.append(path)
    return written


def _listed(questions: Sequence[str]) -> str:
    return "[\n" + "".join(f"  {json.dumps(question, ensure_ascii=False)},\n" for question in questions) + "]"
