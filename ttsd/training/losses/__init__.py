"""The losses as pure functions: tensors in, tensors out, no model and no state.

The distillation loss is equation 2 of the SDPO paper in the forms that its code offers: reverse KL, forward KL and the
generalised Jensen-Shannon divergence between student and stop-gradient teacher, each at its own prompt. The support is
the student's top-K tokens plus one bucket for the rest, the whole vocabulary, or the sampled token alone.

Functions work on *rows*, one per completion token; the caller sees to padding, packing and micro-batches. The loss is a
sum over rows of weight x divergence, and the weights carry mask, averaging and importance. `chunked_distillation_loss`
does all of it for a padded batch. Not here: where hidden states come from, and clipping of the summed gradient.
"""

from __future__ import annotations

from ttsd.training.losses.chunked import Projection, RowLoss, chunked_rows
from ttsd.training.losses.terms import (
    Aggregation,
    Divergence,
    aggregation_weights,
    entropy,
    group_advantages,
    importance_weights,
    kl_to_base,
    log_probs_at,
    policy_gradient,
    token_divergence,
)
from ttsd.training.losses.whole_batch import chunked_distillation_loss

__all__ = [
    "Aggregation",
    "Divergence",
    "Projection",
    "RowLoss",
    "aggregation_weights",
    "chunked_distillation_loss",
    "chunked_rows",
    "entropy",
    "group_advantages",
    "importance_weights",
    "kl_to_base",
    "log_probs_at",
    "policy_gradient",
    "token_divergence",
]
