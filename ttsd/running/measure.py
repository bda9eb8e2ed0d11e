"""`ttsd doctor --measure`: what the configured engine does on this machine, in place of a plan's assumptions.

Some minutes: the engine is loaded, tokens are decoded at three batch sizes with and without adapters, two gradient
steps are taken, an adapter is exported and swapped, a learner's state is saved. Nothing of it is a run: no record is
opened and no program is judged. Texts are random tokens, so what is said is worth nothing; how long it takes is.
"""

from __future__ import annotations

import asyncio
import random
import re
import tempfile
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path

from ttsd.config import Config, Model
from ttsd.machine.cards import GIB
from ttsd.machine.doctor import model_facts
from ttsd.machine.lengths import Lengths, usual_lengths
from ttsd.machine.measured import Learning, Measured, Rate
from ttsd.machine.memory import Found, found_memory, memory_of
from ttsd.machine.shape import Shape
from ttsd.nouns import Example
from ttsd.running.engine import Engine, load_tokenizer, open_engine
from ttsd.running.shared_time import Spending
from ttsd.sampling.background import beside
from ttsd.sampling.protocol import AdapterRef

AT_ONCE = (1, 16, 64)
TOKENS_ON_CARD, TOKENS_ON_CPU = 256, 32  # of each completion that is decoded
LONGER = 4  # times as many tokens has each completion of the second gradient step
QUESTIONS = 2  # that the engine is started for
NAME = "ttsd-measure"

Say = Callable[[str], None]


async def measure(config: Config, *, random_weights: bool, tokens: int | None, say: Say) -> Measured:
    """`tokens`: of each completion that is decoded; the gradient steps learn from as many, and from four times that.

    `random_weights`: the model's config.json is enough, its weights are drawn.
    """
    found = found_memory(config.model)
    tokens = min(tokens or (TOKENS_ON_CPU if found.is_cpu else TOKENS_ON_CARD), config.sampling.max_tokens // LONGER)
    lengths = replace(usual_lengths(config, tokens), completion=max(1, tokens))
    async with _model(config, random_weights, say) as own:
        tokenizer = await beside(load_tokenizer, own)
        tokenizer.stop_token_ids = ()  # every completion is to have all its tokens
        say(f"loading {config.model.path}")
        start = time.monotonic()
        async with open_engine(own, tokenizer, adapters=QUESTIONS) as engine:
            loaded = time.monotonic() - start
            say(f"loaded in {loaded:.1f} s, sampler and trainer agree; decoding {tokens} tokens")
            bench = _Bench(engine, lengths)
            slowness = await bench.moving()
            return Measured(
                model=config.model.path,
                device=engine.sampler.info.get("device_name") or engine.sampler.info["device"],
                is_cpu=found.is_cpu,
                card_gib=(found.card or found.free) / GIB,
                load_seconds=loaded,
                kv_cache_tokens=int(engine.sampler.info.get("kv_cache_tokens", 0)),
                rates=[await bench.rate(count, adapted, say) for count in AT_ONCE for adapted in (False, True)],
                learning=[await bench.learning(factor, say) for factor in (1, LONGER)],
                **slowness,
                peak_gib=_peak_gib(engine, found, own.model),
                planned_gib=_planned_gib(own, found, lengths),
            )


class _Bench:
    """Times one thing after the other on an engine that nobody else uses."""

    def __init__(self, engine: Engine, lengths: Lengths) -> None:
        assert engine.trainer is not None
        self._engine, self._trainer, self._lengths = engine, engine.trainer, lengths
        self._random = random.Random(0)
        self._adapter = AdapterRef(NAME, 1, engine.scratch / NAME)

    async def moving(self) -> dict[str, float]:
        """Seconds to copy a learner's state and write it, to export an adapter and to swap it in. The adapter stays."""
        await self._train(self._trainer.create, NAME, 0)
        with tempfile.TemporaryDirectory(prefix="ttsd-measure-", dir=".") as folder:
            start = time.monotonic()
            snapshot = await self._engine.train(Spending(), self._trainer.snapshot, NAME)
            copy = time.monotonic() - start
            save = await _seconds(asyncio.to_thread(snapshot.write, Path(folder) / "state"))
        export = await _seconds(self._train(self._trainer.export, NAME, self._adapter.path))
        swap = await _seconds(self._engine.sampler.swap(None, self._adapter))
        return {"copy_seconds": copy, "export_seconds": export, "swap_seconds": swap, "save_seconds": save}

    async def rate(self, at_once: int, adapted: bool, say: Say) -> Rate:
        """Of completions of one prompt, as a group is."""
        prompt, adapter = self._text(self._lengths.prompt), self._adapter if adapted else None
        sampler, tokens = self._engine.sampler, self._lengths.completion
        await sampler.complete(prompt, adapter, max_tokens=1)  # reads the prompt
        drawing = [sampler.complete(prompt, adapter, max_tokens=tokens) for _ in range(at_once)]
        seconds = await _seconds(asyncio.gather(*drawing))
        rate = Rate(at_once, at_once * tokens / seconds, adapted)
        say(f"{at_once} at once{', adapter' * adapted}: {rate.tokens_per_second:.0f} tokens/s")
        return rate

    async def learning(self, factor: int, say: Say) -> Learning:
        """Of a group whose completions are `factor` times as long as those decoded."""
        lengths = replace(self._lengths, completion=factor * self._lengths.completion)
        question = self._text(lengths.prompt)
        lessons = [
            Example(
                attempt,
                question if lengths.shared else self._text(lengths.prompt),
                self._text(lengths.completion),
                (-1.0,) * lengths.completion,
                0.0,
                self._text(lengths.reprompt),
                feedback_used=True,
            )
            for attempt in range(1, lengths.group + 1)
        ]
        if factor == 1:
            await self._train(self._trainer.step, NAME, lessons[:1])  # the first step of all allocates and compiles
        seconds = await _seconds(self._train(self._trainer.step, NAME, lessons))
        learning = Learning(lengths.student + lengths.teacher, seconds)
        say(f"a gradient step on {learning.tokens} tokens: {seconds:.1f} s")
        return learning

    def _text(self, tokens: int) -> tuple[int, ...]:
        common = len(self._engine.tokenizer.chat("?")) + 200  # tokens that every vocabulary has
        return tuple(self._random.randrange(common) for _ in range(tokens))

    async def _train(self, call: Callable[..., object], *args: object) -> object:
        return await self._engine.train(Spending(), call, *args)


async def _seconds(work: object) -> float:
    start = time.monotonic()
    await work  # type: ignore[misc]
    return time.monotonic() - start


@asynccontextmanager
async def _model(config: Config, random_weights: bool, say: Say) -> AsyncGenerator[Config, None]:
    """The configuration with a model that is there: its own, or one of its shape whose weights are drawn."""
    if not random_weights:
        yield config
        return
    from ttsd.backbone.processor import resolved_dtype
    from ttsd.backbone.random_weights import write_random_model

    model = config.model
    dtype = resolved_dtype(model.dtype, model.trainer_card, model.path)
    with tempfile.TemporaryDirectory(prefix="ttsd-random-") as folder:
        say(f"drawing weights of the shape of {model.path}")
        await beside(write_random_model, model_facts(config)[0], model.path, Path(folder), dtype)
        changed = model.model_copy(update={"path": folder, "dtype": dtype})
        yield config.model_copy(update={"model": changed})


def _planned_gib(config: Config, found: Found, lengths: Lengths) -> dict[str, float]:
    """Of the longer gradient step."""
    longer = replace(lengths, completion=LONGER * lengths.completion)
    shape = Shape.read(model_facts(config)[0])
    needs = memory_of(config, shape, found.as_card(), questions=QUESTIONS, lengths=longer).needs
    return {process: need / GIB for process, need in needs.items()}


def _peak_gib(engine: Engine, found: Found, model: Model) -> dict[str, float]:
    """The trainer's and the sampler's; of a sampler within this process nothing is known apart."""
    if found.is_cpu:
        sampler = sum(_peak_bytes(child.pid) for child in active_children() if child.name.startswith("EngineCore"))
        return {"trainer": _peak_bytes("self") / GIB} | ({"sampler": sampler / GIB} if sampler else {})
    import torch

    from ttsd.backbone import device_named

    drawing, learning = device_named(model.sampler_cards[0]), device_named(model.trainer_card)
    free, total = torch.cuda.mem_get_info(drawing)
    others = total - free - torch.cuda.memory_reserved(drawing)  # what PyTorch holds in this process is the trainer's
    return {"trainer": torch.cuda.max_memory_allocated(learning) / GIB, "sampler": others / GIB}


def _peak_bytes(process: int | str | None) -> float:
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    return float(peak[1]) * 1024 if peak else 0.0
