"""One attempt or one step, looked at closely: what was read, answered, said and learnt. Texts and rows; no printing.

Prompts are not stored; they are made again from the question, the run's settings and the stored rollouts, by the same
code that made them first. Token scores need the model and the weights as they were: the last few states are kept, so
for older steps the oldest kept one is used and named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import problems
from problems.problem import ProblemError
from ttsd.baselines import Conversation
from ttsd.collapse import Collapse
from ttsd.config import Config, Reprompt, recorded_config
from ttsd.errors import UserError
from ttsd.loop import recall
from ttsd.nouns import Lesson, Rollout, Status
from ttsd.prompts import ChatTokenizer, student_prompt
from ttsd.reprompts import Reprompts
from ttsd.running.store import Row, Store

LEARNS_FROM_TEACHER = "sdpo"
_ENDLESS = 1 << 40  # characters are not tokens: no limit of the settings applies to them
_CURVE = 3  # steps on either side whose loss is shown


@dataclass(frozen=True, slots=True)
class AttemptView:
    """Everything about one attempt. A prompt is None where there was none, or the question can't be found any more."""

    run: Row
    rollout: Rollout
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


@dataclass(frozen=True, slots=True)
class Token:
    """One token of an answer, as text, with the log-probabilities that were or are computed for it (nats)."""

    text: str
    sampler: float
    student: float | None = None
    teacher: float | None = None

    @property
    def gain(self) -> float | None:
        """Teacher minus student: what the token's probability is pushed towards."""
        return None if self.teacher is None or self.student is None else self.teacher - self.student


class Characters:
    """A tokenizer whose tokens are characters, and which adds no chat template: prompts can be read from its ids."""

    def chat(self, user: str) -> tuple[int, ...]:
        return tuple(map(ord, user))

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))


def attempt_view(store: Store, run: int, attempt: int) -> AttemptView:
    """UserError: no such run, or no such attempt in it."""
    row, rollout = store.run(run), _rollout(store, run, attempt)
    steps = _around(store, run, rollout.step)
    reader = Characters()
    try:
        lesson = lesson_of(store, row, rollout, reader, limits=False)
    except (ProblemError, ValidationError) as error:
        return AttemptView(row, rollout, None, None, steps, f"the prompts can't be made again: {_first_line(error)}")
    read = None if lesson.reprompt_ids is None else reader.decode(lesson.reprompt_ids)
    asked = _answered(store, row, rollout, reader) if rollout.role == "teacher" else None
    return AttemptView(row, rollout, reader.decode(lesson.prompt_ids), read, steps, asked=asked)


def step_view(store: Store, run: int, step: int) -> StepView:
    """UserError: no such run, or no attempt of that step in it."""
    row = store.run(run)
    attempts = tuple(one for one in store.attempt_overview(run) if one["step"] == step)
    if not attempts:
        raise UserError(f"run {run} has no step {step}; `ttsd show {run}` lists its attempts with their steps")
    return StepView(row, step, _around(store, run, step), attempts)


def lesson_of(store: Store, row: Row, rollout: Rollout, tokenizer: ChatTokenizer, *, limits: bool = True) -> Lesson:
    """What `rollout` was answered to and what it taught; `reprompt_ids` is None where no teacher read anything.

    `limits`: the settings' lengths hold, in this tokenizer's tokens.
    """
    if row["method"] == "multi-turn":
        question, settings, _ = _told(row, limits)
        earlier = store.rollouts(row["run"], last=rollout.attempt - 1)
        return _untaught(rollout, Conversation(question, tokenizer, settings).prompt_ids(earlier))
    reprompts = _reprompts(row, tokenizer, limits)
    if row["method"] != LEARNS_FROM_TEACHER or rollout.verdict.status is Status.ABORTED:
        return _untaught(rollout, reprompts.prompt_ids)
    group = _group(store, row["run"], rollout.step)
    recall(reprompts, _collapse(row), _earlier(store, row["run"], group))
    return next(lesson for lesson in reprompts.lessons(group) if lesson.attempt == rollout.attempt)


def tokens_of(store: Store, run: int, attempt: int) -> list[Token]:
    """The answer's tokens as they were sampled. Loads the run's tokenizer."""
    from ttsd import backbone

    row, rollout = store.run(run), _rollout(store, run, attempt)
    config = recorded_config(row["config"])
    tokenizer = backbone.Tokenizer.load(backbone.resolve(config.model.path))
    completion = rollout.completion
    pairs = zip(completion.token_ids, completion.logprobs, strict=True)
    return [Token(tokenizer.token_text(token), logprob) for token, logprob in pairs]


def scored_tokens(store: Store, run: int, attempt: int) -> tuple[list[Token], str]:
    """`tokens_of` with student and teacher scores, and which weights gave them. Loads the model.

    UserError: the run has no teacher, or none of its states is left.
    """
    from ttsd import backbone
    from ttsd.learning.trainer import Trainer

    row, rollout = store.run(run), _rollout(store, run, attempt)
    if row["method"] != LEARNS_FROM_TEACHER:
        raise UserError(f"run {run} is {row['method']}, which has no teacher; leave out the scores")
    config = recorded_config(row["config"])
    state, weights = _state_before(store, run, rollout.step)
    path = backbone.resolve(config.model.path)
    tokenizer = backbone.Tokenizer.load(
        path, enable_thinking=config.model.enable_thinking, system_prompt=config.model.system_prompt
    )
    trainer, name = Trainer(path, config), f"run-{run}"
    trainer.create(name, row["seed"]) if state is None else trainer.load(name, state)
    student, teacher = trainer.per_token(name, lesson_of(store, row, rollout, tokenizer))
    plain = tokens_of(store, run, attempt)
    taught: Sequence[float | None] = teacher or [None] * len(plain)
    return [Token(t.text, t.sampler, s, r) for t, s, r in zip(plain, student, taught, strict=True)], weights


def token_rows(tokens: Sequence[Token]) -> list[Row]:
    """Tokens as a table."""
    return [
        {
            "token": repr(token.text)[1:-1],
            "sampler": _logprob(token.sampler),
            "student": _logprob(token.student),
            "teacher": _logprob(token.teacher),
            "teacher - student": _logprob(token.gain),
        }
        for token in tokens
    ]


def attempt_text(view: AttemptView) -> str:
    """The attempt for a terminal: what was read, answered, said and learnt, under headings."""
    rollout = view.rollout
    parts = [run_line(view.run), attempt_line(rollout)]
    parts += [f"({view.remark})"] if view.remark else []
    sections = {
        "its author read": view.asked,
        "the student read": view.student_prompt,
        "the answer": rollout.completion.text,
        "the tests said": rollout.verdict.feedback or "(no feedback)",
        "the teacher read": view.teacher_prompt,
    }
    parts += [f"--- {title} ---\n{text.rstrip()}" for title, text in sections.items() if text]
    return "\n\n".join([*parts, loss_line(view.steps, rollout.step)])


def step_text(view: StepView) -> str:
    """The step's numbers for a terminal; its attempts are rows of their own."""
    own = next((row for row in view.steps if row["step"] == view.step), None)
    lines = [run_line(view.run), f"step {view.step}: {len(view.attempts)} attempts"]
    if own is None:
        return "\n".join([*lines, "not finished"])
    numbers = {**(own["metrics"] or {}), **{f"seconds/{k}": v for k, v in (own["seconds"] or {}).items()}}
    lines += [f"{name:24} {value:.4g}" for name, value in sorted(numbers.items()) if value is not None]
    return "\n".join([*lines, loss_line(view.steps, view.step)])


def run_line(row: Row) -> str:
    found = row["discovery_attempt"]
    end = row["status"] if found is None else f"discovered at attempt {found}"
    return f"run {row['run']}: {row['question']}, {row['method']}, seed {row['seed']}, {end}"


def attempt_line(rollout: Rollout) -> str:
    verdict, completion = rollout.verdict, rollout.completion
    return (
        f"attempt {rollout.attempt}, step {rollout.step}, adapter version {completion.adapter_version}: "
        f"{verdict.status.value.replace('_', ' ')}, visible {verdict.visible_passed}/{verdict.visible_total}, "
        f"hidden {verdict.hidden_passed}/{verdict.hidden_total}; {completion.prompt_tokens} tokens read, "
        f"{len(completion.token_ids)} answered ({completion.finish_reason})"
        f"{', drawn under a reprompt' if rollout.role == 'teacher' else ''}"
    )


def loss_line(steps: Sequence[Row], step: int) -> str:
    """How the loss moved around `step`, which is marked."""
    parts = [
        f"{'>' if row['step'] == step else ''}step {row['step']} {row['loss']:.4g}"
        for row in steps
        if row["loss"] is not None
    ]
    return f"loss: {', '.join(parts)}" if parts else "loss: no gradient step here"


def _told(row: Row, limits: bool) -> tuple[str, Reprompt, Config]:
    """A run's question, its settings for prompts (without their lengths, unless `limits`), and all settings."""
    config = recorded_config(row["config"])
    endless = {} if limits else {"max_reprompt_len": _ENDLESS, "multi_turn_max_prompt_len": _ENDLESS}
    return student_prompt(problems.load(row["question"])), config.reprompt.model_copy(update=endless), config


def _reprompts(row: Row, tokenizer: ChatTokenizer, limits: bool) -> Reprompts:
    question, settings, config = _told(row, limits)
    return Reprompts(
        question,
        tokenizer,
        settings,
        max_prompt_len=config.sampling.max_prompt_len if limits else _ENDLESS,
        teacher_fraction=config.sampling.teacher_fraction,
    )


def _collapse(row: Row) -> Collapse | None:
    return Collapse() if Config.model_validate(row["config"]).budget.restart_after_collapse else None


def _answered(store: Store, row: Row, rollout: Rollout, reader: Characters) -> str:
    """The reprompt that an attempt in the teacher's role was the answer to."""
    run, step = row["run"], rollout.step
    group, reprompts = _group(store, run, step), _reprompts(row, reader, limits=False)
    last = recall(reprompts, _collapse(row), _earlier(store, run, group))
    readings = reprompts.readings(len(group), last)
    return reader.decode(readings[rollout.attempt - group[0].attempt].prompt_ids)


def _rollout(store: Store, run: int, attempt: int) -> Rollout:
    found = store.rollouts(run, first=attempt, last=attempt)
    if not found:
        store.run(run)
        raise UserError(f"run {run} has no attempt {attempt}; `ttsd show {run}` lists those it has")
    return found[0]


def _untaught(rollout: Rollout, prompt_ids: tuple[int, ...]) -> Lesson:
    completion = rollout.completion
    return Lesson(
        rollout.attempt, prompt_ids, completion.token_ids, completion.logprobs, rollout.verdict.visible_fraction
    )


def _group(store: Store, run: int, step: int) -> tuple[Rollout, ...]:
    ((first, last),) = store.query(
        "select min(attempt), max(attempt) from attempts where run = ? and step = ?", [run, step]
    )
    return store.rollouts(run, first=first, last=last)


def _earlier(store: Store, run: int, group: tuple[Rollout, ...]) -> tuple[Rollout, ...]:
    return store.rollouts(run, last=group[0].attempt - 1)


def _around(store: Store, run: int, step: int) -> tuple[Row, ...]:
    return tuple(row for row in store.steps(run) if abs(row["step"] - step) <= _CURVE)


def _state_before(store: Store, run: int, step: int) -> tuple[Path | None, str]:
    """The learner's state that step `step` began with, or the nearest later one that is kept; None: fresh weights."""
    if step == 1:
        return None, "the weights it was sampled from"
    folders = {row["step"]: store.state_dir / f"run-{run}" / row["state"] for row in store.steps(run) if row["state"]}
    kept = [number for number, folder in sorted(folders.items()) if folder.is_dir() and number >= step - 1]
    if not kept:
        raise UserError(
            f"no state of run {run} from step {step - 1} on is left in {store.state_dir}; choose an attempt of step 1"
        )
    exact = kept[0] == step - 1
    return folders[kept[0]], "the weights it was sampled from" if exact else f"the weights after step {kept[0]}"


def _logprob(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _first_line(error: Any) -> str:
    return str(error).splitlines()[0]
