"""An answer token by token: its log-probability for sampler, student and teacher.

A gradient step leaves the token advantages (teacher minus student) in the run database. Scores of both load the model
and need the weights as they were: the last few states are kept, so for older steps the oldest kept one is used and
named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ttsd.config import recorded_config
from ttsd.errors import UserError
from ttsd.methods import method_named
from ttsd.nouns import Example
from ttsd.record.store import Row, Store
from ttsd.reporting.attempt import attempt_of
from ttsd.running.engine import load_tokenizer
from ttsd.sampling.plain_text import PlainText


@dataclass(frozen=True, slots=True)
class Token:
    """One token of an answer, as text, with the log-probabilities that are known for it (nats).

    `advantage` is the teacher's minus the student's: in which direction the token's probability is moved.
    """

    text: str
    sampler: float
    student: float | None = None
    teacher: float | None = None
    advantage: float | None = None


def tokens_of(store: Store, run: int, attempt: int) -> list[Token]:
    """Returns the answer's tokens as they were sampled. Loads the run's tokenizer only.

    UserError: an endpoint sampled them, which gives text alone.
    """
    row, completion = store.run(run), attempt_of(store, run, attempt).completion
    tokenizer = load_tokenizer(recorded_config(row["config"]))
    if isinstance(tokenizer, PlainText):
        raise UserError(
            f"run {run} was sampled by an endpoint, which does not say which tokens; look at it without them"
        )
    pairs = zip(completion.token_ids, completion.logprobs, strict=True)
    return [Token(tokenizer.whole_text([token]), logprob) for token, logprob in pairs]


def recorded_tokens(store: Store, run: int, attempt: int) -> list[Token]:
    """Returns `tokens_of` with the advantages of the step that learned from it; empty where none did."""
    learned = store.example(run, attempt)
    if learned is None or learned[1] is None:
        return []
    tokens = tokens_of(store, run, attempt)
    return [replace(token, advantage=value) for token, value in zip(tokens, learned[1], strict=True)]


def scored_tokens(store: Store, run: int, attempt: int) -> tuple[list[Token], str]:
    """Returns `tokens_of` with student and teacher scores, and which weights gave them.

    UserError: the run has no teacher, or none of its states is left.
    """
    from ttsd import backbone
    from ttsd.training.trainer import Trainer

    row, made, learned = store.run(run), attempt_of(store, run, attempt), store.example(run, attempt)
    if not method_named(row["method"]).column.teaches:
        raise UserError(f"run {run} is {row['method']}, which has no teacher; leave out the scores")
    if not made.answered:
        raise UserError(f"attempt {attempt} was aborted and has no tokens; choose another one")
    completion = made.completion
    plain = Example(attempt, made.prompt.token_ids, completion.token_ids, completion.logprobs)
    config = recorded_config(row["config"])
    state, weights = _state_before(store, run, made.step)
    trainer, name = Trainer(backbone.resolve(config.model.path, config.model.revision), config), f"run-{run}"
    trainer.create(name, row["seed"]) if state is None else trainer.load(name, state)
    student, teacher = trainer.per_token(name, learned[0] if learned else plain)
    tokens = tokens_of(store, run, attempt)
    if not teacher:
        return [replace(token, student=s) for token, s in zip(tokens, student, strict=True)], weights
    scores = zip(tokens, student, teacher, strict=True)
    return [replace(token, student=s, teacher=t, advantage=t - s) for token, s, t in scores], weights


def token_rows(tokens: Sequence[Token]) -> list[Row]:
    """Returns tokens as rows of a table."""
    names = {"sampler": "sampler", "student": "student", "teacher": "teacher", "teacher - student": "advantage"}
    return [
        {"token": repr(token.text)[1:-1]}
        | {title: "" if (value := getattr(token, name)) is None else f"{value:.3f}" for title, name in names.items()}
        for token in tokens
    ]


def _state_before(store: Store, run: int, step: int) -> tuple[Path | None, str]:
    """Returns the learner's state that the step began with, or the nearest later one; None: fresh weights."""
    if step == 1:
        return None, "the weights it was sampled from"
    folders = {row["step"]: store.state_folder(run, row["state"]) for row in store.steps(run) if row["state"]}
    kept = [number for number, folder in sorted(folders.items()) if folder.is_dir() and number >= step - 1]
    if not kept:
        raise UserError(
            f"no state of run {run} from step {step - 1} on is left in {store.state_dir}; choose an attempt of step 1"
        )
    exact = kept[0] == step - 1
    return folders[kept[0]], "the weights it was sampled from" if exact else f"the weights after step {kept[0]}"
