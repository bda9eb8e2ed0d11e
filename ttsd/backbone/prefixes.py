"""Keys and values of prompts that were read, so that no beginning which prompts share is read twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor  # noqa: TID253

Tokens = tuple[int, ...]
Layers = list[tuple[Tensor, Tensor]]  # keys and values of each layer, (1, heads, tokens, size)

KEPT_PROMPTS_BYTES = 256 << 20


class Prefixes:
    """Keeps those of one base with one adapter; a change of either needs new ones. The newest prompts are kept."""

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
        while sum(map(_bytes, self._read.values())) > self._most_bytes:
            del self._read[next(iter(self._read))]


def _alike(read: Sequence[int], prompt: Sequence[int]) -> int:
    """Returns how many tokens both begin with."""
    pairs = enumerate(zip(read, prompt, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(read), len(prompt)))


def _bytes(layers: Layers) -> int:
    return sum(part.nbytes for pair in layers for part in pair)
