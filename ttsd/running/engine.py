"""One base model, held once by the sampler and once by the trainer, and shared by every question on it.

Everything a question owns (adapter, optimizer, teacher, counters) is behind its `LoraPolicy`, the one class that
moves weights: `distil` takes the gradient step and returns only when the sampler uses the new adapter, so a
stale sampler can't happen.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import psutil

from ttsd.config import Config, Model
from ttsd.machine.gpus import hardware_for
from ttsd.machine.memory import adapters_bytes, scratch_parent, vllm_cache
from ttsd.nouns import Completion, Example
from ttsd.record.claims import state_of
from ttsd.running.parity import TOKENS, check_parity
from ttsd.running.shared_time import Shared, Spending
from ttsd.running.watchdog import waiting_for
from ttsd.sampling.background import in_background, in_thread
from ttsd.sampling.kinds import SamplerParts, sampler_named
from ttsd.sampling.plain_text import PlainText
from ttsd.sampling.protocol import AdapterRef, Sampler
from ttsd.terminal import say

if TYPE_CHECKING:
    from ttsd.backbone import Tokenizer
    from ttsd.training.state import Snapshot
    from ttsd.training.trainer import Trainer

PROBE = "def f(s): return s"  # any text will do to see whether sampler and trainer agree

P = ParamSpec("P")
T = TypeVar("T")


class Engine:
    """Sampler, trainer and tokenizer of one base model. The trainer does one call at a time.

    `init` is the adapter that every run starts from (None: the base alone); one that learns nothing stays there.
    `sampling` and `training` know how busy both are.
    """

    def __init__(self, tokenizer: Tokenizer | PlainText, sampler: Sampler, scratch: Path) -> None:
        self.tokenizer = tokenizer
        self.sampler = sampler
        self.trainer: Trainer | None = None
        self.agreement: Mapping[str, float] = {}
        self.init: AdapterRef | None = None
        self.scratch = scratch
        self.sampling = Shared("sample")
        self.training = Shared("train", places=1)

    async def sample(self, spending: Spending, prompt_ids: Sequence[int], adapter: AdapterRef | None) -> Completion:
        """Samples one completion, on the account of `spending`."""
        async with self.sampling.use(spending):
            return await self.sampler.complete(prompt_ids, adapter or self.init)

    async def train(self, spending: Spending, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `call` in the background, after what was asked for before, on the account of `spending`.

        A call that has begun is waited for even when we are cancelled.
        """
        async with self.training.use(spending):
            future = in_background(partial(call, *args, **kwargs))
            try:
                return await asyncio.wrap_future(future)
            finally:
                if future.running():
                    await asyncio.get_running_loop().run_in_executor(None, future.exception)

    async def close(self) -> None:
        await self.sampler.close()
        shutil.rmtree(self.scratch, ignore_errors=True)


class FrozenPolicy:
    """The weights that runs start from, which never move."""

    adapter_version = 0

    def __init__(self, engine: Engine, spending: Spending) -> None:
        self._engine, self._spending = engine, spending

    async def sample(self, prompt_ids: Sequence[int]) -> Completion:
        """Samples one completion."""
        return await self._engine.sample(self._spending, prompt_ids, None)

    async def distil(self, examples: Sequence[Example]) -> Mapping[str, float]:
        """Learns nothing."""
        return {}

    async def return_to(self, step: int) -> None:
        """Changes nothing."""


class LoraPolicy:
    """One question's weights: version 0 is what runs start from, each gradient step makes the next version.

    `folder` has the states that were written after its steps.
    """

    def __init__(self, engine: Engine, name: str, spending: Spending, seed: int, folder: Path) -> None:
        self._folder = folder
        self._engine = engine
        self._name = name
        self._spending = spending
        self._seed = seed
        self._adapter: AdapterRef | None = None
        self.adapter_version = 0
        self._requests = 0
        self._preempted = engine.sampler.stats.preemptions
        self._quiet = asyncio.Event()
        self._quiet.set()

    async def sample(self, prompt_ids: Sequence[int]) -> Completion:
        self._requests += 1
        self._quiet.clear()
        try:
            return await self._engine.sample(self._spending, prompt_ids, self._adapter)
        finally:
            self._requests -= 1
            if not self._requests:
                self._quiet.set()

    async def distil(self, examples: Sequence[Example]) -> dict[str, float]:
        """Takes one gradient step on `examples` and puts the new adapter into the sampler; the metrics have seconds."""
        start, new = time.monotonic(), self._ref(self.adapter_version + 1)
        metrics = await self._train(self._step_and_export, examples, new.path)
        stepped = time.monotonic()
        before, self._preempted = self._preempted, self._engine.sampler.stats.preemptions
        if metrics["updated"]:
            await self._swap(new)
        return {
            **metrics,
            "preemptions": float(self._preempted - before),  # of all runs' completions, since the last step
            "seconds/step": stepped - start,
            "seconds/swap": time.monotonic() - stepped,
        }

    async def begin(self) -> None:
        """Begins with the weights that runs start from."""
        await self._train(self._trainer.create, self._name, self._seed)

    async def return_to(self, step: int) -> None:
        """Makes adapter, optimizer and teacher as they were after `step` the next version; 0: fresh ones."""
        if step:
            await self.restore(state_of(self._folder, step), self.adapter_version + 1)
        else:
            await self.begin()
            await self._install(self.adapter_version + 1)

    async def restore(self, state: Path, version: int) -> None:
        """Returns to a saved state, as `version` of this policy."""
        await self._train(self._trainer.load, self._name, state)
        if version:
            await self._install(version)

    async def snapshot(self) -> Snapshot:
        """Returns a copy of everything that the next step depends on."""
        return await self._train(self._trainer.snapshot, self._name)

    async def close(self) -> None:
        if self._adapter is not None:
            await self._engine.sampler.drop(self._adapter)
            shutil.rmtree(self._adapter.path, ignore_errors=True)
        await self._train(self._trainer.drop, self._name)

    @property
    def _trainer(self) -> Trainer:
        assert self._engine.trainer is not None, "an engine without a trainer serves only frozen policies"
        return self._engine.trainer

    async def _train(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._engine.train(self._spending, call, *args, **kwargs)

    def _step_and_export(self, examples: Sequence[Example], folder: Path) -> dict[str, float]:
        """Takes a step and exports the adapter in one call, because each call waits for its turn."""
        metrics = self._trainer.step(self._name, examples)
        if metrics["updated"]:
            self._trainer.export(self._name, folder)
        return metrics

    def _ref(self, version: int) -> AdapterRef:
        return AdapterRef(self._name, version, self._engine.scratch / f"{self._name}-v{version}")

    async def _install(self, version: int) -> None:
        new = self._ref(version)
        await self._train(self._trainer.export, self._name, new.path)
        await self._swap(new)

    async def _swap(self, new: AdapterRef) -> None:
        await self._quiet.wait()  # one step off-policy, the next group may still use the adapter that goes
        start, old = time.monotonic(), self._adapter
        await self._engine.sampler.swap(old, new)
        self._adapter, self.adapter_version = new, new.version
        self._spending.add("swap", time.monotonic() - start)
        if old is not None:
            shutil.rmtree(old.path, ignore_errors=True)


def load_tokenizer(config: Config) -> Tokenizer | PlainText:
    """Returns the model's tokenizer and chat template, or plain text where they are elsewhere.

    This is the cheap part, which finds most mistakes. UserError as they come.
    """
    from ttsd.backbone import Tokenizer, resolve

    model = config.model
    if not model.local:
        return PlainText()
    return Tokenizer.load(resolve(model.path, model.revision), **model.template_settings)


def open_engine(
    config: Config, tokenizer: Tokenizer | PlainText, *, learns: bool = True, adapters: int = 1, seed: int = 0
) -> AbstractAsyncContextManager[Engine]:
    """Starts what samples and, where a method `learns`, what trains; closes both at the end.

    `adapters`: how many questions will share the engine.
    UserError: no such model, or a model that can't be used; InfrastructureError: the sampler or the check failed.
    """
    if isinstance(tokenizer, PlainText):
        return _endpoint_engine(config, tokenizer)
    return _local_engine(config, tokenizer, learns=learns, adapters=adapters, seed=seed)


@asynccontextmanager
async def _endpoint_engine(config: Config, tokenizer: PlainText) -> AsyncGenerator[Engine, None]:
    """Gives an engine whose model is elsewhere: it has no trainer, and nothing is loaded."""
    from ttsd.sampling.endpoint import EndpointSampler

    engine = Engine(tokenizer, EndpointSampler(config), scratch_folder(0.0))
    try:
        async with waiting_for("sampler to start"):
            await engine.sampler.start()
        yield engine
    finally:
        await engine.close()


@asynccontextmanager
async def _local_engine(
    config: Config, tokenizer: Tokenizer, *, learns: bool, adapters: int, seed: int
) -> AsyncGenerator[Engine, None]:
    """Loads the model into sampler and trainer and checks that they agree."""
    await in_thread(import_module, "ttsd.training.trainer")
    from ttsd.backbone import cpu_threads, model_sizes, resolve, return_freed_memory
    from ttsd.training.trainer import Trainer

    path = resolve(config.model.path, config.model.revision)
    threads = cpu_threads(config.model.threads, alone=takes_turns(config, adapters, learns=learns))
    hardware, sizes, kind = hardware_for(config.model), model_sizes(path), sampler_named(config.model.sampler)
    cache_bytes, gpu_share = vllm_cache(config, sizes, hardware, adapters) if kind.own_weights else (0, 0.0)

    async def load() -> Trainer:
        async with waiting_for("trainer to load"):
            return await in_thread(Trainer, path, config, threads=threads)

    shared = None if kind.own_weights else await load()
    slots, base = adapters * learns + (config.lora.init is not None), shared.base if shared else None
    sampler = kind.made(SamplerParts(config, path, tokenizer, slots, seed, threads, base, cache_bytes, gpu_share))
    engine = Engine(tokenizer, sampler, scratch_folder(adapters_bytes(config, sizes, adapters) if learns else 0.0))
    try:
        async with waiting_for("sampler to start"):
            await sampler.start()
        if learns:  # after the sampler: vLLM takes all GPU memory that goes while it starts for its own
            engine.trainer = shared or await load()
        for note in (*tokenizer.notes, *filter(None, [engine.trainer and engine.trainer.base.price])):
            say(f"ttsd: {note}")
        if engine.trainer is not None:
            room = (config.model.max_model_len or engine.trainer.base.length) - TOKENS - 1  # the check samples so many
            async with waiting_for("check that sampler and trainer agree"):
                engine.agreement = await check_parity(
                    sampler,
                    engine.trainer,
                    tokenizer.chat(PROBE),
                    longest=min(config.sampling.max_prompt_len, room),
                    quantised=differs_in_bits(config.model),
                )
            return_freed_memory()
        if (init := config.lora.init) is not None:
            engine.init = AdapterRef("init", 0, Path(init).absolute())
            await sampler.swap(None, engine.init)
        yield engine
    finally:
        await engine.close()


def takes_turns(config: Config, adapters: int, *, learns: bool) -> bool:
    """Tells whether sampler and trainer never compute at the same time."""
    return (adapters == 1 and config.sampling.pipeline == "on-policy") or not learns


def scratch_folder(least_bytes: float) -> Path:
    """Returns a folder for adapters on their way to the sampler; those of killed processes are swept away."""
    parent = scratch_parent(least_bytes)
    for folder in parent.glob("ttsd-adapters-*"):
        owner = folder.name.split("-")[2]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"ttsd-adapters-{os.getpid()}-", dir=parent))


def differs_in_bits(model: Model) -> bool:
    """Tells whether one of sampler and trainer holds the base in fewer bits than the other."""
    return sampler_named(model.sampler).own_weights and model.quantization != "none"
