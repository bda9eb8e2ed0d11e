"""The log-probability parity check, before the first step: does the sampler serve the trainer's adapters?

Serving stacks are known to ignore adapters in silence, or to serve an earlier version; the run would continue and learn
nothing. So a scratch adapter that is far from zero goes the way of every later one, and the log-probabilities of
sampled tokens must be the same by three ways: the sampler's, the trainer's (several completions of one prompt in one
packed row, one of them with the longest prompt of a run, with gradients and without), and transformers' own forward
pass, one sequence at a time. In float32 they are equal. In 16 bits they are as far apart as rounding each layer's
output once more makes them; there the adapter's effect has to be the same on average too.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from ttsd.errors import InfrastructureError
from ttsd.sampling.background import in_thread
from ttsd.sampling.protocol import AdapterRef, Sampler

if TYPE_CHECKING:
    from ttsd.training.trainer import Trainer

Tokens = tuple[int, ...]

NAME = "ttsd-parity"
COMPLETIONS, TOKENS = 4, 32  # with the adapter, and as many without
NOISE, ROUNDS = 0.01, 20  # standard deviation added to the scratch adapter's weights, at most so many times
ENOUGH = 0.5  # nats a token of the prompt, by which the adapter has to be seen to change the trainer's model
FLOAT32_MAX = 1e-3  # nats; measured on a CPU: 1e-6
LEAST_CHANGE = 1e-3  # nats, by which the adapter must move the log-probabilities on average: sure answers move little
LEAST_RATIO = 3  # and in float32 how many times the disagreement that must be

ROUNDINGS = 4  # how many times the effect of one more rounding two ways in 16 bits may be apart, on average
LEAST_ROUNDING = 0.005  # nats; what that effect is taken for at least
# How far apart two noisy measurements may be: nats on average, and least and most of the adapter's effect.
SIXTEEN_BITS = 0.15, 0.7, 1.3  # 0.01 to 0.05 nats are usual at 8B
FEWER_BITS = 0.3, 0.5, 2.0


async def check_parity(
    sampler: Sampler,
    trainer: Trainer,
    prompt_ids: Sequence[int],
    *,
    longest: int | None = None,
    quantised: bool = False,
) -> dict[str, float]:
    """Returns findings in nats per token: how far the ways are apart, and how far the adapter moves the output.

    InfrastructureError, in one sentence, if the sampler ignores the adapter, or if two ways disagree.
    `longest`: tokens of the longest prompt of a run. `quantised`: sampler and trainer hold the base in different
    numbers of bits.
    """
    prompt = tuple(prompt_ids)
    long = tuple(islice(cycle(prompt), max(longest or 0, len(prompt))))
    with tempfile.TemporaryDirectory(prefix="ttsd-parity-") as folder:
        ref = AdapterRef(NAME, 1, Path(folder) / "adapter")
        await in_thread(_make_scratch, trainer, prompt, ref.path)
        try:
            await sampler.swap(None, ref)
            asked = [(prompt, ref)] * COMPLETIONS + [(long, ref)] + [(prompt, None)] * COMPLETIONS
            completions = await asyncio.gather(*(sampler.complete(ids, who, max_tokens=TOKENS) for ids, who in asked))
            sampled = [(ids, one.token_ids) for (ids, _), one in zip(asked, completions, strict=True)]
            own, others = sampled[: COMPLETIONS + 1], sampled[COMPLETIONS + 1 :]
            ways = await in_thread(trainer.logprobs_each_way, NAME, own, others)
        finally:
            await sampler.drop(ref)
            await in_thread(trainer.drop, NAME)
    said = [value for completion in completions for value in completion.logprobs]
    adapted = [*ways["packed"], *ways["base"][len(ways["packed"]) :]]
    findings = compare(said, adapted, ways["base"]) | compare_ways(ways)
    dtype = "fewer bits" if quantised else sampler.info["dtype"]
    judge_ways(findings, dtype)
    judge(findings, dtype)
    return findings


def compare_ways(ways: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Returns how far the trainer is from itself: packed from plain, with gradients from without (nats)."""
    return {
        **_apart("packed", ways["packed"], ways["plain"]),
        **_apart("gradient", ways["packed"], ways["gradient"]),
        "rounding": _apart("", ways["plain"][: len(ways["rounded"])], ways["rounded"])["/mean"],
    }


def _apart(name: str, one: Sequence[float], other: Sequence[float]) -> dict[str, float]:
    gaps = [abs(x - y) for x, y in zip(one, other, strict=True)]
    return {f"{name}/mean": fmean(gaps), f"{name}/max": max(gaps)}


def judge_ways(findings: dict[str, float], dtype: str) -> None:
    """Raises InfrastructureError if the trainer computes another model than transformers, or than without gradients.

    `dtype` as for `judge`.
    """
    blame = {"packed": "computes other log-probabilities than transformers", "gradient": "changes with gradients on"}
    for way, what in blame.items():
        mean, most = findings[f"{way}/mean"], findings[f"{way}/max"]
        if most > FLOAT32_MAX if dtype == "float32" else mean > _explained(findings):
            raise InfrastructureError(
                f"the trainer {what} ({mean:.3g} nats a token on average, {most:.3g} at most); choose another model, "
                "or report this one"
            )


def _explained(findings: dict[str, float]) -> float:
    """Returns the mean distance that rounding to 16 bits explains (nats)."""
    return ROUNDINGS * max(findings.get("rounding", math.inf), LEAST_ROUNDING)


def compare(sampler: Sequence[float], adapted: Sequence[float], base: Sequence[float]) -> dict[str, float]:
    """Distances between the log-probabilities of the same tokens: the sampler's, the trainer's and the base model's."""
    effect = [(theirs - b, ours - b) for theirs, ours, b in zip(sampler, adapted, base, strict=True)]
    return {
        **_apart("gap", sampler, adapted),
        "change": _apart("", adapted, base)["/mean"],
        "gap_to_base": _apart("", sampler, base)["/mean"],
        "served": sum(x * y for x, y in effect) / (sum(y * y for _, y in effect) or 1.0),  # least squares: 1, or 0
    }


def judge(findings: dict[str, float], dtype: str) -> None:
    """Raises InfrastructureError if `findings` can't come from a sampler that serves the adapter.

    `dtype`: of sampler and trainer, or "fewer bits" where one of them holds the base quantised.
    """
    if _agree(findings, dtype):
        return
    mean, change = findings["gap/mean"], findings["change"]
    if findings["gap_to_base"] < mean:
        raise InfrastructureError(
            f"the sampler ignores adapters: its log-probabilities are those of the base model, {mean:.3g} nats a token "
            "from the trainer's; use another version of the sampler or --set model.sampler=transformers"
        )
    exact = ", model.dtype=float32 where it fits" if dtype in ("bfloat16", "float16") else ""
    raise InfrastructureError(
        f"sampler and trainer disagree by {mean:.3g} nats a token on average and {findings['gap/max']:.3g} at most in "
        f"{dtype} (the adapter moves {change:.3g}, the sampler shows {findings['served']:.0%} of that); use another "
        f"version of the sampler{exact}, or --set model.sampler=transformers"
    )


def _agree(findings: dict[str, float], dtype: str) -> bool:
    mean, change = findings["gap/mean"], findings["change"]
    if change < LEAST_CHANGE:
        return False
    if dtype == "float32":
        return findings["gap/max"] <= FLOAT32_MAX and change >= LEAST_RATIO * mean
    most, least_served, most_served = FEWER_BITS if dtype == "fewer bits" else SIXTEEN_BITS
    if dtype != "fewer bits":
        most = min(most, _explained(findings))
    return mean <= most and least_served <= findings["served"] <= most_served


def _make_scratch(trainer: Trainer, prompt: tuple[int, ...], folder: Path) -> None:
    """Makes an adapter that matters in this model, wide or narrow, and no larger than that."""
    trainer.create(NAME, seed=0)
    start, rest = prompt[:1], prompt[1:]
    base = trainer.logprobs(None, start, rest)
    for _ in range(ROUNDS):
        trainer.perturb(NAME, seed=0, scale=NOISE)
        adapted = trainer.logprobs(NAME, start, rest)
        if fmean(abs(one - other) for one, other in zip(adapted, base, strict=True)) > ENOUGH:
            break
    trainer.export(NAME, folder)
