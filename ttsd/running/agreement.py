"""Before the first step: does the sampler really serve the trainer's adapters?

Serving stacks are known to ignore adapters in silence, or to serve an earlier version; the run would go on and learn
nothing. So a scratch adapter that is far from zero goes the way of every later one, and both sides must agree on the
log-probabilities of tokens drawn with and without it in one batch: exactly in float32, on average in 16 bits. A
trainer with a four-bit base is another model to begin with; there the adapter's effect has to be the same.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from ttsd.errors import InfrastructureError
from ttsd.nouns import Completion
from ttsd.sampling.protocol import AdapterRef, Sampler

if TYPE_CHECKING:
    from ttsd.learning.trainer import Trainer

NAME = "ttsd-agreement"
COMPLETIONS, TOKENS = 4, 32  # with the adapter, and as many without
NOISE, ROUNDS = 0.01, 20  # standard deviation added to the scratch adapter's weights, at most so many times
ENOUGH = 0.5  # nats a token of the prompt, by which the adapter has to be seen to change the trainer's model
FLOAT32_MAX = 1e-3  # nats; measured on a CPU: 1e-6
ROUNDED_MEAN = 0.05  # nats, in bfloat16 and float16, where single tokens may be far off
FOUR_BITS_MEAN = 0.3  # nats, where the trainer's base is in four bits and the sampler's is not
LEAST_SERVED = 0.5  # share of the adapter's effect that such a sampler must show
LEAST_CHANGE = 1e-3  # nats, by which the adapter must move the log-probabilities on average: sure answers move little
LEAST_RATIO = 3  # and how many times the disagreement that must be


async def check_agreement(
    sampler: Sampler, trainer: Trainer, prompt_ids: Sequence[int], *, top_p: float = 1.0, four_bits: bool = False
) -> dict[str, float]:
    """Findings in nats per token: how far sampler and trainer are apart, and how far the adapter moves the output.

    InfrastructureError, in one sentence, if the sampler ignores the adapter or disagrees with the trainer about it.
    `top_p`: what the sampler samples with; its log-probabilities are those of the truncated distribution.
    `four_bits`: the trainer's base is quantised, the sampler's is not.
    """
    with tempfile.TemporaryDirectory(prefix="ttsd-agreement-") as folder:
        ref = AdapterRef(NAME, 1, Path(folder) / "adapter")
        await asyncio.to_thread(_make_scratch, trainer, tuple(prompt_ids), ref.path)
        try:
            await sampler.swap(None, ref)
            drawn = await asyncio.gather(
                *(sampler.complete(prompt_ids, who, max_tokens=TOKENS) for who in [ref, None] * COMPLETIONS)
            )
            adapted = await asyncio.to_thread(_read, trainer, [NAME, None] * COMPLETIONS, prompt_ids, drawn)
            base = await asyncio.to_thread(_read, trainer, [None, None] * COMPLETIONS, prompt_ids, drawn)
        finally:
            await sampler.drop(ref)
            await asyncio.to_thread(trainer.drop, NAME)
    findings = compare([value for completion in drawn for value in completion.logprobs], adapted, base, top_p)
    judge(findings, "four bits" if four_bits else sampler.info["dtype"])
    return findings


def compare(
    sampler: Sequence[float], adapted: Sequence[float], base: Sequence[float], top_p: float
) -> dict[str, float]:
    """Distances between the log-probabilities of the same tokens: the sampler's, the trainer's and the base model's."""
    slack = -math.log(top_p)  # truncation to a mass of top_p raises a log-probability by no more
    gaps = [max(theirs - ours - slack, ours - theirs, 0.0) for theirs, ours in zip(sampler, adapted, strict=True)]
    moves = [abs(with_it - without) for with_it, without in zip(adapted, base, strict=True)]
    missed = [abs(theirs - without) for theirs, without in zip(sampler, base, strict=True)]
    effect = [(theirs - b, ours - b) for theirs, ours, b in zip(sampler, adapted, base, strict=True)]
    return {
        "gap/mean": fmean(gaps),
        "gap/max": max(gaps),
        "change": fmean(moves),
        "gap_to_base": fmean(missed),
        "served": sum(x * y for x, y in effect) / (sum(y * y for _, y in effect) or 1.0),  # least squares: 1, or 0
    }


def judge(findings: dict[str, float], dtype: str) -> None:
    """InfrastructureError if `findings` can't come from a sampler that serves the adapter."""
    mean, largest, change = findings["gap/mean"], findings["gap/max"], findings["change"]
    if dtype == "four bits":
        agree, seen = mean <= FOUR_BITS_MEAN, findings["served"] >= LEAST_SERVED
    else:
        agree = largest <= FLOAT32_MAX if dtype == "float32" else mean <= ROUNDED_MEAN
        seen = change >= LEAST_RATIO * mean
    if agree and seen and change >= LEAST_CHANGE:
        return
    if findings["gap_to_base"] < mean:
        raise InfrastructureError(
            f"the sampler ignores adapters: its log-probabilities are those of the base model, {mean:.3g} nats a token "
            "from the trainer's; use another version of the sampler or --set model.sampler=transformers"
        )
    raise InfrastructureError(
        f"sampler and trainer disagree by {mean:.3g} nats a token on average and {largest:.3g} at most in {dtype} "
        f"(the adapter moves {change:.3g}); use model.dtype=float32 or --set model.sampler=transformers"
    )


def _make_scratch(trainer: Trainer, prompt: tuple[int, ...], folder: Path) -> None:
    """An adapter that matters in this model, wide or narrow, and no larger than that."""
    trainer.create(NAME, seed=0)
    start, rest = prompt[:1], prompt[1:]
    base = trainer.logprobs(None, start, rest)
    for _ in range(ROUNDS):
        trainer.perturb(NAME, seed=0, scale=NOISE)
        adapted = trainer.logprobs(NAME, start, rest)
        if fmean(abs(one - other) for one, other in zip(adapted, base, strict=True)) > ENOUGH:
            break
    trainer.export(NAME, folder)


def _read(
    trainer: Trainer, names: Sequence[str | None], prompt_ids: Sequence[int], drawn: Sequence[Completion]
) -> list[float]:
    """The trainer's log-probabilities of all the drawn tokens, end to end; of each completion under its own adapter."""
    prompt = tuple(prompt_ids)
    return [
        value
        for name, completion in zip(names, drawn, strict=True)
        for value in trainer.logprobs(name, prompt, completion.token_ids)
    ]
