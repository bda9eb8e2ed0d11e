"""From hidden states to logits: a projection to the vocabulary, and what some families do to its input or output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch  # noqa: TID253
from torch import Tensor, nn  # noqa: TID253

from ttsd.errors import UserError

_SCALES = {"logit_scale": 1, "logits_scaling": -1, "lm_head_multiplier": 1}  # Cohere; Granite divides; Falcon-H1
_CAPS = ("final_logit_softcapping", "logits_soft_cap")  # Gemma; RecurrentGemma
_OFF = 0.05  # of the logits' spread; rounding to 16 bits is below, another formula far above


@dataclass(frozen=True, slots=True)
class Head:
    """logits = capped(weight (scale x hidden) + bias); `cap` c means c tanh(logits / c)."""

    scale: float = 1.0
    cap: float | None = None
    bias: Tensor | None = None

    @classmethod
    def of(cls, model: Any) -> Head:
        """Returns the head that the model's configuration describes."""
        config = model.config.get_text_config()
        scale = 1.0
        for name, power in _SCALES.items():
            scale *= float(getattr(config, name, None) or 1.0) ** power
        cap = next((float(value) for name in _CAPS if (value := getattr(config, name, None))), None)
        return cls(scale, cap, getattr(model.get_output_embeddings(), "bias", None))

    def scaled(self, hidden: Tensor) -> Tensor:
        """Returns the states that are projected to the vocabulary."""
        return hidden if self.scale == 1.0 else hidden * self.scale

    def finished(self, projected: Tensor) -> Tensor:
        """Returns the logits of states (n, vocab) that were projected."""
        logits = projected if self.bias is None else projected + self.bias
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap

    def after(self, product: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """Returns the way from hidden states to logits with `product` as the projection."""
        return lambda hidden: self.finished(product(self.scaled(hidden)))


def body_of(model: Any) -> Any:
    """Returns the layers of a causal language model: from token ids to hidden states."""
    body = model.get_decoder()
    return body if body.get_output_embeddings() is None else body.model  # Llama 4 says that it is its own decoder


@torch.no_grad()
def checked_head(model: Any, path: str) -> Head:
    """Returns the model's head.

    UserError: the model computes nothing, other logits from its hidden states, or logits that are not finite.
    """
    head, projection = Head.of(model), model.get_output_embeddings()
    tokens = torch.arange(3, 11, device=projection.weight.device)[None]
    try:
        logits = model(input_ids=tokens, use_cache=False).logits[0].float()
    except Exception as error:  # a stranger's folder: its configuration may say what its weights are not
        raise UserError(
            f"{path!r} can't be computed ({str(error) or type(error).__name__}); choose another model"
        ) from error
    if not logits.isfinite().all():
        raise UserError(
            f"{path!r} computes logits that are not finite; set model.dtype=float32, or choose other weights"
        )
    hidden = body_of(model)(input_ids=tokens, use_cache=False).last_hidden_state[0]
    ours = head.after(lambda states: nn.functional.linear(states.to(projection.weight.dtype), projection.weight))
    distance = (ours(hidden).float() - logits).abs().max()
    if not distance <= _OFF * logits.std():
        raise UserError(
            f"{path!r} computes its logits in a way that the trainer does not know ({distance:.3g} off); "
            "choose another model"
        )
    return head
