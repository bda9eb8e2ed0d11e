"""Sums a loss over rows of hidden states whose logits exist for a few rows at a time, forwards and backwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch  # noqa: TID253
from torch import Tensor  # noqa: TID253

from ttsd.training.losses.terms import parts, wider

RowLoss = Callable[[Tensor, slice], Tensor]

_EXACT_PROJECTION = 1 << 16  # elements of a projection whose rounding would show in a small KL


def chunked_rows(hidden: Tensor, rows: Tensor, weight: Tensor, row_loss: RowLoss, chunk_tokens: int) -> Tensor:
    """Returns the sum over `rows` of `row_loss(their logits, which of the rows)`, `chunk_tokens` rows at a time.

    `hidden` (n, hidden) is projected by `weight` (vocab, hidden). `rows` selects from `hidden`, repeats allowed. What
    else the loss needs is in its closure, without gradient. ValueError: no rows at a time.
    """
    if chunk_tokens < 1:
        raise ValueError(f"chunk_tokens={chunk_tokens} makes no progress; give at least 1")
    total: Tensor = _ChunkedRows.apply(hidden, rows, weight, row_loss, chunk_tokens)
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


class _ChunkedRows(torch.autograd.Function):
    """Computes the gradient of a chunk while its logits exist, so that backward only scales it."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, rows: Tensor, weight: Tensor, row_loss: RowLoss, chunk_tokens: int) -> Tensor:
        total = torch.zeros((), dtype=wider(hidden.dtype), device=hidden.device)
        hidden_grad = torch.zeros_like(hidden) if ctx.needs_input_grad[0] else None
        weight_grad = torch.zeros_like(weight) if ctx.needs_input_grad[2] else None
        project = Projection(weight)
        for part in parts(len(rows), chunk_tokens):
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
