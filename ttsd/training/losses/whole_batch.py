"""The distillation loss of a padded batch, (batch, token): the public form, with the names of the paper's code."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor  # noqa: TID253

from ttsd.training.losses.chunked import Projection, RowLoss, chunked_rows
from ttsd.training.losses.terms import (
    Aggregation,
    Divergence,
    aggregation_weights,
    importance_weights,
    token_divergence,
)

_PLAIN_CHUNK_BYTES = 1 << 24  # logits looked at together where they exist anyway


def distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    token_ids: Tensor,
    mask: Tensor,
    *,
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
    """Returns the distillation loss of a batch of logits; a scalar whose gradient reaches `student_logits` only.

    Logits are (batch, token, vocab), where position t predicts `token_ids[:, t]`; the rest is (batch, token). A token
    whose mask is 0 has no influence at all. `is_clip` caps the ratio exp(student - old_logprobs) of the sampled
    token, `rollout_is_weights` are ready-made factors (see `importance_weights`); both multiply the token's loss
    and carry no gradient.
    """
    divergence = Divergence(
        alpha, distillation_topk, distillation_add_tail, log_ratio_clip, sampled_token=not full_logit_distillation
    )
    chunk = max(1, _PLAIN_CHUNK_BYTES // (student_logits.shape[-1] * student_logits.element_size()))
    return _distillation(
        student_logits, None, lambda rows: _taken(teacher_logits, rows).detach(), token_ids, mask, divergence, chunk,
        is_clip, old_logprobs, rollout_is_weights, loss_agg_mode,
    )  # fmt: skip


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
    """Returns `distillation_loss` of hidden states (batch, token, hidden) projected by `lm_head_weight` (vocab,
    hidden).

    Logits exist for `chunk_tokens` unmasked tokens at a time and for none of the masked ones.
    """
    divergence = Divergence(
        alpha, distillation_topk, distillation_add_tail, log_ratio_clip, sampled_token=not full_logit_distillation
    )
    teacher = Projection(lm_head_weight)
    return _distillation(
        student_hidden, lm_head_weight, lambda rows: teacher(_taken(teacher_hidden, rows)), token_ids, mask, divergence,
        chunk_tokens, is_clip, old_logprobs, rollout_is_weights, loss_agg_mode,
    )  # fmt: skip


def _distillation(
    student: Tensor,
    weight: Tensor | None,
    teacher: Callable[[Tensor], Tensor],
    token_ids: Tensor,
    mask: Tensor,
    divergence: Divergence,
    chunk_tokens: int,
    is_clip: float | None,
    old_logprobs: Tensor | None,
    rollout_is_weights: Tensor | None,
    mode: Aggregation,
) -> Tensor:
    """Returns the loss of (batch, token, ...) states; `teacher` gives the logits of rows of them."""
    rows = _masked_rows(mask)
    weights = _row_weights(mask, rows, rollout_is_weights, mode)
    row_loss = _distillation_rows(
        divergence, _taken(token_ids, rows), weights, is_clip, _taken_or_none(old_logprobs, rows),
        lambda part: teacher(rows[part]),
    )  # fmt: skip
    return chunked_rows(student.flatten(0, 1), rows, weight, row_loss, chunk_tokens)


def _distillation_rows(
    divergence: Divergence,
    token_ids: Tensor,
    weights: Tensor,
    is_clip: float | None,
    old_logprobs: Tensor | None,
    teacher_logits: Callable[[slice], Tensor],
) -> RowLoss:
    if is_clip is not None and old_logprobs is None:
        raise ValueError(f"is_clip={is_clip} caps a ratio to old_logprobs; give them, or is_clip=None")

    def row_loss(logits: Tensor, part: slice) -> Tensor:
        value, sampled, _ = token_divergence(logits, teacher_logits(part), token_ids[part], divergence)
        if is_clip is not None and old_logprobs is not None:
            value = value * importance_weights(sampled, old_logprobs[part], is_clip)
        return value * weights[part]

    return row_loss


def _row_weights(mask: Tensor, rows: Tensor, importance: Tensor | None, mode: Aggregation) -> Tensor:
    weights = _taken(aggregation_weights(mask, mode), rows)
    return weights if importance is None else weights * _taken(importance.detach(), rows)


def _masked_rows(mask: Tensor) -> Tensor:
    return mask.bool().flatten().nonzero().squeeze(1)


def _taken(values: Tensor, rows: Tensor) -> Tensor:
    """Maps (batch, token, ...) -> (rows, ...)."""
    return values.flatten(0, 1).index_select(0, rows)


def _taken_or_none(values: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if values is None else _taken(values, rows)
