"""What is said before a run: the memory that it takes."""

from __future__ import annotations

from collections.abc import Sequence

from ttsd.config import Config
from ttsd.errors import UserError
from ttsd.machine.memory import found_memory, memory_of
from ttsd.machine.shape import Shape
from ttsd.record.run import Run
from ttsd.record.store import Store


async def announcement(runs: Sequence[Run], config: Config, store: Store, *, at_once: int = 1) -> str:
    """Says what trainer and sampler need. A model that no plan can be made for is no reason not to begin."""
    from ttsd.backbone import model_sizes, resolve

    try:
        found, shape = found_memory(config.model), Shape.read(model_sizes(resolve(config.model.path)))
        return f"memory: {memory_of(config, shape, found.as_card(), questions=at_once).in_words(found)}"
    except UserError as error:
        return f"no estimate of memory: {error}"
