"""Says before the start what runs need: memory, and the pace of earlier runs of their kind.

No time is computed: where the run database has no such run, the first step shows the pace.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from ttsd.config import Config
from ttsd.errors import UserError
from ttsd.machine.gpus import hardware_for
from ttsd.machine.memory import memory_of
from ttsd.machine.shape import Shape
from ttsd.record.run import Run
from ttsd.record.store import Store
from ttsd.sampling.background import in_thread

# The seconds of a run are those of all its finished steps, over all its resumptions.
_EARLIER = """select sum(attempts), sum(seconds) from (
    select sum(s.attempts) as attempts, max(json_extract(s.seconds, '$.run')) as seconds
    from steps s join runs r using (run) where r.method = ? and r.model = ?
    and json_extract(r.config, '$.model.sampler') = ? and json_extract(r.config, '$.sampling.max_tokens') = ?
    and json_extract(r.config, '$.sampling.group_size') = ? and json_extract(r.environment, '$.cores') = ?
    group by run)"""


async def announcement(runs: Sequence[Run], store: Store, *, at_once: int = 1) -> str:
    """Returns a line about the memory of `at_once` such runs and, where it is known, a line about their pace.

    A model behind an endpoint has no memory here: the line says how it is asked.
    """
    kinds = {run.method.name: run for run in runs}.values()
    configs = [run.config for run in kinds]
    local = configs[0].model.local
    memory = await in_thread(memory_line, configs, at_once) if local else endpoint_line(configs[0])
    paces = [f"{run.method} {pace}" for run in kinds if (pace := earlier_pace(store, run))]
    return "\n".join([memory, *([f"pace in this run database: {', '.join(paces)}"] if paces else [])])


def memory_line(configs: Sequence[Config], questions: int) -> str:
    """Says what the largest of such runs need. A model whose memory is unknown is no reason not to start."""
    from ttsd.backbone import model_sizes, resolve

    model = configs[0].model
    try:
        hardware, shape = hardware_for(model), Shape.read(model_sizes(resolve(model.path, model.revision)))
    except UserError as error:
        return f"memory: unknown ({error})"
    needs = [memory_of(config, shape, hardware, questions=questions) for config in configs]
    return f"memory: {max(needs, key=lambda one: sum(one.needs.values())).in_words(hardware)}"


def endpoint_line(config: Config) -> str:
    """Says whom runs ask, how often at once, and what that costs."""
    asked = config.endpoint
    line = f"endpoint: {config.model.label}, at most {asked.requests} requests at once"
    if not asked.prompt_price + asked.completion_price:
        return line
    return (
        f"{line}, ${asked.prompt_price:g} and ${asked.completion_price:g} for a million tokens of prompts and answers"
    )


def earlier_pace(store: Store, run: Run) -> str:
    """Returns the pace of earlier runs of this method, model, sampler, lengths and cores; empty: there are none."""
    model, sampling, cores = run.config.model, run.config.sampling, str(len(os.sched_getaffinity(0)))
    values = [run.method.name, model.label, model.sampler, sampling.max_tokens, sampling.group_size, cores]
    ((attempts, seconds),) = store.query(_EARLIER, values)
    if not seconds:
        return ""
    a_minute = 60 * attempts / seconds
    return f"{a_minute:.0f} attempts a minute" if a_minute >= 2 else f"{60 * a_minute:.0f} attempts an hour"
