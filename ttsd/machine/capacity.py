"""How many runs share an engine, unless the user says: as many as its memory holds.

What each run needs of the trainer is exact (its weights, teacher, gradient and optimizer moments). What it needs of
the sampler is an average: the members of a group grow from nothing to `sampling.max_tokens`, so half of that is
reserved for each; where that is too little vLLM makes requests wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ttsd.config import Config
from ttsd.machine.gpus import GIB
from ttsd.machine.memory import RAM_SHARE, Found, cache_bytes_of_run, learner_bytes, memory_of
from ttsd.machine.shape import Shape
from ttsd.sampling.vllm_sampler.settings import MAX_SEQUENCES


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many runs, and why not more."""

    runs: int
    limit: str

    def __str__(self) -> str:
        return f"{self.runs} runs at once ({self.limit})"


def capacity(config: Config, model: Mapping[str, Any], group: int, runs: int, memory: Found) -> Capacity:
    """Returns how many of `runs` runs share an engine, each sampling `group` completions at once; at least one."""
    shape = Shape.read(model)
    cache, trainer = _room(config, shape, memory)
    limits = {
        "all of them": float(runs),
        f"limit: vLLM decodes {MAX_SEQUENCES} completions at once": MAX_SEQUENCES / group,
        "limit: the sampler's memory for keys, values and adapters": cache
        / cache_bytes_of_run(config, shape, group, on_cpu=memory.is_cpu),
        "limit: the trainer's memory for adapters and optimizers": trainer / learner_bytes(config, shape),
    }
    limit = min(limits, key=limits.__getitem__)
    return Capacity(max(1, int(limits[limit])), limit)


def _room(config: Config, shape: Shape, memory: Found) -> tuple[float, float]:
    """Returns the bytes that runs can divide among themselves: the sampler's, the trainer's."""
    empty = memory_of(config, shape, memory.as_gpu(), questions=0)
    if not memory.is_cpu:
        return empty.cache, empty.limits["trainer"] - empty.needs["trainer"]
    return config.model.kv_cache_gib * GIB, RAM_SHARE * memory.free - sum(empty.needs.values())
