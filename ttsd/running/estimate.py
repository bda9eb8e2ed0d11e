"""What is said before a run: the memory that it takes, and the pace of such runs so far."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ttsd.config import Config
from ttsd.errors import UserError
from ttsd.machine.memory import found_memory, memory_of
from ttsd.machine.shape import Shape
from ttsd.record.run import Run
from ttsd.record.store import Store
from ttsd.running.budget import duration

# Steps of runs that are like one of these: what an attempt took depends on all of it.
_ALIKE = """select sum(s.attempts), sum(json_extract(s.seconds, '$.group') + json_extract(s.seconds, '$.step'))
    from steps s join runs r using (run) where r.method = ? and r.model = ?
    and json_extract(r.config, '$.model.sampler') = ? and json_extract(r.config, '$.sampling.max_tokens') = ?
    and json_extract(r.config, '$.sampling.group_size') = ? and json_extract(r.environment, '$.cores') = ?"""


async def announcement(runs: Sequence[Run], config: Config, store: Store, *, at_once: int = 1) -> str:
    """Says what trainer and sampler need, and the pace. A model that can't be planned is no reason not to begin."""
    from ttsd.backbone import model_sizes, resolve

    paces = filter(None, (pace(store, run) for run in {run.method.name: run for run in runs}.values()))
    try:
        found, shape = found_memory(config.model), Shape.read(model_sizes(resolve(config.model.path)))
        memory = memory_of(config, shape, found.as_gpu(), questions=at_once)
        warning = "" if memory.fits else "WARNING: this is more memory than there is; "
        return "; ".join([f"{warning}memory at most: {memory.in_words(found)}", *paces])
    except UserError as error:
        return "; ".join([f"no plan of the memory: {error}", *paces])


def pace(store: Store, run: Run) -> str:
    """Says what an attempt took in earlier runs of this method with these limits; empty where there is none."""
    model, sampling = run.config.model, run.config.sampling
    cores = str(len(os.sched_getaffinity(0)))
    values = [run.method.name, model.path, model.sampler, sampling.max_tokens, sampling.group_size, cores]
    ((attempts, seconds),) = store.query(_ALIKE, values)
    if not attempts or not seconds:
        return ""
    return f"{run.method}: 100 attempts took {duration(100 * seconds / attempts)} in this database"
