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
from ttsd.machine.gpus import GIB, Hardware
from ttsd.machine.memory import cache_bytes_of_run, learner_bytes, memory_of
from ttsd.machine.shape import known_shape
from ttsd.methods import method_named
from ttsd.sampling.kinds import sampler_named


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many runs, and why not more."""

    runs: int
    limit: str

    def __str__(self) -> str:
        return f"{self.runs} runs at once ({self.limit})"


def capacity(config: Config, model: Mapping[str, Any], runs: int, hardware: Hardware) -> Capacity:
    """Returns how many of `runs` such runs share an engine; at least one. `model`: the model's config.json."""
    shape, method = known_shape(model), method_named(config.method)
    if shape is None:
        return Capacity(1, "the model's memory is not known; --at-once sets more")
    group, sequences = method.at_once(config), sampler_named(config.model.sampler).max_sequences
    empty = memory_of(config, shape, hardware, questions=0)
    cache, given = cache_bytes_of_run(config, shape, group, on_cpu=hardware.is_cpu), config.model.kv_cache_gib
    learner = learner_bytes(config, shape) if method.learns else 0.0
    limits = {
        "all of them": float(runs),
        f"limit: the sampler decodes {sequences} completions at once": sequences / group,
    }
    if given is None and not config.model.apart:
        limits["limit: the memory for keys, values, adapters and optimizers"] = empty.cache / (cache + learner)
    else:
        room = empty.cache if given is None else given * GIB
        limits["limit: the sampler's memory for keys, values and adapters"] = room / cache
        free = empty.limits["trainer"] - empty.needs["trainer"]
        limits["limit: the trainer's memory for adapters and optimizers"] = free / learner if learner else runs
    limit = min(limits, key=limits.__getitem__)
    return Capacity(max(1, int(limits[limit])), limit)


def endpoint_capacity(config: Config, runs: int) -> Capacity:
    """Returns how many of `runs` such runs share an endpoint, which has no memory here."""
    at_once = max(1, config.endpoint.requests // method_named(config.method).at_once(config))
    return min(Capacity(runs, "all of them"), Capacity(at_once, "endpoint.requests"), key=lambda one: one.runs)
