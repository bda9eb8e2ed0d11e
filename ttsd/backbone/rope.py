"""Rotary frequencies that depend on a sequence's length: here on the run's own limit, so the same for every token."""

from __future__ import annotations

from typing import Any

from torch import nn  # noqa: TID253

_BY_LENGTH = ("dynamic", "longrope")


def fix_rope(model: Any, length: int) -> None:
    """Sets the frequencies of all sequences to those of one with `length` tokens, as vLLM does.

    transformers would choose them by the longest sequence of a batch or of a packed row.
    """
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    for module in model.modules():
        kind = getattr(module, "rope_type", None)
        if isinstance(kind, str) and kind in _BY_LENGTH and isinstance(module, nn.Module):
            device = module.inv_freq.device
            frequencies, scaling = ROPE_INIT_FUNCTIONS[kind](module.config, device, seq_len=length)
            module.register_buffer("inv_freq", frequencies, persistent=False)
            module.attention_scaling = scaling
            setattr(module, "rope_type", "default")  # noqa: B010  # a plain attribute of a typed module
