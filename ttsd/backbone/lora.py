"""LoRA in plain torch: adapters that are one flat tensor each, and linear layers to which they are attached.

An optimizer, an average or a file handles one tensor, and attaching is setting a pair of references per layer. What the
numbers mean (A, B, alpha / rank) is PEFT's, so is the file (`backbone.Base.export`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch  # noqa: TID253
from torch import Tensor, nn  # noqa: TID253

from ttsd.backbone.packed_weight import PackedWeight, packs

_MERGE_FROM = 4  # merging pays from this many tokens per unit of rank


@dataclass(frozen=True, slots=True)
class LoraShape:
    """What makes adapters interchangeable: rank, alpha (scaling alpha / rank) and the layers they sit on."""

    rank: int
    alpha: float
    target_modules: str | tuple[str, ...] = "all-linear"


class Adapter:
    """LoRA weights in float32: `values` is every matrix end to end, `parameters` the same memory matrix by matrix.

    A trainable one has a `gradient` laid out alike, in which autograd adds up.
    """

    def __init__(self, shapes: dict[str, torch.Size], values: Tensor, *, trainable: bool = False) -> None:
        self.shapes = shapes
        self.values = values
        self.trainable = trainable
        self.gradient = torch.zeros_like(values) if trainable else values.new_zeros(0)
        self.parameters = {
            name: nn.Parameter(view, requires_grad=trainable) for name, view in views(shapes, values).items()
        }
        if trainable:
            for name, view in views(shapes, self.gradient).items():
                self.parameters[name].grad = view

    def pair(self, layer: str) -> tuple[nn.Parameter, nn.Parameter]:
        """Returns a (rank, in) and B (out, rank) of one layer."""
        return self.parameters[f"{layer}.lora_A"], self.parameters[f"{layer}.lora_B"]


Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A base with an adapter, prepared for many small forward passes: what is attached to each layer, and its head."""

    layers: dict[str, Attachment]
    head: Callable[[Tensor], Tensor]  # hidden states (n, hidden) to logits (n, vocab)


Attachment = Pair | Tensor | None


class LoraLinear(nn.Module):
    """A frozen linear layer plus scaling x B A of the attached pair; or an attached weight in its own's place."""

    def __init__(self, inner: nn.Linear, scaling: float) -> None:
        super().__init__()
        self.inner = inner
        self.scaling = scaling
        self.attached: Attachment = None
        self._packed: PackedWeight | None = None

    @property
    def exact(self) -> bool:
        """Tells whether a pair can be added to the weight; in bfloat16 that would round a young adapter away."""
        return self.inner.weight.dtype == torch.float32

    @property
    def weight(self) -> Tensor:
        """Returns the weight with the attached pair, for layers that multiply by it themselves, as routers do."""
        weight = self.inner.weight if self._packed is None else self._packed.plain()
        if self.attached is None:
            return weight
        if isinstance(self.attached, Tensor):
            return self.attached
        a, b = self.attached
        return weight + (self.scaling * (b @ a)).to(weight.dtype)

    @property
    def bias(self) -> Tensor | None:
        return self.inner.bias

    def pack(self) -> bool:
        """Packs the weight, which has no plain copy from now on; False: that is done, or does not pay."""
        if self._packed is not None or not packs(self.inner):
            return False
        weight = self.inner.weight
        self._packed = PackedWeight.of(weight)
        self.inner.weight = nn.Parameter(weight.new_empty(0), requires_grad=False)
        return True

    def prepared(self, pair: Pair | None) -> Attachment:
        """Returns what makes many products of few rows cheap: the sum where it is exact, else a pair in the weight's
        format.
        """
        weight = self.inner.weight
        if pair is not None and self.exact:
            return torch.addmm(weight, pair[1], pair[0], alpha=self.scaling)
        if pair is not None and weight.is_floating_point():  # one of four bits does not say what it computes in
            return pair[0].to(weight.dtype), pair[1].to(weight.dtype)
        return pair

    def forward(self, states: Tensor) -> Tensor:
        if self.attached is None:
            return self._product(states)
        if isinstance(self.attached, Tensor):
            return nn.functional.linear(states, self.attached, self.inner.bias)
        a, b = self.attached
        if self.exact and states.dtype == torch.float32 and states.numel() > _MERGE_FROM * a.numel():
            merged: Tensor = _MergedLinear.apply(states, self.inner.weight, self.inner.bias, a, b, self.scaling)  # type: ignore[no-untyped-call]
            return merged
        product, narrow = self._product(states), nn.functional.linear(states, a.to(states.dtype))
        rows = product.flatten(0, -2)
        return torch.addmm(rows, narrow.flatten(0, -2), b.to(states.dtype).T, alpha=self.scaling).view_as(product)

    def _product(self, states: Tensor) -> Tensor:
        if self._packed is not None:
            return self._packed.product(states, self.inner.bias)
        output: Tensor = self.inner(states)
        return output


class _MergedLinear(torch.autograd.Function):
    """Adds the pair to the weight instead of to the output: rank / tokens of the cost, and nothing tokens-wide is kept.

    Only where `LoraLinear.exact`.
    """

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scaling: float
    ) -> Tensor:
        ctx.save_for_backward(states, weight, a, b)
        ctx.scaling = scaling
        return nn.functional.linear(states, torch.addmm(weight, b, a, alpha=scaling), bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None, Tensor | None, Tensor | None, None]:
        states, weight, a, b = ctx.saved_tensors
        grad, rows = grads[0].flatten(0, -2), states.flatten(0, -2)
        below = grads[0] @ torch.addmm(weight, b, a, alpha=ctx.scaling) if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[3]:
            return below, None, None, None, None, None
        a_grad = (grad @ b).T @ rows * ctx.scaling
        b_grad = grad.T @ (rows @ a.T) * ctx.scaling
        return below, None, None, a_grad, b_grad, None


def views(shapes: dict[str, torch.Size], flat: Tensor) -> dict[str, Tensor]:
    """Returns the matrices of `shapes`, end to end in `flat`, as views of it."""
    parts = torch.split(flat, [shape.numel() for shape in shapes.values()])
    return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
