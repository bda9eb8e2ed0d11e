"""The losses as pure functions: tensors in, tensors out, no model and no state.

The distillation loss is equation 2 of the SDPO paper in the forms that its code offers: reverse KL, forward KL and the
generalised Jensen-Shannon divergence between student and stop-gradient teacher, each at its own prompt. The support is
the student's top-K tokens plus one bucket for the rest, the whole vocabulary, or the sampled token alone.

Functions work on *rows*, one per completion token; the caller sees to padding, packing and micro-batches. The loss is a
sum over rows of weight x divergence, and the weights carry mask, averaging and importance. `chunked_rows` sums a loss
over hidden states whose logits exist for a few rows at a time, `chunked_distillation_loss` does all of it for a padded
batch. Not here: where hidden states come from, and clipping of the summed gradient.

All is computed one precision above its inputs (float32 in float64, bfloat16 in float32), because a KL of 0.01 is what
is left of terms that cancel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch  # noqa: TID253
from torch import Tensor  # noqa: TID253

Aggregation = Literal["token-mean", "seq-mean-token-sum", "seq-mean-token-mean"]
RowLoss = Callable[[Tensor, slice], Tensor]

_LOG_RATIO_BOUND = 20.0  # exp() of more is an accident, not a probability ratio
_MAX_LOG_HEAD = -1e-7  # the top K never hold all the mass, so the tail has a logarithm
_CACHED = 1 << 18  # numbers that a core's cache holds in float64
_EXACT_PROJECTION = 1 << 16  # elements of a projection whose rounding would show in a small KL


@dataclass(frozen=True, slots=True)
class Divergence:
    """Names a divergence and its support, in the words of the paper's code.

    `alpha`: 0 is KL(teacher || student), 1 is KL(student || teacher), between is the generalised JSD
    (1 - alpha) KL(student || m) + alpha KL(teacher || m) with m = (1 - alpha) student + alpha teacher.
    `topk`: the student's K most likely tokens; None (or K >= V) is the whole vocabulary. Without `add_tail` both sides
    are renormalised on the top K; with it the remaining mass is one more outcome.
    `log_ratio_clip`: the teacher's log-probability of every outcome is first brought to within this distance of the
    student's. Like the teacher the bound carries no gradient, so for alpha = 1 the gradient is that of a policy
    gradient whose advantages log(teacher / student) are clipped.
    `sampled_token`: no distribution at all; the score-function estimate of the reverse KL on the sampled token.
    """

    alpha: float = 1.0
    topk: int | None = 20
    add_tail: bool = True
    log_ratio_clip: float | None = None
    sampled_token: bool = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.alpha <= 1.0:
            raise ValueError(f"alpha={self.alpha} is outside [0, 1]; 0 is forward KL, 1 reverse KL")
        if self.sampled_token and self.alpha != 1.0:
            raise ValueError(f"alpha={self.alpha} needs distributions; with sampled tokens only reverse KL (1) exists")
        if self.topk is not None and self.topk < 1:
            raise ValueError(f"distillation_topk={self.topk} leaves no token; give at least 1, or None for all")


def token_divergence(
    student_logits: Tensor, teacher_logits: Tensor, token_ids: Tensor, divergence: Divergence
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns for each row of logits (n, vocab) the divergence and the sampled token's two log-probabilities.

    Those are the student's and the teacher's, all (n,). The teacher keeps K + 1 values per row, gathered at the
    student's own top K and at the sampled token.
    """
    ids = _support(student_logits, divergence)
    wanted = token_ids[:, None] if ids is None else torch.cat([ids, token_ids[:, None]], dim=1)
    student, teacher = log_probs_at(student_logits, wanted), log_probs_at(teacher_logits, wanted).detach()
    sampled_student, sampled_teacher = student[:, -1], teacher[:, -1]
    if divergence.sampled_token:
        bounded = _bounded(sampled_teacher, sampled_student, divergence.log_ratio_clip)
        value = (sampled_student - bounded).detach() * sampled_student
    elif ids is None:
        value = _between(_log_softmax(student_logits), _log_softmax(teacher_logits).detach(), divergence)
    else:
        close = _with_tail if divergence.add_tail else _renormalised
        value = _between(close(student[:, :-1]), close(teacher[:, :-1]), divergence)
    return value, sampled_student, sampled_teacher


def log_probs_at(logits: Tensor, ids: Tensor) -> Tensor:
    """Returns log softmax(logits) at `ids`: (n, vocab), (n, k) -> (n, k), one precision up, without copying it all."""
    chosen: Tensor = _LogProbsAt.apply(logits, ids)  # type: ignore[no-untyped-call]
    return chosen


def entropy(logits: Tensor) -> Tensor:
    """Returns the entropy in nats of each row of (n, vocab)."""
    return torch.cat([-(some.exp() * some).sum(dim=-1) for _, some in _log_softmax_by_rows(logits.detach())])


def aggregation_weights(mask: Tensor, mode: Aggregation) -> Tensor:
    """Returns factors (batch, token) that turn token losses into the mode's mean: loss = sum(weights * token losses).

    The mean is linear in the losses, so any part of the batch can be computed anywhere. Sequences without a token don't
    count. ValueError: an unknown mode.
    """
    kept = mask.bool().double()
    tokens = kept.sum(dim=1, keepdim=True)
    sequences = (tokens > 0).sum().clamp(min=1)
    if mode == "token-mean":
        return kept / kept.sum().clamp(min=1)
    if mode == "seq-mean-token-sum":
        return kept / sequences
    if mode == "seq-mean-token-mean":
        return kept / tokens.clamp(min=1) / sequences
    raise ValueError(f"loss_agg_mode={mode!r} is unknown; use token-mean, seq-mean-token-sum or seq-mean-token-mean")


def importance_weights(new_logprobs: Tensor, old_logprobs: Tensor, cap: float) -> Tensor:
    """Returns truncated importance weights min(new / old probability, cap) per token, without gradient."""
    log_ratio = (new_logprobs - old_logprobs).detach()
    return log_ratio.clamp(-_LOG_RATIO_BOUND, _LOG_RATIO_BOUND).exp().clamp(max=cap)


def group_advantages(rewards: Tensor) -> Tensor:
    """Returns GRPO's advantages of rewards (group,): centred, over their standard deviation; zeros if all are equal."""
    centred = rewards - rewards.mean()
    return centred / centred.square().mean().sqrt().clamp(min=1e-6)


def policy_gradient(student_logprobs: Tensor, advantages: Tensor) -> Tensor:
    """Returns -advantage x probability ratio per token. The batch is used for one update, so the ratio's value is 1."""
    return -advantages * (student_logprobs - student_logprobs.detach()).exp()


def kl_to_base(student_logprobs: Tensor, base_logprobs: Tensor) -> Tensor:
    """Estimates KL(student || base) from sampled tokens: r - 1 - log r with r = base / student (Schulman's k3)."""
    log_ratio = base_logprobs.detach() - student_logprobs
    return log_ratio.expm1() - log_ratio


def chunked_rows(hidden: Tensor, rows: Tensor, weight: Tensor, row_loss: RowLoss, chunk_tokens: int) -> Tensor:
    """Returns the sum over `rows` of `row_loss(their logits, which of the rows)`, `chunk_tokens` rows at a time.

    `hidden` (n, hidden) is projected by `weight` (vocab, hidden). `rows` selects from `hidden`, repeats allowed. What
    else the loss needs is in its closure, without gradient. ValueError: no rows at a time.
    """
    if chunk_tokens < 1:
        raise ValueError(f"chunk_tokens={chunk_tokens} makes no progress; give at least 1")
    total: Tensor = _ChunkedRows.apply(hidden, rows, weight, row_loss, chunk_tokens)  # type: ignore[no-untyped-call]
    return total


class Projection:
    """Projects hidden states (n, hidden) to logits (n, vocab), without gradient.

    The logits are in memory that the next call overwrites: new pages for every chunk would cost a CPU a third of the
    product's time. They are float64 where the weight is so small that this costs nothing.
    """

    def __init__(self, weight: Tensor) -> None:
        exact = weight.dtype == torch.float32 and weight.numel() <= _EXACT_PROJECTION
        self._weight = weight.detach().double() if exact else weight.detach()
        self._logits = self._weight.new_empty(0)

    @torch.no_grad()
    def __call__(self, hidden: Tensor) -> Tensor:
        if len(hidden) > len(self._logits):
            self._logits = self._weight.new_empty(len(hidden), len(self._weight))
        return torch.mm(hidden.to(self._weight.dtype), self._weight.T, out=self._logits[: len(hidden)])


def chunked_distillation_loss(
    student_hidden: Tensor,
    teacher_hidden: Tensor,
    lm_head_weight: Tensor,
    token_ids: Tensor,
    mask: Tensor,
    *,
    chunk_tokens: int,
    alpha: float,
    distillation_topk: int | None,
    distillation_add_tail: bool,
    is_clip: float | None = None,
    old_logprobs: Tensor | None = None,
    rollout_is_weights: Tensor | None = None,
    log_ratio_clip: float | None = None,
    loss_agg_mode: Aggregation = "token-mean",
    full_logit_distillation: bool = True,
) -> Tensor:
    """Returns the distillation loss of a batch, a scalar whose gradient reaches student and head, not the teacher.

    Hidden states are (batch, token, hidden), where position t predicts `token_ids[:, t]`, and `lm_head_weight` (vocab,
    hidden) projects them; the rest is (batch, token). Logits exist for `chunk_tokens` unmasked tokens at a time. Values
    where the mask is 0 have no influence at all. `is_clip` caps the ratio exp(student - old_logprobs) of the sampled
    token, `rollout_is_weights` are given factors (see `importance_weights`); both multiply the token's loss and carry
    no gradient. ValueError: settings that exclude each other.
    """
    if is_clip is not None and old_logprobs is None:
        raise ValueError(f"is_clip={is_clip} caps a ratio to old_logprobs; give them, or is_clip=None")
    divergence = Divergence(
        alpha, distillation_topk, distillation_add_tail, log_ratio_clip, sampled_token=not full_logit_distillation
    )
    rows, weights = mask.bool().flatten().nonzero().squeeze(1), aggregation_weights(mask, loss_agg_mode)
    if rollout_is_weights is not None:
        weights = weights * rollout_is_weights.detach()
    teacher_hidden, token_ids, weights = (values.flatten(0, 1) for values in (teacher_hidden, token_ids, weights))
    project = Projection(lm_head_weight)

    def row_loss(logits: Tensor, part: slice) -> Tensor:
        at = rows[part]
        value, sampled, _ = token_divergence(logits, project(teacher_hidden[at]), token_ids[at], divergence)
        if is_clip is not None and old_logprobs is not None:
            value = value * importance_weights(sampled, old_logprobs.flatten()[at], is_clip)
        return value * weights[at]

    return chunked_rows(student_hidden.flatten(0, 1), rows, lm_head_weight, row_loss, chunk_tokens)


class _ChunkedRows(torch.autograd.Function):
    """Computes the gradient of a chunk while its logits exist, so that backward only scales it."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, rows: Tensor, weight: Tensor, row_loss: RowLoss, chunk_tokens: int) -> Tensor:
        total = torch.zeros((), dtype=_wider(hidden.dtype), device=hidden.device)
        hidden_grad = torch.zeros_like(hidden) if ctx.needs_input_grad[0] else None
        weight_grad = torch.zeros_like(weight) if ctx.needs_input_grad[2] else None
        project = Projection(weight)
        for part in _parts(len(rows), chunk_tokens):
            states = hidden.index_select(0, rows[part])
            logits = project(states).detach().requires_grad_()
            with torch.enable_grad():
                loss = row_loss(logits, part).sum()
            total += loss.detach()
            if hidden_grad is not None or weight_grad is not None:
                (grad,) = torch.autograd.grad(loss, logits)
                if hidden_grad is not None:
                    hidden_grad.index_add_(0, rows[part], (grad @ weight.to(grad.dtype)).to(hidden.dtype))
                if weight_grad is not None:
                    weight_grad += grad.T @ states.to(grad.dtype)
        ctx.save_for_backward(hidden_grad, weight_grad)
        return total.to(torch.promote_types(hidden.dtype, torch.float32))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, Tensor | None, None, None]:
        hidden_grad, weight_grad = (
            None if stored is None else stored * grads[0].to(stored.dtype) for stored in ctx.saved_tensors
        )
        return hidden_grad, None, weight_grad, None, None


def _wider(dtype: torch.dtype) -> torch.dtype:
    """Returns the precision in which logits of `dtype` are compared."""
    return torch.float64 if dtype in (torch.float32, torch.float64) else torch.float32


def _parts(rows: int, chunk: int) -> Iterator[slice]:
    """Returns slices of `chunk` rows, the last one shorter, that cover `rows` rows."""
    return (slice(start, min(start + chunk, rows)) for start in range(0, rows, chunk))


def _between(student: Tensor, teacher: Tensor, divergence: Divergence) -> Tensor:
    """Returns the divergence of two rows of log-probabilities, (n, outcomes) -> (n,)."""
    teacher = _bounded(teacher, student, divergence.log_ratio_clip)
    alpha = divergence.alpha
    if alpha == 1.0:
        return _kl(student, teacher)
    if alpha == 0.0:
        return _kl(teacher, student)
    mixture = torch.logaddexp(student + math.log1p(-alpha), teacher + math.log(alpha))
    return (1 - alpha) * _kl(student, mixture) + alpha * _kl(teacher, mixture)


def _kl(left: Tensor, right: Tensor) -> Tensor:
    return (left.exp() * (left - right)).sum(dim=-1)


def _bounded(teacher: Tensor, student: Tensor, limit: float | None) -> Tensor:
    if limit is None:
        return teacher
    anchor = student.detach()
    return anchor + (teacher - anchor).clamp(-limit, limit)


def _with_tail(log_probs: Tensor) -> Tensor:
    """Adds an outcome with the mass that the others leave: log(1 - sum p)."""
    head = log_probs.logsumexp(dim=-1, keepdim=True).clamp(max=_MAX_LOG_HEAD)
    return torch.cat([log_probs, torch.log(-torch.expm1(head))], dim=-1)


def _renormalised(log_probs: Tensor) -> Tensor:
    return log_probs - log_probs.logsumexp(dim=-1, keepdim=True)


def _support(logits: Tensor, divergence: Divergence) -> Tensor | None:
    """Returns token ids (n, K) of the student's top K; None where no selection is made."""
    if divergence.sampled_token or divergence.topk is None or divergence.topk >= logits.shape[-1]:
        return None
    return logits.detach().topk(divergence.topk, dim=-1, sorted=False).indices


def _log_softmax(logits: Tensor) -> Tensor:
    return torch.log_softmax(logits.to(_wider(logits.dtype)), dim=-1)


class _LogProbsAt(torch.autograd.Function):
    """Keeps the narrow logits only; the softmax is computed again for the gradient, a few rows at a time."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, ids: Tensor) -> Tensor:
        ctx.save_for_backward(logits, ids)
        return torch.cat([log_probs.gather(-1, ids[rows]) for rows, log_probs in _log_softmax_by_rows(logits)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        logits, ids = ctx.saved_tensors
        (grad,) = grads
        out = torch.empty_like(logits)
        for rows, log_probs in _log_softmax_by_rows(logits):
            spread = log_probs.exp_().mul_(-grad[rows].sum(dim=-1, keepdim=True))
            out[rows] = spread.scatter_add_(-1, ids[rows], grad[rows])
        return out, None


def _log_softmax_by_rows(logits: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Returns rows and their log-softmax one precision up; on a CPU few rows at a time, which stay in its cache."""
    count, vocab = logits.shape
    at_once = max(1, _CACHED // vocab) if logits.device.type == "cpu" else max(1, count)
    for rows in _parts(count, at_once):
        yield rows, torch.log_softmax(logits[rows].to(_wider(logits.dtype)), dim=-1)
