"""An answer token by token: its log-probability for the sampler, and the token advantage that its step recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ttsd.config import recorded_config
from ttsd.errors import UserError
from ttsd.record.store import Row, Store
from ttsd.reporting.attempt import attempt_of
from ttsd.running.engine import load_tokenizer
from ttsd.sampling.plain_text import PlainText


@dataclass(frozen=True, slots=True)
class Token:
    """One token of an answer, as text, with what is known of it, in nats.

    `advantage` is the teacher's log-probability minus the student's: in which direction the token's probability was
    moved. None: no gradient step has learned from the attempt.
    """

    text: str
    sampler: float
    advantage: float | None


def tokens_of(store: Store, run: int, attempt: int) -> list[Token]:
    """Returns the answer's tokens. Loads the run's tokenizer only.

    UserError: an endpoint sampled them, which gives text alone.
    """
    row, completion = store.run(run), attempt_of(store, run, attempt).completion
    tokenizer = load_tokenizer(recorded_config(row["config"]))
    if isinstance(tokenizer, PlainText):
        raise UserError(
            f"run {run} was sampled by an endpoint, which does not say which tokens; look at it without them"
        )
    learned = store.example(run, attempt)
    advantages = learned[1] if learned and learned[1] is not None else [None] * len(completion.token_ids)
    columns = zip(completion.token_ids, completion.logprobs, advantages, strict=True)
    return [Token(tokenizer.whole_text([token]), logprob, advantage) for token, logprob, advantage in columns]


def token_rows(tokens: Sequence[Token]) -> list[Row]:
    """Returns tokens as rows of a table."""
    return [
        {
            "token": repr(token.text)[1:-1],
            "sampler": f"{token.sampler:.3f}",
            "teacher - student": "" if token.advantage is None else f"{token.advantage:.3f}",
        }
        for token in tokens
    ]
