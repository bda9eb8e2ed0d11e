"""Weights in the order that a processor's bfloat16 kernels read: a layer's only copy, to decode and to learn with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch  # noqa: TID253
from torch import Tensor, nn  # noqa: TID253

from ttsd.backbone.processor import cpu_computes_bfloat16

_ROWS = 8  # that the order is chosen for, as decoding has them; others are as exact, and as fast


@dataclass(frozen=True, slots=True)
class PackedWeight:
    """A matrix (out, in) in oneDNN's own order. Plain ones are put into it again at every product."""

    blocks: Tensor

    @classmethod
    def of(cls, weight: Tensor) -> PackedWeight:
        return cls(torch.ops.mkldnn._reorder_linear_weight(weight.detach(), _ROWS))

    def product(self, states: Tensor, bias: Tensor | None = None) -> Tensor:
        """Returns `states` times the matrix, plus `bias`. A gradient reaches `states` alone."""
        if torch.is_grad_enabled() and states.requires_grad:
            found: Tensor = _Product.apply(states, self, bias)  # type: ignore[no-untyped-call]
            return found
        return self._product(states, bias)

    def plain(self) -> Tensor:
        """Returns the matrix as it was, bit for bit."""
        return self.blocks.to_dense()

    def _product(self, states: Tensor, bias: Tensor | None) -> Tensor:
        found: Tensor = torch.ops.mkldnn._linear_pointwise(states, self.blocks, bias, "none", [], "")
        return found


class _Product(torch.autograd.Function):
    """Back through the product one needs the matrix the other way round: it is made plain for that moment."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: PackedWeight, bias: Tensor | None) -> Tensor:
        ctx.weight = weight
        return weight._product(states, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0] @ ctx.weight.plain(), None, None


def packs(layer: nn.Module) -> bool:
    """Tells whether packing the layer's weight pays: bfloat16 on a processor that computes in it."""
    weight = layer.weight
    return (
        isinstance(weight, Tensor)
        and weight.device.type == "cpu"
        and weight.dtype == torch.bfloat16
        and cpu_computes_bfloat16()
    )
