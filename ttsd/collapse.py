"""Alarms: what in the metrics of a run is known to go before failure, each with one line of advice; and collapse.

The signatures are those that users of the method report: vanishing gradients, entropy that jumps or dies, a sampler
that drifts away from the trainer, a policy far from its base. Not here: what only the judge knows (verdicts, programs),
but for `Collapse`, which is no warning: the policy is given up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from statistics import fmean, median

from ttsd.nouns import Lesson, Rollout, Status

Metrics = Mapping[str, float]
Signature = Callable[[Sequence[float]], bool]

RECENT = 4  # steps that have to agree before anything is said


def group_metrics(rollouts: Sequence[Rollout], lessons: Sequence[Lesson]) -> dict[str, float]:
    """Shares of a step's attempts, under the reference's names where it has them."""
    answered = [rollout for rollout in rollouts if rollout.verdict.status is not Status.ABORTED]
    count, programs = max(len(answered), 1), {rollout.program for rollout in answered}
    shares = {
        "success_sample_fraction": sum(rollout.verdict.visible_accepted for rollout in answered),
        "feedback_available_fraction": sum(bool(rollout.verdict.feedback) for rollout in answered),
        "feedback_used_fraction": sum(lesson.feedback_used for lesson in lessons),
        "reprompt_sample_fraction": sum(lesson.reprompt_ids is not None for lesson in lessons),
        "truncated_fraction": sum(rollout.completion.finish_reason == "length" for rollout in answered),
        "unique_program_fraction": len(programs),
        "completion_tokens": sum(len(rollout.completion.token_ids) for rollout in answered),
    }
    success = float(shares["success_sample_fraction"] > 0)
    return {"success_group_fraction": success, **{name: share / count for name, share in shares.items()}}


class Collapse:
    """Sees when attempts that used to pass cases come to fail them: a policy in that state doesn't find back.

    `seen` takes in finished groups in order. True: the last RECENT pass less than half of the visible cases that the
    best RECENT passed; then all begins anew. Attempts that never pass a case can't collapse.
    """

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._best = 0.0

    def seen(self, rollouts: Sequence[Rollout]) -> bool:
        self._recent.append(fmean(rollout.verdict.visible_fraction for rollout in rollouts))
        if len(self._recent) < RECENT:
            return False
        now = fmean(self._recent)
        self._best = max(self._best, now)
        collapsed = now < self._best / 2
        if collapsed:
            self._recent.clear()
            self._best = 0.0
        return collapsed


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
