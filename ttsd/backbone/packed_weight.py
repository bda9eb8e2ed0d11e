"""Weights in the order that a processor's bfloat16 kernels read, for the products of few rows that decoding takes."""

from __future__ import annotations

from dataclasses import dataclass

import torch  # noqa: TID253
from torch import Tensor, nn  # noqa: TID253

from ttsd.backbone.processor import cpu_computes_bfloat16

_ROWS = 8  # that the order is chosen for; others are as exact


@dataclass(frozen=True, slots=True)
class PackedWeight:
    """A matrix (out, in) in oneDNN's own order. Plain ones are put into it again at every product."""

    blocks: Tensor

    @classmethod
    def of(cls, weight: Tensor) -> PackedWeight:
        return cls(torch.ops.mkldnn._reorder_linear_weight(weight.detach(), _ROWS))

    def product(self, states: Tensor, bias: Tensor | None = None) -> Tensor:
        """`states` times the matrix, plus `bias`; without gradient."""
        found: Tensor = torch.ops.mkldnn._linear_pointwise(states, self.blocks, bias, "none", [], "")
        return found


def packs(layer: nn.Module) -> bool:
    """Whether packing the layer's weight pays: bfloat16 on a processor that computes in it."""
    weight = layer.weight
    return (
        isinstance(weight, Tensor)
        and weight.device.type == "cpu"
        and weight.dtype == torch.bfloat16
        and cpu_computes_bfloat16()
        and torch._C._has_mkldnn
    )
