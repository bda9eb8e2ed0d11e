"""The distillation loss as the paper writes it: probabilities, in float64, over whole logits (batch, token, vocab)."""

from __future__ import annotations

import math

from torch import Tensor, cat  # noqa: TID253


def distillation_loss(
    student: Tensor, teacher: Tensor, token_ids: Tensor, mask: Tensor, *, alpha: float, topk: int | None,
    tail: bool = True, clip: float | None = None, is_clip: float | None = None, old_logprobs: Tensor | None = None,
    weights: Tensor | None = None, mode: str = "token-mean",
) -> Tensor:  # fmt: skip
    """Returns the loss of logits, whose gradient reaches the student only (section 2 of the SDPO paper)."""
    p, q = student.double().softmax(-1), teacher.double().softmax(-1).detach()
    sampled = p.gather(-1, token_ids[..., None])[..., 0].log()
    if topk is not None and topk < p.shape[-1]:
        best = student.topk(topk, dim=-1).indices
        p, q = p.gather(-1, best), q.gather(-1, best)
        p, q = (cat([x, 1 - x.sum(-1, True)], -1) if tail else x / x.sum(-1, True) for x in (p, q))
    if clip is not None:
        q = p.detach() * (q / p.detach()).clamp(math.exp(-clip), math.exp(clip))
    m = (1 - alpha) * p + alpha * q
    token = ((1 - alpha) * (p * (p / m).log()) + alpha * (q * (q / m).log())).sum(-1)
    token = (p * (p / q).log()).sum(-1) if alpha == 1 else (q * (q / p).log()).sum(-1) if alpha == 0 else token
    if is_clip is not None and old_logprobs is not None:
        token = token * (sampled.detach() - old_logprobs).exp().clamp(max=is_clip)
    if weights is not None:
        token = token * weights
    sums, counts = (token * mask).sum(1), mask.double().sum(1)
    filled = (counts > 0).sum()
    if mode == "token-mean":
        return sums.sum() / counts.sum()
    return (sums / filled if mode == "seq-mean-token-sum" else sums / counts.clamp(min=1) / filled).sum()
