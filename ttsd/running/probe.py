"""`ttsd probe`: how hard a pool of questions is for the user's model, and whether hindsight helps it, before training.

The student's attempts are runs of best-of-k in the record, so a probe resumes where it was interrupted, a larger one
adds to a smaller one, and `ttsd report` has them as its baseline. The one-turn self-teacher is the same frozen model
that reads the reprompt of a failed attempt; what it gets right more often than the student is the gap that predicts
how much self-distillation gains (arXiv 2605.30070). Its attempts are runs as well, which no report compares.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import problems
from ttsd.config import Config
from ttsd.methods import BEST_OF_K
from ttsd.record import resume
from ttsd.record.protocol import Answer
from ttsd.record.store import Store
from ttsd.running import batch, run
from ttsd.running.hardness import Drawn, Measured
from ttsd.running.self_teacher import FeedbackOf, Form, self_teacher
from ttsd.running.tasks import Task, Wanted, plan, sorted_out
from ttsd.sampling.background import beside


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found. `seconds_per_attempt`: wall time over the attempts drawn now; None if all were there."""

    measured: list[Measured]
    failures: list[batch.Failure]
    seconds_per_attempt: float | None = None


@dataclass(frozen=True, slots=True)
class Hindsight:
    """What is asked of the self-teacher: `samples` attempts on each question in each of `forms`."""

    samples: int
    forms: tuple[Form, ...]


async def probe(
    questions: Sequence[str],
    config: Config,
    *,
    samples: int,
    hindsight: Hindsight,
    runs_at_once: int | None,
    overview: batch.Overview,
) -> Probe:
    """Draws until every question has `samples` attempts, then those of its self-teacher."""
    config = config.model_copy(update={"budget": config.budget.model_copy(update={"attempts": samples})})
    wanted = plan(questions, [BEST_OF_K.name], 1, config)
    with run.open_store(config) as store:
        done, tasks = sorted_out(wanted, store)
        overview.say(f"{len(tasks)} questions to sample, {len(done)} sampled before")
        overview.expect(len(tasks))
        found = {answer.question: answer for answer in map(store.answer, done)}
        teachers = Teachers(store, config, hindsight, found)
        if not tasks and not teachers.missing():
            return Probe(teachers.measured(questions), [])
        everything = tasks or [Task(one, problems.load(one.job.question), None) for one in wanted]
        tokenizer = await beside(batch.checked, everything, config)
        room = batch.room_for(everything, len(everything), runs_at_once, config)
        async with run.open_session(config, store, tokenizer, learns=False, runs_at_once=room.runs) as session:
            overview.say(f"ready (sandbox: {session.sandbox.tier}); {room}")
            start, already = time.monotonic(), _recorded(store, tasks)
            results = await batch.all_of(session, tasks, room.runs, overview)
            seconds, answers = time.monotonic() - start, [one for one in results if isinstance(one, Answer)]
            found |= {answer.question: answer for answer in answers}
            failures = [one for one in results if isinstance(one, batch.Failure)]
            failures += await teachers.draw(session, room.runs, overview)
        drawn = sum(answer.attempts for answer in answers) - already
        return Probe(teachers.measured(questions), failures, seconds / drawn if drawn > 0 else None)


def _recorded(store: Store, tasks: Sequence[Task]) -> int:
    """Attempts of runs that were interrupted."""
    return sum(store.answer(task.resumed["run"]).attempts for task in tasks if task.resumed is not None)


@dataclass(frozen=True, slots=True)
class Teachers:
    """The self-teacher's attempts on questions whose student has answered; `found` are the student's runs."""

    store: Store
    config: Config
    hindsight: Hindsight
    found: Mapping[str, Answer]

    def measured(self, questions: Sequence[str]) -> list[Measured]:
        """Every question that has its student's attempts, in the order asked for."""
        return [
            Measured(question, Drawn.of(self.store.rollouts(self.found[question].run)), self._taught(question))
            for question in questions
            if question in self.found
        ]

    def missing(self) -> list[tuple[str, Form]]:
        """What the self-teacher has still to answer."""
        forms = self.hindsight.forms if self.hindsight.samples else ()
        return [(one, form) for one in self.found for form in forms if self._finished(one, form) is None]

    async def draw(self, session: run.Session, at_once: int, overview: batch.Overview) -> list[batch.Failure]:
        """Draws what is missing; a question none of whose attempts failed with feedback is passed over."""
        missing, places = self.missing(), asyncio.Semaphore(at_once)
        if missing:
            forms, samples = ", ".join(form.name for form in self.hindsight.forms), self.hindsight.samples
            overview.say(f"{samples} attempts of the self-teacher on each question in each form: {forms}")
            overview.expect(len(missing))

        async def one(question: str, form: Form) -> Answer | batch.Failure | None:
            async with places:
                return await self._draw(session, question, form, overview)

        results = await asyncio.gather(*(one(question, form) for question, form in missing))
        return [result for result in results if isinstance(result, batch.Failure)]

    async def _draw(
        self, session: run.Session, question: str, form: Form, overview: batch.Overview
    ) -> Answer | batch.Failure | None:
        job, problem = form.job(question), problems.load(question)
        config = resume.as_begun(self.store, job, self._configured(form))
        begun = resume.unfinished(self.store, job, config)
        source = FeedbackOf.recorded(begun) if begun is not None else self._source(question, form)
        if source is None:
            return None
        rollouts = self.store.rollouts(source.run)
        teacher = self_teacher(problem, session.engine.tokenizer, config, source, rollouts)
        wanted = Wanted(job, config)
        result = await batch.to_its_end(session, Task(wanted, problem, begun), overview.view, teacher)
        overview.end(str(wanted), result)
        return result

    def _source(self, question: str, form: Form) -> FeedbackOf | None:
        """Failed attempts on this question; for the control on the next question that has some."""
        order = list(self.found)
        place = order.index(question)
        for one in order[place + 1 :] + order[:place] if form.shuffled else [question]:
            number = self.found[one].run
            failed = [rollout.attempt for rollout in self.store.rollouts(number) if rollout.verdict.feedback]
            if failed:
                return FeedbackOf(number, tuple(failed[: self.hindsight.samples]))
        return None

    def _taught(self, question: str) -> dict[str, Drawn]:
        samples = self.hindsight.samples
        runs = {form.name: self._finished(question, form) for form in self.hindsight.forms if samples}
        return {name: Drawn.of(self.store.rollouts(run)[:samples]) for name, run in runs.items() if run is not None}

    def _finished(self, question: str, form: Form) -> int | None:
        return resume.finished(self.store, form.job(question), self._configured(form))

    def _configured(self, form: Form) -> Config:
        return form.configured(self.config, self.hindsight.samples)
