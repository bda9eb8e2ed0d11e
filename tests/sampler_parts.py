"""What a sampler is made of, with a tokenizer that writes ids as numbers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ttsd.config import Config
from ttsd.sampling.kinds import SamplerParts

if TYPE_CHECKING:
    from ttsd.backbone import Base


def parts(
    path: str = "",
    *,
    base: Base | None = None,
    stop: tuple[int, ...] = (),
    max_tokens: int = 24,
    seed: int = 0,
    adapters: int = 0,
    rank: int = 32,
    cache_bytes: int = 0,
    gpu_share: float = 0.5,
    **model: Any,
) -> SamplerParts:
    """Returns them; `model`: settings of the section [model]."""
    settings = {"model": model, "sampling": {"max_tokens": max_tokens}, "lora": {"rank": rank}}
    tokenizer: Any = SimpleNamespace(stop_token_ids=stop, answer=lambda ids: " ".join(map(str, ids)))
    return SamplerParts(
        Config.model_validate(settings), path, tokenizer, adapters, seed, 1, base, cache_bytes, gpu_share
    )
