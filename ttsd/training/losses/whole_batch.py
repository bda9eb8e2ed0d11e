"""The distillation loss of a padded batch, (batch, token), with the names of the paper's code. For scripts."""

from __future__ import annotations

from torch import Tensor  # noqa: TID253

from ttsd.training.losses.chunked import Projection, chunked_rows
from ttsd.training.losses.terms import (
    Aggregation,
    Divergence,
    aggregation_weights,
    importance_weights,
    token_divergence,
)


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
