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
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import psutil

from ttsd.config import Config, Model
from ttsd.machine.gpus import Hardware, hardware_for
from ttsd.machine.memory import adapters_bytes, sampler_share, scratch_parent, vllm_cache_bytes
from ttsd.nouns import Completion, Example
from ttsd.running.bring_up import bring_up
from ttsd.running.parity import TOKENS, check_parity
from ttsd.running.shared_time import Shared, Spending
from ttsd.running.watchdog import waiting_for
from ttsd.sampling.background import in_background, in_thread
from ttsd.sampling.kinds import SAMPLERS
from ttsd.sampling.protocol import AdapterRef, Sampler
from ttsd.terminal import say

if TYPE_CHECKING:
    from ttsd.backbone import Base, Tokenizer
    from ttsd.training.state import Snapshot
    from ttsd.training.trainer import Trainer

PROBE = "def f(s): return s"  # any text will do to see whether sampler and trainer agree

P = ParamSpec("P")
T = TypeVar("T")


class Engine:
    """Sampler, trainer and tokenizer of one base model. The trainer does one call at a time.

    `sampling` and `training` know how busy both are.
    """

    def __init__(self, tokenizer: Tokenizer, sampler: Sampler, scratch: Path) -> None:
        self.tokenizer = tokenizer
        self.sampler = sampler
        self.trainer: Trainer | None = None
        self.agreement: Mapping[str, float] = {}
        self.scratch = scratch
        self.sampling = Shared("sample")
        self.training = Shared("train", places=1)

    async def sample(self, spending: Spending, prompt_ids: Sequence[int], adapter: AdapterRef | None) -> Completion:
        """Samples one completion, on the account of `spending`."""
        async with self.sampling.use(spending):
            return await self.sampler.complete(prompt_ids, adapter)

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
    """The base model's weights, which never move."""

    adapter_version = 0

    def __init__(self, engine: Engine, spending: Spending) -> None:
        self._engine, self._spending = engine, spending

    async def sample(self, prompt_ids: Sequence[int]) -> Completion:
        """Samples one completion."""
        return await self._engine.sample(self._spending, prompt_ids, None)

    async def distil(self, examples: Sequence[Example]) -> Mapping[str, float]:
        """Learns nothing."""
        return {}

    async def restart(self) -> None:
        """Changes nothing."""


class LoraPolicy:
    """One question's weights: version 0 is the base model, each gradient step makes the next version."""

    def __init__(self, engine: Engine, name: str, spending: Spending, seed: int) -> None:
        self._engine = engine
        self._name = name
        self._spending = spending
        self._seed = seed
        self._adapter: AdapterRef | None = None
        self._version = 0
        self._requests = 0
        self._preempted = engine.sampler.stats.preemptions
        self._quiet = asyncio.Event()
        self._quiet.set()

    @property
    def adapter_version(self) -> int:
        return self._version

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
        start, new = time.monotonic(), self._ref(self._version + 1)
        metrics = await self._train(self._step_and_export, examples, new.path)
        stepped = time.monotonic()
        if metrics["updated"]:
            await self._swap(new)
        return {
            **metrics,
            "preemptions": float(self._preemptions()),
            "seconds/step": stepped - start,
            "seconds/swap": time.monotonic() - stepped,
        }

    async def begin(self) -> None:
        """Begins with a fresh adapter, which changes nothing yet."""
        await self._train(self._trainer.create, self._name, self._seed)

    async def restart(self) -> None:
        """Makes a fresh adapter, optimizer and teacher the next version: the base's weights again."""
        await self.begin()
        await self._install(self._ref(self._version + 1))

    async def restore(self, state: Path, version: int) -> None:
        """Resumes from a saved state, as `version` of this policy."""
        await self._train(self._trainer.load, self._name, state)
        if version:
            await self._install(self._ref(version))

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

    def _preemptions(self) -> int:
        """Returns completions, of all runs, that the sampler had to begin again since the last step."""
        before, self._preempted = self._preempted, self._engine.sampler.stats.preemptions
        return self._preempted - before

    def _ref(self, version: int) -> AdapterRef:
        return AdapterRef(self._name, version, self._engine.scratch / f"{self._name}-v{version}")

    async def _install(self, new: AdapterRef) -> None:
        await self._train(self._trainer.export, self._name, new.path)
        await self._swap(new)

    async def _swap(self, new: AdapterRef) -> None:
        await self._quiet.wait()  # one step off-policy, the next group may still use the adapter that goes
        start, old = time.monotonic(), self._adapter
        await self._engine.sampler.swap(old, new)
        self._adapter, self._version = new, new.version
        self._spending.add("swap", time.monotonic() - start)
        if old is not None:
            shutil.rmtree(old.path, ignore_errors=True)


def load_tokenizer(config: Config) -> Tokenizer:
    """Returns the model's tokenizer and chat template: the cheap part, which finds most mistakes.

    UserError as they come.
    """
    from ttsd.backbone import Tokenizer, resolve

    model = config.model
    return Tokenizer.load(
        resolve(model.path),
        enable_thinking=model.enable_thinking,
        system_prompt=model.system_prompt,
        chat_template_kwargs=model.chat_template_kwargs,
        thinking_end=model.thinking_end,
    )


@asynccontextmanager
async def open_engine(
    config: Config, tokenizer: Tokenizer, *, learns: bool = True, adapters: int = 1, seed: int = 0
) -> AsyncGenerator[Engine, None]:
    """Loads the model into sampler and trainer side by side, checks that they agree, and closes both at the end.

    `adapters`: how many questions will share the engine. Without `learns` there is no trainer.
    UserError: no such model, or a model that can't be used; InfrastructureError: the sampler or the check failed.
    """
    await in_thread(import_module, "ttsd.training.trainer")
    from ttsd.backbone import cpu_threads, model_sizes, resolve
    from ttsd.training.trainer import Trainer

    path = resolve(config.model.path)
    threads = cpu_threads(config.model.threads, alone=takes_turns(config, adapters, learns=learns))
    hardware, sizes = hardware_for(config.model), model_sizes(path)
    scratch = scratch_folder(adapters_bytes(config, sizes, adapters) if learns else 0.0)
    loading = cache(lambda: in_background(partial(Trainer, path, config, threads=threads))) if learns else None
    parts = _Parts(config, path, tokenizer, adapters if learns else 0, seed, threads, loading)
    makers: dict[str, Callable[[], Sampler]] = {
        "vllm": lambda: parts.vllm(vllm_cache_bytes(config, sizes, hardware, adapters)),
        "transformers": parts.transformers,
    }
    sampler = makers[config.model.sampler]()
    engine = Engine(tokenizer, sampler, scratch)
    try:
        engine.trainer = await bring_up(sampler.start, loading, in_turn=shares_gpu(config, hardware))
        for note in (*tokenizer.notes, *filter(None, [engine.trainer and engine.trainer.base.price])):
            say(f"ttsd: {note}")
        if engine.trainer is not None:
            async with waiting_for("check that sampler and trainer agree"):
                engine.agreement = await check_parity(
                    sampler,
                    engine.trainer,
                    tokenizer.chat(PROBE),
                    longest=longest_prompt(config, engine.trainer.base.length),
                    top_p=config.sampling.top_p,
                    quantised=differs_in_bits(config.model),
                )
        yield engine
    finally:
        await engine.close()


def longest_prompt(config: Config, own: int) -> int:
    """Returns the tokens of the longest prompt with which the parity check leaves room; `own`: the model's length."""
    return min(config.sampling.max_prompt_len, (config.model.max_model_len or own) - TOKENS - 1)


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


def shares_gpu(config: Config, hardware: Hardware) -> bool:
    """Tells whether the sampler's own process and the trainer divide one GPU."""
    return SAMPLERS[config.model.sampler].own_weights and not hardware.is_cpu and not config.model.apart


def differs_in_bits(model: Model) -> bool:
    """Tells whether one of sampler and trainer holds the base in fewer bits than the other."""
    quantized = model.quantize_base != "none" or model.sampler_quantization != "none"
    return SAMPLERS[model.sampler].own_weights and quantized


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a sampler is made of. `loading` gives the trainer, whose base the transformers sampler shares."""

    config: Config
    path: str
    tokenizer: Tokenizer
    adapters: int
    seed: int
    threads: int
    loading: Callable[[], Future[Trainer]] | None

    def transformers(self) -> Sampler:
        from ttsd.backbone import LoraShape, load_base
        from ttsd.sampling.transformers_sampler import HfSampler, HfSettings

        model, sampling, loading = self.config.model, self.config.sampling, self.loading
        settings = HfSettings(
            max_tokens=sampling.max_tokens,
            stop_token_ids=self.tokenizer.stop_token_ids,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_model_len=model.max_model_len,
            seed=self.seed,
        )

        def load() -> Base:
            base = load_base(
                self.path,
                dtype=model.dtype,
                device=model.trainer_on,
                quantize=model.quantize_base,
                threads=self.threads,
                max_model_len=model.max_model_len,
            )
            lora = self.config.lora  # no adapter is used here, but only LoRA layers can be prepared
            base.wire(LoraShape.of(lora.rank, lora.alpha, lora.target_modules))
            return base

        return HfSampler(settings, self.tokenizer.answer, (lambda: loading().result().base) if loading else load)

    def vllm(self, cache_bytes: int) -> Sampler:
        from ttsd.sampling.vllm_sampler import VllmSampler, VllmSettings

        model, sampling = self.config.model, self.config.sampling
        settings = VllmSettings(
            model=self.path,
            max_tokens=sampling.max_tokens,
            stop_token_ids=self.tokenizer.stop_token_ids,
            adapters=self.adapters,
            max_lora_rank=self.config.lora.rank,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            dtype=model.dtype,
            device=model.sampler_on[0],
            quantization=model.sampler_quantization,
            max_model_len=model.max_model_len,
            gpu_memory_utilization=sampler_share(self.config),
            kv_cache_bytes=cache_bytes,
            tensor_parallel_size=model.tensor_parallel_size,
            threads=self.threads,
            seed=self.seed,
        )
        return VllmSampler(settings, self.tokenizer.answer)
