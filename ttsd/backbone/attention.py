"""Attention over a packed forest of sequences (`packing`), for every model that asks transformers for one by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch  # noqa: TID253
from torch import Tensor, nn  # noqa: TID253

from ttsd.backbone.packing import Forest

NAME = "ttsd_forest"

_ROWS_AT_ONCE = 16  # their keys in float32 stay in a core's cache


def forest_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    forest: Plan | None = None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Computes attention over a packed forest, (1, heads, tokens, dim) -> (1, tokens, heads, dim); without one, plain
    SDPA.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if forest is None and query.shape[2] == 1 and query.device.type == "cpu":
        return _one_token(query, key, value, attention_mask, scaling or query.shape[3] ** -0.5), None
    if forest is None:
        plain: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return plain
    queries, keys, values = (torch.split(states, forest.lengths, dim=2) for states in (query, key, value))
    outputs = [
        nn.functional.scaled_dot_product_attention(
            own,
            torch.cat([keys[at] for at in chain], dim=2) if len(chain) > 1 else keys[chain[0]],
            torch.cat([values[at] for at in chain], dim=2) if len(chain) > 1 else values[chain[0]],
            attn_mask=mask,
            is_causal=mask is None,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        for own, chain, mask in zip(queries, forest.chains, forest.masks, strict=True)
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2), None


def _one_token(query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None, scaling: float) -> Tensor:
    """Computes attention of one new token a row; `seen` (rows, 1, 1, keys): which keys count.

    SDPA's kernel for a CPU goes head by head, which for a single token takes longer than everything else in it.
    """
    if query.shape[0] > _ROWS_AT_ONCE:
        parts = [slice(at, at + _ROWS_AT_ONCE) for at in range(0, len(query), _ROWS_AT_ONCE)]
        mask = [None if seen is None else seen.expand(len(query), -1, -1, -1)[part] for part in parts]
        few = [_one_token(query[at], key[at], value[at], own, scaling) for at, own in zip(parts, mask, strict=True)]
        return torch.cat(few)
    number = torch.promote_types(query.dtype, torch.float32)
    rows, heads, _, size = query.shape
    grouped = query.to(number).reshape(rows, key.shape[1], heads // key.shape[1], size) * scaling
    scores = grouped @ key.to(number).transpose(2, 3)
    if seen is not None:
        scores = scores.masked_fill(~seen, -torch.inf) if seen.dtype == torch.bool else scores + seen
    output = scores.softmax(dim=-1) @ value.to(number)
    return output.reshape(rows, 1, heads, value.shape[3]).to(query.dtype)


@dataclass(frozen=True, slots=True)
class Plan:
    """What attention needs to know of a forest; made once and used by every layer."""

    lengths: list[int]
    chains: list[tuple[int, ...]]
    masks: list[Any]

    @classmethod
    def of(cls, forest: Forest, like: Tensor) -> Plan:
        """Returns `like`: a tensor of the precision and on the device of the attention's inputs."""
        lengths = [len(segment.tokens) for segment in forest.segments]
        chains = [forest.chain(at) for at in range(len(lengths))]
        masks = [
            _suffix_mask(lengths[at], sum(lengths[above] for above in chain), like) if len(chain) > 1 else None
            for at, chain in enumerate(chains)
        ]
        return cls(lengths, chains, masks)


def _suffix_mask(queries: int, keys: int, like: Tensor) -> Any:
    """Returns the mask with which the last `queries` of `keys` positions see what comes before them.

    CUDA has a kernel for it, without a matrix.
    """
    if like.device.type == "cuda":
        from torch.nn.attention.bias import causal_lower_right

        mask = causal_lower_right(1, 1)  # one of full size would take 8 bytes of main memory for each pair
        mask.seq_len_q, mask.seq_len_kv = queries, keys
        return mask
    return torch.full((queries, keys), -torch.inf, dtype=like.dtype, device=like.device).triu(keys - queries + 1)


def packed_inputs(forest: Forest, like: Tensor) -> dict[str, Any]:
    """Returns what a model's decoder is called with to process a packed row; `like` as for `Plan.of`."""
    return {
        "input_ids": torch.tensor([forest.token_ids], device=like.device),
        "position_ids": torch.tensor([forest.positions], device=like.device),
        "attention_mask": torch.empty(1, 1, 1, 1, device=like.device),  # 4-d: taken as ready; ours ignores it
        "use_cache": False,
        "forest": Plan.of(forest, like),
    }
