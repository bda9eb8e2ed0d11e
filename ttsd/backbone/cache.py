"""transformers' cache of keys, values and recurrent states, for rows that come and go; and what prompts left in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch  # noqa: TID253
from torch import Tensor, nn  # noqa: TID253

from ttsd.backbone.packing import Tokens
from ttsd.errors import UserError

Layers = list[tuple[Tensor, Tensor]]  # keys and values of each layer, (1, heads, tokens, size)

KEPT_PROMPTS_BYTES = 256 << 20
_KNOWN = {
    "DynamicLayer", "DynamicSlidingWindowLayer", "LinearAttentionAndFullAttentionLayer", "LinearAttentionLayer",
}  # fmt: skip


def new_cache(model: Any) -> Any:
    """Returns an empty cache for the model's layers.

    Layers with a sliding window keep all keys: their mask says which ones count, and rows of different lengths join.
    UserError: the layers keep something else.
    """
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    cache = DynamicCache(config=model.config)
    strange = sorted({type(layer).__name__ for layer in cache.layers} - _KNOWN)
    if strange:
        raise UserError(f"the transformers sampler can't join rows of {strange[0]}; use model.sampler=vllm")
    cache.layers = [DynamicLayer() if type(layer) is DynamicSlidingWindowLayer else layer for layer in cache.layers]
    return cache


def only_keys(cache: Any) -> bool:
    """Tells whether the cache holds keys and values alone, so that it can be cut to any prefix."""
    from transformers.cache_utils import DynamicLayer

    return all(type(layer) is DynamicLayer for layer in cache.layers)


def check_filled(model: Any, cache: Any) -> None:
    """Checks it. UserError: after a prompt some layer has put nothing into it, so its states are elsewhere."""
    kinds = getattr(model.config.get_text_config(), "layer_types", None) or []
    for at, layer in enumerate(cache.layers):
        if kinds[at : at + 1] in (["mlp"], ["moe"]):
            continue
        states = [*getattr(layer, "conv_states", {}).values(), *getattr(layer, "recurrent_states", {}).values()]
        if getattr(layer, "keys", None) is None and all(state is None for state in states):
            raise UserError(
                "the model keeps states where the transformers sampler does not find them; use model.sampler=vllm"
            )


def join(into: Any, caches: Sequence[Any], widths: Sequence[int]) -> Any:
    """Fills the empty cache `into` with the rows of all `caches`; of each, the last `widths[i]` columns count.

    The keys leave `caches` layer by layer, so that they are never all there twice.
    """
    for target, *layers in zip(into.layers, *(cache.layers for cache in caches), strict=True):
        if getattr(layers[0], "keys", None) is not None:
            _join_keys(target, layers, widths)
            for layer in layers:
                layer.keys = layer.values = None
        if hasattr(layers[0], "conv_states"):
            _join_states(target, layers)
    return into


def _join_keys(target: Any, layers: Sequence[Any], widths: Sequence[int]) -> None:
    from transformers.cache_utils import DynamicLayer

    longest = max(widths)

    def column(parts: Sequence[Tensor]) -> Tensor:
        kept = [part[..., -width:, :] for part, width in zip(parts, widths, strict=True)]
        return torch.cat([nn.functional.pad(part, (0, 0, longest - part.shape[-2], 0)) for part in kept])

    keys, values = column([layer.keys for layer in layers]), column([layer.values for layer in layers])
    DynamicLayer.update(target, keys, values)


def _join_states(target: Any, layers: Sequence[Any]) -> None:
    """States have no columns: each row has its own, of one size."""
    for name in ("conv_states", "recurrent_states"):
        for at in getattr(layers[0], name):
            parts = [getattr(layer, name)[at] for layer in layers]
            if parts[0] is not None:
                getattr(target, name)[at] = torch.cat(parts)
                getattr(target, f"is_{name}_initialized")[at] = True
    first = layers[0]
    target.device, target.dtype = first.device, first.dtype
    target.conv_kernel_size = dict(first.conv_kernel_size)
    target.has_previous_state = dict(first.has_previous_state)


class Prefixes:
    """Keys and values of prompts that were read, so that no beginning which prompts share is read twice.

    They are of one base with one adapter; a change of either needs new ones. The newest prompts are kept.
    """

    def __init__(self, most_bytes: int = KEPT_PROMPTS_BYTES) -> None:
        self._most_bytes = most_bytes
        self._read: dict[Tokens, Layers] = {}

    def longest(self, prompt: Tokens) -> Layers:
        """Returns what is known of the beginning of `prompt`, its last token left out; no layers where nothing is."""
        best = max(self._read, key=lambda read: _alike(read, prompt), default=())
        length = min(_alike(best, prompt), len(prompt) - 1)
        if not length:
            return []
        return [(keys[:, :, :length], values[:, :, :length]) for keys, values in self._read[best]]

    def keep(self, prompt: Tokens, cache: Any) -> None:
        """Keeps what the cache of transformers holds after `prompt` alone was read."""
        self._read.pop(prompt, None)
        self._read[prompt] = [(layer.keys, layer.values) for layer in cache.layers]
        while sum(part.nbytes for read in self._read.values() for pair in read for part in pair) > self._most_bytes:
            del self._read[next(iter(self._read))]


def _alike(read: Sequence[int], prompt: Sequence[int]) -> int:
    """Returns how many tokens both begin with."""
    pairs = enumerate(zip(read, prompt, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(read), len(prompt)))
