"""The door to vLLM: its asynchronous engine with multi-LoRA, on CUDA or on a CPU, behind the `Sampler` protocol.

An adapter version is known to vLLM by a name and a number that are never used twice, so neither weights nor cached
prefixes of an earlier version can be mistaken for it. Requests carry no seed of their own (on a CPU a seeded request
kills the engine); the engine as a whole is seeded.
"""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from ttsd.errors import InfrastructureError, UserError
from ttsd.nouns import Completion
from ttsd.sampling.kinds import SamplerParts
from ttsd.sampling.protocol import (
    AdapterRef,
    SamplerStats,
    check_new,
    checked_length,
    checked_logprobs,
    resident,
)
from ttsd.sampling.vllm_sampler.launch import Launch, collect_contexts, lora_slots

__all__ = ["VllmSampler"]


class VllmSampler:
    """A `Sampler` on vLLM. Every method but `start` and `close` needs a started engine."""

    def __init__(self, parts: SamplerParts) -> None:
        self.parts = parts
        self.stats = SamplerStats()
        self.info: Mapping[str, str] = {}
        self._engine: Any = None
        self._launch: Launch | None = None
        self._resident: dict[AdapterRef, Any] = {}
        self._adapter_ids = itertools.count(1)
        self._request_ids = itertools.count(1)
        self._moving = asyncio.Lock()  # held while adapters come and go

    async def start(self) -> None:
        if importlib.util.find_spec("vllm") is None:
            raise UserError(
                'vLLM is not installed; run `pip install "ttsd[gpu]"` (CUDA) or `make` (CPU), '
                "or sample without it: --set model.sampler=transformers"
            )
        self._launch = Launch(self.parts)
        await self._launch.run()
        self._engine = self._launch.take()
        self.info = self._launch.info
        await self.complete(
            (self.parts.tokenizer.stop_token_ids or (0,))[:1], None, max_tokens=1
        )  # warms the kernels up
        self.stats = SamplerStats()

    async def complete(
        self, prompt_ids: Sequence[int], adapter: AdapterRef | None, *, max_tokens: int | None = None
    ) -> Completion:
        engine, lora = self._started(), resident(self._resident, adapter)
        limit = engine.model_config.max_model_len
        params = self._params(
            checked_length(len(prompt_ids), max_tokens or self.parts.config.sampling.max_tokens, limit)
        )
        prompt, name, start = {"prompt_token_ids": list(prompt_ids)}, str(next(self._request_ids)), time.monotonic()
        sampled = _Sampled([], [])
        with self._faults():
            async with aclosing(engine.generate(prompt, params, name, lora_request=lora)) as outputs:
                async for output in outputs:
                    self.stats.tokens += sampled.extend(output.outputs[0])
        self.stats.preemptions = self._launch.preemptions.count if self._launch else 0
        return Completion(
            token_ids=tuple(sampled.token_ids),
            text=self.parts.tokenizer.answer(sampled.token_ids),
            logprobs=checked_logprobs(sampled.logprobs),
            finish_reason=sampled.finish_reason,
            adapter_version=adapter.version if adapter else 0,
            seconds=time.monotonic() - start,
        )

    async def swap(self, old: AdapterRef | None, new: AdapterRef) -> None:
        async with self._moving:
            check_new(self._resident, new)
            await self._load(new)
            if old is not None:
                await self._unload(old)

    async def drop(self, ref: AdapterRef) -> None:
        async with self._moving:
            await self._unload(ref)

    async def _unload(self, ref: AdapterRef) -> None:
        lora = self._resident.pop(ref, None)
        if lora is not None and self._engine is not None and not self._engine.errored:
            with self._faults():
                await self._engine.remove_lora(lora.lora_int_id)

    async def close(self) -> None:
        engine, self._engine = self._engine, None
        self._resident.clear()
        if engine is not None:
            engine.shutdown(timeout=0)  # by a signal: it has nothing to save
            del engine
            await collect_contexts()
        if self._launch is not None:
            self._launch.tidy()

    async def health(self) -> None:
        engine = self._started()
        with self._faults():
            await engine.check_health()

    async def _load(self, ref: AdapterRef) -> None:
        from vllm.lora.request import LoRARequest

        engine, number = self._started(), next(self._adapter_ids)
        if len(self._resident) >= lora_slots(self.parts):
            raise InfrastructureError(
                f"no slot is free for adapter {ref}: the sampler was started for {self.parts.adapters} questions; "
                "drop one first or start it for more"
            )
        lora = LoRARequest(f"{ref.name}-v{ref.version}-{number}", number, str(ref.path))
        with self._faults(f"the adapter {ref} in {ref.path} can't be loaded"):
            await engine.add_lora(lora)
        self._resident[ref] = lora

    def _params(self, max_tokens: int) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            max_tokens=max_tokens,
            temperature=self.parts.config.sampling.temperature,
            stop_token_ids=list(self.parts.tokenizer.stop_token_ids),
            ignore_eos=True,  # the stop tokens are said above; the model's own opinion may differ
            logprobs=0,  # of the sampled token only
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )

    def _started(self) -> Any:
        if self._engine is None:
            raise InfrastructureError("the vLLM engine is not running; call start() first")
        return self._engine

    @contextmanager
    def _faults(self, what: str = "") -> Iterator[None]:
        assert self._launch is not None
        try:
            yield
        except Exception as error:
            if not what or self._started().errored:
                what = "the vLLM engine failed"  # its process may have ended, whatever was asked of it
            raise InfrastructureError(f"{what}: {self._launch.cause(error)}") from error


@dataclass(slots=True)
class _Sampled:
    """Tokens of one request as they arrive, each with its log-probability."""

    token_ids: list[int]
    logprobs: list[float]
    finish_reason: Literal["stop", "length", "abort"] = "abort"

    def extend(self, delta: Any) -> int:
        """Adds one message of the engine's; returns how many tokens it brought."""
        self.token_ids += delta.token_ids
        self.logprobs += [
            entry[token].logprob for token, entry in zip(delta.token_ids, delta.logprobs or (), strict=True)
        ]
        if delta.finish_reason is not None:
            self.finish_reason = delta.finish_reason
        return len(delta.token_ids)
