"""One attempt or one step of the record: what was read, answered, said and learnt. Values; no printing.

Prompts are not stored; the run's own builder makes them again, with its tokenizer, its limits and the stored rollouts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

import problems
from problems.problem import Problem, ProblemError
from ttsd.baselines import Conversation
from ttsd.collapse import Collapse
from ttsd.config import Config, recorded_config
from ttsd.errors import UserError
from ttsd.loop import Teaching, read_by, recall
from ttsd.methods import METHODS
from ttsd.nouns import Attempt, Example, Reading, Status
from ttsd.prompts import ChatTokenizer
from ttsd.record.store import Row, Store
from ttsd.reprompts import Reprompts
from ttsd.running.engine import load_tokenizer
from ttsd.running.readings import group_size_of, readings_of, rounds_of, teaching
from ttsd.running.self_teacher import FeedbackOf, self_teacher

_ENDLESS = 1 << 40  # characters are not tokens: no limit of the settings applies to them
_CURVE = 3  # steps on either side whose loss is shown


@dataclass(frozen=True, slots=True)
class AttemptView:
    """Everything about one attempt. A prompt is None where there was none, or it can't be made again."""

    run: Row
    rollout: Attempt
    student_prompt: str | None
    teacher_prompt: str | None
    steps: tuple[Row, ...]  # this step's row and those around it
    remark: str = ""
    asked: str | None = None  # the reprompt that its author had read, if it was drawn in the teacher's role


@dataclass(frozen=True, slots=True)
class StepView:
    """One step: its row, the rows around it, and its attempts in a line each."""

    run: Row
    step: int
    steps: tuple[Row, ...]
    attempts: tuple[Row, ...]


class Transcript:
    """A tokenizer that remembers the user turn behind each prompt it makes, so that prompts can be shown as text."""

    def __init__(self, tokenizer: ChatTokenizer) -> None:
        self._tokenizer = tokenizer
        self._users: dict[tuple[int, ...], str] = {}

    def chat(self, user: str) -> tuple[int, ...]:
        ids = self._tokenizer.chat(user)
        self._users[ids] = user
        return ids

    def text(self, ids: tuple[int, ...] | None) -> str | None:
        return None if ids is None else self._users[ids]


class Characters:
    """Stands in where the model's tokenizer is not on this machine: its tokens are characters."""

    def chat(self, user: str) -> tuple[int, ...]:
        return tuple(map(ord, user))


def attempt_view(store: Store, run: int, attempt: int) -> AttemptView:
    """UserError: no such run, or no such attempt in it."""
    row, rollout = store.looked_at(run), rollout_of(store, run, attempt)
    steps = _around(store, run, rollout.step)
    try:
        problem, config = problems.load(row["question"]), recorded_config(row["config"])
    except (ProblemError, ValidationError) as error:
        return AttemptView(row, rollout, None, None, steps, f"the prompts can't be made again: {_first_line(error)}")
    tokenizer, config, remark = _reader(config)
    transcript = Transcript(tokenizer)
    read, why = read_around(store, row, rollout, problem, transcript, config)
    remarks = [text for text in (remark, why or ("" if remark else _mismatch(read, rollout))) if text]
    student, teacher, asked = map(transcript.text, (read.student, read.teacher, read.author))
    return AttemptView(row, rollout, student, teacher, steps, "; ".join(remarks), asked)


def step_view(store: Store, run: int, step: int) -> StepView:
    """UserError: no such run, or no attempt of that step in it."""
    row = store.looked_at(run)
    attempts = tuple(one for one in store.attempt_overview(run) if one["step"] == step)
    if not attempts:
        raise UserError(f"run {run} has no step {step}; `ttsd show {run}` lists its attempts with their steps")
    return StepView(row, step, _around(store, run, step), attempts)


@dataclass(frozen=True, slots=True)
class Read:
    """Token ids of the prompts around one attempt; `author` is the reprompt it answered, if it read one."""

    student: tuple[int, ...]
    teacher: tuple[int, ...] | None = None
    author: tuple[int, ...] | None = None


def read_around(
    store: Store, row: Row, rollout: Attempt, problem: Problem, tokenizer: ChatTokenizer, config: Config
) -> tuple[Read, str]:
    """What the run's policy read around `rollout`, in both roles; and why no teacher did, where that may surprise."""
    if "feedback_of" in row["environment"]:
        return _probed(store, row, rollout, problem, tokenizer, config), ""
    method = METHODS[row["method"]]
    reads = readings_of(method, problem, tokenizer, config)
    group = _group(store, row["run"], rollout.step)
    readings = _readings(store, row, group, reads, config)
    reading = readings[rollout.attempt]
    if isinstance(reads, Conversation) or not method.taught:
        return Read(reading.prompt_ids), ""
    author = reading.prompt_ids if rollout.role == "teacher" else None
    student = reading.prompt_ids if config.reprompt.student_reads == "reading" else reads.prompt_ids
    if any(one.verdict.accepted for one in group) and not config.budget.continue_after_discovery:
        return Read(student, author=author), "the run ended with this group, so no teacher read it"
    lesson = _lesson(reads, group, rollout, readings)
    return Read(student, lesson.reprompt_ids if lesson else None, author), ""


def _probed(
    store: Store, row: Row, rollout: Attempt, problem: Problem, tokenizer: ChatTokenizer, config: Config
) -> Read:
    """What the self-teacher of a probe had read."""
    source = FeedbackOf.recorded(row)
    teacher = self_teacher(problem, tokenizer, config, source, store.rollouts(source.run))
    question = teaching(problem, tokenizer, config, taught=False).prompt_ids
    return Read(question, author=teacher.reading(rollout.attempt).prompt_ids)


def lesson_of(store: Store, row: Row, rollout: Attempt, tokenizer: ChatTokenizer, config: Config) -> Example:
    """What a learning run drew from `rollout`. UserError where its answer was not needed any more."""
    reprompts = teaching(problems.load(row["question"]), tokenizer, config)
    group = _group(store, row["run"], rollout.step)
    lesson = _lesson(reprompts, group, rollout, _readings(store, row, group, reprompts, config))
    if lesson is None:
        raise UserError(f"attempt {rollout.attempt} was aborted and has no tokens; choose another one")
    return lesson


def rollout_of(store: Store, run: int, attempt: int) -> Attempt:
    """UserError where the run has no such attempt."""
    found = store.rollouts(run, first=attempt, last=attempt)
    if not found:
        store.run(run)
        raise UserError(f"run {run} has no attempt {attempt}; `ttsd show {run}` lists those it has")
    return found[0]


def _readings(
    store: Store, row: Row, group: Sequence[Attempt], reads: Teaching, config: Config
) -> Mapping[int, Reading]:
    """What the attempts of `group` had read, by number; `reads` then remembers what lies before the group."""
    method, run, step = METHODS[row["method"]], row["run"], group[0].step
    collapse = Collapse() if config.budget.restart_after_collapse and method.taught else None
    earlier = [one for one in store.rollouts(run, last=group[0].attempt) if one.step < step]
    known, first = recall(reads, collapse, earlier), len(earlier) + 1
    over = any(one["step"] == step for one in store.steps(run))
    planned = len(group) if over else min(group_size_of(method, config), config.budget.attempts - len(earlier))
    size = max(planned, group[-1].attempt - len(earlier))
    return read_by(range(first, first + size), group, known, reads, rounds_of(method, config))


def _lesson(
    reprompts: Reprompts, group: Sequence[Attempt], rollout: Attempt, readings: Mapping[int, Reading]
) -> Example | None:
    if rollout.verdict.status is Status.ABORTED:
        return None
    return next(lesson for lesson in reprompts.lessons(group, readings) if lesson.attempt == rollout.attempt)


def _reader(config: Config) -> tuple[ChatTokenizer, Config, str]:
    """The run's tokenizer and settings; without the model, one that counts characters, no limits, and a remark."""
    try:
        return load_tokenizer(config), config, ""
    except UserError as error:
        remark = f"prompts are shown uncut, for the model's tokenizer is missing: {_first_line(error)}"
        return Characters(), _unlimited(config), remark


def _unlimited(config: Config) -> Config:
    lengths = {"max_reprompt_len": _ENDLESS, "multi_turn_max_prompt_len": _ENDLESS}
    sections = {
        "model": config.model.model_copy(update={"max_model_len": None}),
        "sampling": config.sampling.model_copy(update={"max_prompt_len": _ENDLESS}),
        "reprompt": config.reprompt.model_copy(update=lengths),
    }
    return config.model_copy(update=sections)


def _mismatch(read: Read, rollout: Attempt) -> str:
    """A remark where the prompt made again is not as long as the one that was answered."""
    made, answered = len(read.author or read.student), rollout.completion.prompt_tokens
    if not answered or made == answered:
        return ""
    return f"the question, the model or ttsd has changed: this prompt has {made} tokens, the one answered {answered}"


def _group(store: Store, run: int, step: int) -> tuple[Attempt, ...]:
    ((first, last),) = store.query(
        "select min(attempt), max(attempt) from attempts where run = ? and step = ?", [run, step]
    )
    return store.rollouts(run, first=first, last=last)


def _around(store: Store, run: int, step: int) -> tuple[Row, ...]:
    return tuple(row for row in store.steps(run) if abs(row["step"] - step) <= _CURVE)


def _first_line(error: Any) -> str:
    return str(error).splitlines()[0]
