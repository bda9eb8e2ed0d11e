"""Alarms: what in the metrics of a run is known to go before failure, each with one line of advice.

The signatures are those that users of the method report: vanishing gradients, entropy that jumps or dies, a sampler
that drifts away from the trainer, a policy far from its base. Not here: what only the judge knows (verdicts, programs).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from statistics import fmean, median

Metrics = Mapping[str, float]
Signature = Callable[[Sequence[float]], bool]

RECENT = 4  # steps that have to agree before anything is said


def alarms(steps: Sequence[Metrics]) -> list[str]:
    """One sentence per alarm that the last steps raise; `steps` are the metrics of a run so far, oldest first."""
    found = []
    for name, seen, sentence in ALARMS:
        values = [metrics[name] for metrics in steps if name in metrics and (metrics["updated"] or name in _ALWAYS)]
        if len(values) >= RECENT and seen(values):
            found.append(sentence.format(fmean(values[-RECENT:])))
    if restarts := sum("restarted" in metrics for metrics in steps):
        found.append(f"collapsed and began anew {restarts} x: a lower lora.lr may keep it going for longer")
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
        "the last steps had nothing to learn from: look at an attempt's feedback with `ttsd show`",
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
        "entropy has died down to {:.2g} nats a token, so attempts repeat: lower lora.lr or raise kl_to_base",
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
        "kl/base",
        lambda values: median(values[-RECENT:]) > 3.0,
        "the policy is {:.2g} nats a token from its base: lower lora.lr or set distillation.kl_to_base",
    ),
)
