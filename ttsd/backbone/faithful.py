"""Whether sequences may be packed: asked of the model itself, and accepted only where each answer is a known one.

Packing is right where tokens meet in attention alone, where that attention is full and causal, and where it is ours.
So one short forward pass shows which masks transformers builds, what attention is given, and whether the layers hand
on their keyword arguments. A second one has numbers that are not finite in one of two packed sequences: whatever else
carries something from token to token (recurrent states, convolutions) shows them in the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch  # noqa: TID253
from torch import Tensor, nn  # noqa: TID253

from ttsd.backbone import attention
from ttsd.backbone.head import body_of
from ttsd.backbone.packing import pack
from ttsd.errors import UserError

_PROBE = "ttsd_probe"
_TOKENS = 12
# Layers that may pack; the mask tells whether a window or a chunk is one that sequences of this length notice.
_ATTENTION = {"attention", "chunked_attention", "full_attention", "sliding_attention", "dense", "sparse", "moe"}
# Layers with states of their own; each sequence then has a row of its own.
_RECURRENT = {"conv", "hybrid", "linear_attention", "mamba", "mlp", "recurrent"}
# What attention may be given without any change of its result; `sliding_window` is judged by the mask.
_HARMLESS = {
    "cache_position", "cu_seq_lens_k", "cu_seq_lens_q", "deterministic", "dropout", "forest", "is_causal",
    "output_attentions", "output_hidden_states", "position_embeddings", "position_ids", "return_dict", "scaling",
    "sliding_window", "use_cache",
}  # fmt: skip


def why_not_packed(model: Any, length: int) -> str | None:
    """Returns the reason for which sequences of up to `length` tokens can't be packed; None: they can.

    Leaves the model with the attention that it needs: ours where it packs, else its own.
    UserError: the model has layers that are not known to be right in either way.
    """
    own = model.config._attn_implementation
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ()) - _ATTENTION
    if kinds - _RECURRENT:
        raise UserError(
            f"the model has layers of a type that the trainer does not know ({', '.join(sorted(kinds - _RECURRENT))}); "
            "choose another model"
        )
    try:
        reason = f"layers of type {', '.join(sorted(kinds))}" if kinds else _unfaithful(model, length)
    except (ValueError, TypeError, AttributeError, RuntimeError, KeyError, IndexError) as error:
        reason = f"its layers take no packed rows: {str(error).strip().splitlines()[:1]}"
    if reason is not None:
        model.set_attn_implementation(own)
    return reason


def _unfaithful(model: Any, length: int) -> str | None:
    masks: list[tuple[Callable[..., Tensor], Any]] = []
    given: list[dict[str, Any]] = []
    _register(masks, given)
    model.set_attn_implementation(_PROBE)
    if model.config._attn_implementation != _PROBE:
        return "its attention can't be exchanged"
    tokens = torch.arange(3, 3 + _TOKENS, device=model.get_output_embeddings().weight.device)
    body = body_of(model)
    with torch.no_grad():
        body(input_ids=tokens[None], use_cache=False, forest=tokens)
    if not given or any(arguments.get("forest") is not tokens for arguments in given):
        return "its layers don't hand on keyword arguments"
    strange = sorted({name for arguments in given for name, value in arguments.items() if _matters(name, value)})
    if strange:
        return f"attention with {', '.join(strange)}"
    if not masks or not all(_causal(function, length) for function, _ in masks):
        return "attention that does not see all earlier tokens"
    if any(all(arguments["attention_mask"] is not mask for _, mask in masks) for arguments in given):
        return "a mask of its own"
    model.set_attn_implementation(attention.NAME)
    return "states that pass from token to token outside of attention" if _leaks(model) else None


def _register(masks: list[tuple[Callable[..., Tensor], Any]], given: list[dict[str, Any]]) -> None:
    """Registers an attention that takes down what it and its mask are asked for."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import causal_mask_function, sdpa_mask

    def attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **kwargs: Any) -> Any:
        given.append({**kwargs, "attention_mask": attention_mask})
        known = {name: kwargs[name] for name in ("scaling", "dropout") if name in kwargs}
        return sdpa_attention_forward(module, query, key, value, attention_mask, **known)

    def mask_of(*args: Any, mask_function: Callable[..., Tensor] = causal_mask_function, **kwargs: Any) -> Any:
        kwargs["allow_is_causal_skip"] = False
        masks.append((mask_function, sdpa_mask(*args, mask_function=mask_function, **kwargs)))
        return masks[-1][1]

    AttentionInterface.register(_PROBE, attend)
    AttentionMaskInterface.register(_PROBE, mask_of)


def _matters(name: str, value: object) -> bool:
    if name == "is_causal":
        return value is False
    return value is not None and name not in _HARMLESS | {"attention_mask"}


def _causal(mask: Callable[..., Tensor], length: int) -> bool:
    """Tells whether a mask function of transformers shows each query all earlier keys and itself, and no later one."""
    zero, keys = torch.tensor(0), torch.linspace(0, length - 1, 512).long()
    for query in (0, length // 2, length - 1):
        seen = mask(zero, zero, torch.tensor(query), keys)
        if not torch.equal(torch.as_tensor(seen).broadcast_to(keys.shape), keys <= query):
            return False
    return True


@torch.no_grad()
def _leaks(model: Any) -> bool:
    """Tells whether anything of one packed sequence reaches another; both share a beginning, as in a run."""
    embeddings, body = model.get_input_embeddings(), body_of(model)
    start = tuple(range(3, 3 + _TOKENS))
    forest = pack([(*start, 20, 21, 22), (*start, 30, 31, 32), (40, 41, 42, 43)])
    spoiled = [row for row in forest.rows(0) if row not in forest.rows(1)]

    def spoil(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        output = output.clone()
        output[:, spoiled] = torch.nan
        return output

    hook = embeddings.register_forward_hook(spoil)
    try:
        output = body(**attention.packed_inputs(forest, model.get_output_embeddings().weight)).last_hidden_state[0]
    finally:
        hook.remove()
    others = [row for row in range(forest.size) if row not in spoiled]
    return not bool(output[others].isfinite().all()) or bool(output[spoiled].isfinite().any())
