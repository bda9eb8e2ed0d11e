"""How fast the samplers are: groups of completions under no, one and several adapters; and what starting costs.

    python -m tests.bench.bench_sampler [--model FOLDER] [--group 16] [--tokens 64] [--rounds 5] [--threads 1]

Rounds of the two samplers alternate, so that a busy machine is unfair to both alike; the median is printed. All
completions have the full length. On a busy machine only the ratios mean anything.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import tempfile
import time
from pathlib import Path
from statistics import median

from tests.tiny import write_model
from ttsd.config import Config
from ttsd.sampling.protocol import AdapterRef, Sampler
from ttsd.sampling.transformers_sampler import HfSampler, HfSettings
from ttsd.sampling.vllm_sampler import VllmSampler, VllmSettings
from ttsd.training.trainer import Trainer

PROMPT = tuple(5 + (7 * at) % 250 for at in range(160))
WITH_ADAPTERS = (0, 1, 2, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", help="a model folder; default: a random one of the bundled model's shape")
    parser.add_argument("--group", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(bench(parser.parse_args(), Path(folder)))


async def bench(options: argparse.Namespace, folder: Path) -> None:
    model = options.model or str(write_model(folder / "model", small=False))
    trainer = Trainer(model, Config())
    refs = [_adapter(trainer, f"question{at}", folder) for at in range(max(WITH_ADAPTERS))]
    samplers = _samplers(options, model, trainer)
    for name, sampler in samplers.items():
        start = time.monotonic()
        await sampler.start()
        print(f"{name}: start {time.monotonic() - start:.1f} s, {dict(sampler.info)}")
        for ref in refs:
            await sampler.swap(None, ref)
    for count in WITH_ADAPTERS:
        await _compare(options, samplers, refs[:count])
    await _swaps(samplers, refs[0])
    for sampler in samplers.values():
        await sampler.close()


def _samplers(options: argparse.Namespace, model: str, trainer: Trainer) -> dict[str, Sampler]:
    limits = {"max_tokens": options.tokens, "stop_token_ids": ()}
    vllm = VllmSettings(model=model, adapters=max(WITH_ADAPTERS), threads=options.threads, **limits)
    return {
        "vllm": VllmSampler(vllm, str),
        "transformers": HfSampler(HfSettings(**limits), str, lambda: trainer.base),
    }


def _adapter(trainer: Trainer, name: str, folder: Path) -> AdapterRef:
    ref = AdapterRef(name, 1, folder / name)
    trainer.create(name, seed=len(name))
    trainer.perturb(name, seed=1, scale=0.02)
    trainer.export(name, ref.path)
    return ref


async def _compare(options: argparse.Namespace, samplers: dict[str, Sampler], refs: list[AdapterRef]) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in samplers}
    for _ in range(options.rounds):
        for name, sampler in samplers.items():
            seconds[name].append(await _group(sampler, refs or [None], options.group))
    tokens = options.group * options.tokens * max(1, len(refs))
    figures = ", ".join(
        f"{name} {median(took):.2f} s ({tokens / median(took):.0f}/s)" for name, took in seconds.items()
    )
    print(f"{len(refs)} adapters x {options.group} completions, {tokens} tokens: {figures}")


async def _group(sampler: Sampler, refs: list[AdapterRef] | list[None], size: int) -> float:
    start = time.monotonic()
    await asyncio.gather(*(sampler.complete(PROMPT, ref) for ref in refs for _ in range(size)))
    return time.monotonic() - start


async def _swaps(samplers: dict[str, Sampler], old: AdapterRef) -> None:
    for name, sampler in samplers.items():
        versions = [AdapterRef(old.name, version, old.path) for version in range(1, 12)]
        start = time.monotonic()
        for before, after in itertools.pairwise(versions):
            await sampler.swap(before, after)
        print(f"{name}: {(time.monotonic() - start) * 100:.0f} ms a swap")


if __name__ == "__main__":
    main()
