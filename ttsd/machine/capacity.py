"""How many runs share an engine, unless the user says: as many as its memory holds, with the sampler still batching.

What each run needs of the trainer is exact (its weights, teacher, gradient and optimizer moments). What it needs of
the sampler is an average: the members of a group grow from nothing to `sampling.max_tokens`, so half of that is
reserved for each; where that is too little vLLM makes requests wait. Model and margins are those of `plan`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttsd.config import Config
from ttsd.machine.step_plan import GIB, Card, Shape, plan

SEQUENCES = 256  # that vLLM decodes at once; more would only wait
RAM_SHARE = 0.8  # of what is available


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of the graphics card (0: there is none), and of main memory that nobody uses."""

    card: float
    free: float


@dataclass(frozen=True, slots=True)
class Capacity:
    """How many runs, and what keeps them from being more."""

    runs: int
    limit: str

    def __str__(self) -> str:
        return f"{self.runs} runs at once (limit: {self.limit})"


def capacity(config: Config, model: Mapping[str, Any], group: int, runs: int, memory: Memory) -> Capacity:
    """For `runs` runs that draw `group` completions at once on the model whose config.json is `model`; at least one."""
    cache, trainer = _room(config, model, memory)
    limits = {
        "there are no more": float(runs),
        f"vLLM decodes {SEQUENCES} completions at once": SEQUENCES / group,
        "the sampler's memory for keys, values and adapters": cache / _cached(config, model, group),
        "the trainer's memory for adapters and optimizers": trainer / _learnt(config, model),
    }
    limit = min(limits, key=limits.__getitem__)
    return Capacity(max(1, int(limits[limit])), limit)


def _room(config: Config, model: Mapping[str, Any], memory: Memory) -> tuple[float, float]:
    """Bytes that runs can divide among themselves: the sampler's, the trainer's."""
    card = Card(memory.card / GIB or 1.0, 1.0, 1.0)
    empty = plan(config, model, card, questions=0)
    if memory.card:
        sampler, trainer = (empty.limits[process] - empty.needs[process] for process in ("sampler", "trainer"))
        return sampler, trainer
    cache = config.model.kv_cache_gib * GIB
    return cache, RAM_SHARE * memory.free - sum(empty.needs.values()) - cache


def _cached(config: Config, model: Mapping[str, Any], group: int) -> float:
    """Bytes that a run takes of the sampler: an adapter slot, its prompt, and half of each completion."""
    shape, width = Shape.read(model), 4 if config.model.dtype == "float32" else 2
    tokens = config.sampling.max_prompt_len + group * config.sampling.max_tokens // 2
    return shape.kv_bytes(tokens, width) + width * shape.adapter(config.lora.rank)


def _learnt(config: Config, model: Mapping[str, Any]) -> float:
    """Bytes that a run takes of the trainer."""
    one, none = (plan(config, model, Card(1, 1, 1), questions=count).needs["trainer"] for count in (1, 0))
    return one - none


def found_memory(device: str) -> Memory:
    """Of this machine. `device`: as in model.device."""
    return Memory(_card() if device != "cpu" else 0.0, _free())


def _card() -> float:
    import torch

    return float(torch.cuda.mem_get_info()[1]) if torch.cuda.is_available() else 0.0


def _free() -> float:
    """What is available, within the bounds of our control group."""
    available = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    free = float(available[1]) * 1024 if available else float(GIB)
    limit, used = (_number(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
    return free if limit is None or used is None else min(free, limit - used)


def _number(file: Path) -> float | None:
    text = file.read_text().strip() if file.is_file() else ""
    return float(text) if text.isdigit() else None
