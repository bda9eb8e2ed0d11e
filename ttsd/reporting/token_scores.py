"""An answer token by token: what sampler, student and teacher thought of each.

A gradient step leaves the difference of teacher and student in the record. Scores of both load the model and need the
weights as they were: the last few states are kept, so for older steps the oldest kept one is used and named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ttsd.config import recorded_config
from ttsd.errors import UserError
from ttsd.methods import kind_of
from ttsd.record.store import Row, Store
from ttsd.reporting.attempt import lesson_of, rollout_of
from ttsd.running.engine import load_tokenizer


@dataclass(frozen=True, slots=True)
class Token:
    """One token of an answer, as text, with the log-probabilities that were or are computed for it (nats).

    `gain` is the teacher's minus the student's: which way the token's probability is pushed.
    """

    text: str
    sampler: float
    student: float | None = None
    teacher: float | None = None
    gain: float | None = None


def tokens_of(store: Store, run: int, attempt: int) -> list[Token]:
    """The answer's tokens as they were sampled. Loads the run's tokenizer only."""
    row, rollout = store.run(run), rollout_of(store, run, attempt)
    tokenizer, completion = load_tokenizer(recorded_config(row["config"])), rollout.completion
    pairs = zip(completion.token_ids, completion.logprobs, strict=True)
    return [Token(tokenizer.token_text(token), logprob) for token, logprob in pairs]


def recorded_tokens(store: Store, run: int, attempt: int) -> list[Token]:
    """`tokens_of` with the gains that the step found which learnt from it; empty where none has."""
    gains = store.gains(run, attempt)
    if gains is None:
        return []
    return [replace(token, gain=gain) for token, gain in zip(tokens_of(store, run, attempt), gains, strict=True)]


def scored_tokens(store: Store, run: int, attempt: int) -> tuple[list[Token], str]:
    """`tokens_of` with student and teacher scores, and which weights gave them.

    UserError: the run has no teacher, or none of its states is left.
    """
    from ttsd import backbone
    from ttsd.training.trainer import Trainer

    row, rollout = store.run(run), rollout_of(store, run, attempt)
    if not kind_of(row["method"]).taught:
        raise UserError(f"run {run} is {row['method']}, which has no teacher; leave out the scores")
    config = recorded_config(row["config"])
    state, weights = _state_before(store, run, rollout.step)
    lesson = lesson_of(store, row, rollout, load_tokenizer(config), config)
    trainer, name = Trainer(backbone.resolve(config.model.path), config), f"run-{run}"
    trainer.create(name, row["seed"]) if state is None else trainer.load(name, state)
    student, teacher = trainer.per_token(name, lesson)
    plain = tokens_of(store, run, attempt)
    if not teacher:
        return [replace(token, student=s) for token, s in zip(plain, student, strict=True)], weights
    scores = zip(plain, student, teacher, strict=True)
    return [replace(token, student=s, teacher=t, gain=t - s) for token, s, t in scores], weights


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
