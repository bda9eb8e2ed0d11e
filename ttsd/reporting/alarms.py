"""Alarms: what in the metrics of a run is known to precede failure, each with one line of advice.

The signatures are those that users of the method report: vanishing gradients, entropy that jumps or dies, a sampler
that drifts away from the trainer, a policy far from its base (`alarms`, from the trainer's metrics), and answers that
run into a limit, get worse or repeat (`attempt_alarms`, from what the judge saw).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from statistics import fmean, median

Metrics = Mapping[str, float]
Signature = Callable[[Sequence[float]], bool]

RECENT = 4  # steps that have to agree before anything is said


def alarms(steps: Sequence[Metrics]) -> list[str]:
    """Returns one sentence per alarm that the last steps raise; `steps`: the metrics of a run, oldest first."""
    found = []
    for name, seen, sentence in ALARMS:
        values = [metrics[name] for metrics in steps if name in metrics and (metrics["updated"] or name in _ALWAYS)]
        if len(values) >= RECENT and seen(values):
            found.append(sentence.format(fmean(values[-RECENT:])))
    if returns := sum("returned_to" in metrics for metrics in steps):
        found.append(f"collapsed {returns} x, back at the best weights: a lower lora.lr may keep it going for longer")
    return found


def _idle(values: Sequence[float]) -> bool:
    return len(list(takewhile(lambda value: value == 0, reversed(values)))) >= RECENT


def _jumped(values: Sequence[float]) -> bool:
    return median(values[-RECENT:]) > 1.0 + 2 * median(values[:RECENT])


_ALWAYS = ("updated", "grad_finite")
ALARMS: tuple[tuple[str, Signature, str], ...] = (
    (
        "updated",
        _idle,
        "the last steps had nothing to learn from: no attempt had feedback or a demonstration, or all had one "
        "reward (look at one with `ttsd show`)",
    ),
    (
        "grad_finite",
        lambda values: min(values[-RECENT:]) == 0,
        "a gradient was not finite and its step was skipped: use model.dtype=bfloat16 or float32, or a lower lora.lr",
    ),
    (
        "grad_norm",
        lambda values: max(values[-RECENT:]) < 1e-4,
        "the gradient's norm is only {:.1g}: student and teacher hardly differ, so make the feedback say more",
    ),
    (
        "entropy",
        _jumped,
        "entropy has jumped to {:.2g} nats a token, which precedes collapse: lower lora.lr or teacher_update_rate",
    ),
    (
        "entropy",
        lambda values: max(values[-RECENT:]) < 0.02 < median(values[:RECENT]),
        "entropy has died down to {:.2g} nats a token, so attempts repeat: lower lora.lr",
    ),
    (
        "logprob_gap/mean",
        lambda values: median(values[-RECENT:]) > 0.1,
        "sampler and trainer differ by {:.2g} nats a token: use model.dtype=float32, or sampler=transformers",
    ),
    (
        "tis_clip_fraction",
        lambda values: median(values[-RECENT:]) > 0.1,
        "{:.0%} of the tokens are cut by rollout_is_threshold: sampler and trainer disagree, see logprob_gap",
    ),
    (
        "preemptions",
        lambda values: sum(values[-RECENT:]) >= RECENT,
        "the sampler began {:.1f} completions a step again, its memory being full: raise model.kv_cache_gib or lower "
        "sampling.max_tokens",
    ),
    (
        "kl/base",
        lambda values: median(values[-RECENT:]) > 3.0,
        "the policy is {:.2g} nats a token from its base: lower lora.lr",
    ),
)


def attempt_alarms(points: Sequence[Mapping[str, float | None]]) -> list[str]:
    """Returns what the judge saw in a run that learns and what is known to precede failure; `alarms` knows the
    trainer's.

    First and last are medians over a third of the curve, so that one odd step is no alarm.
    """
    if len(points) < 3:
        return []
    found = []
    for name, alarm in ATTEMPT_ALARMS.items():
        values = [float(value) for point in points if (value := point.get(name)) is not None]
        part = len(values) // 3
        if part and (text := alarm(median(values[:part]), median(values[-part:]), max(values))):
            found.append(text)
    return found


Judgement = Callable[[float, float, float], str | None]  # of the first, the last and the largest value
ATTEMPT_ALARMS: dict[str, Judgement] = {
    "truncated": lambda first, last, most: (
        f"{last:.0%} of the answers reach the length limit: raise sampling.max_tokens" if last > 0.5 else None
    ),
    "visible_fraction": lambda first, last, most: (
        f"passed visible cases fell from {most:.0%} to {last:.0%}: lower lora.lr"
        if most >= 0.2 and last < most / 4
        else None
    ),
    "distinct_programs": lambda first, last, most: (
        f"only {last:.0%} of the programs still differ: lower lora.lr" if last < 0.15 and last < first / 2 else None
    ),
}
