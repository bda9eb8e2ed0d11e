"""The memory of a run at its limits, planned and measured: `python -m tests.peak MODEL [SECTION.KEY=VALUE...]`.

Every prompt, completion and context is as long as the settings allow: completions of a temperature at which no token,
the last one included, is likely.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys

from ttsd.cli.start import yield_cores_soon
from ttsd.config import Config, load_config
from ttsd.machine.gpus import GIB, hardware_for
from ttsd.machine.memory import longest_lengths, memory_of
from ttsd.machine.shape import Shape, model_facts
from ttsd.nouns import Example, Prompt
from ttsd.running.engine import LoraPolicy, load_tokenizer, open_engine
from ttsd.running.fitting import fitted_here
from ttsd.running.shared_time import Spending


async def one_step(config: Config) -> None:
    """Samples a group and learns from it, everything at its limit."""
    lengths = longest_lengths(config)
    ids = tuple(range(1000, 1000 + max(lengths.prompt, lengths.teacher_prompt)))
    async with open_engine(config, load_tokenizer(config)) as engine:
        policy = LoraPolicy(engine, "q", Spending(), 0, engine.scratch)
        await policy.begin()
        prompt = ids[: lengths.prompt]
        sampled = await asyncio.gather(*(policy.sample(prompt) for _ in range(lengths.group)))
        assert {len(one.token_ids) for one in sampled} == {lengths.completion}
        examples = [
            Example(
                number, prompt, one.token_ids, one.logprobs, Prompt((number, *ids[: lengths.teacher_prompt - 1]), "")
            )
            for number, one in enumerate(sampled, 1)
        ]
        await policy.distil(examples)
        await policy.close()


def main(model: str, *overrides: str) -> None:
    """Prints planned and highest memory in GiB."""
    yield_cores_soon()
    wanted = load_config(None, ["sampling.temperature=1000", *overrides], model=model)
    config = fitted_here(wanted, [], []).config
    memory = memory_of(
        config, Shape.read(model_facts(config.model.path, None)[0]), hardware_for(config.model), questions=1
    )
    asyncio.run(one_step(config))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB
    parts = {f"{part.where} {part.what}": round(part.bytes / GIB, 3) for part in memory.parts}
    print(json.dumps({"planned": sum(memory.needs.values()) / GIB, "peak": peak, "parts": parts}))


if __name__ == "__main__":
    main(*sys.argv[1:])
