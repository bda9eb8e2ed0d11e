"""What the loop needs of a sampler: prompt tokens in, one completion out, adapters pushed as versions.

`kinds` lists the modules that answer to this protocol. This one loads nothing heavy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from ttsd.errors import InfrastructureError, UserError
from ttsd.nouns import Completion

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AdapterRef:
    """One version of one question's LoRA weights; `path` is a PEFT folder that stays until the version is dropped."""

    name: str
    version: int
    path: Path

    def __str__(self) -> str:
        return f"{self.name} version {self.version}"


@dataclass(slots=True)
class SamplerStats:
    """Counters since the start; tokens of aborted completions are counted as far as they came."""

    tokens: int = 0
    preemptions: int = 0  # completions that had to begin again because the cache of keys and values was full


class Sampler(Protocol):
    """Samples completions from a base model under any of the resident adapters (None: the base model alone)."""

    @property
    def info(self) -> Mapping[str, str]:
        """Returns versions, device and dtype, for the record of the run; complete once started."""

    @property
    def stats(self) -> SamplerStats: ...

    async def start(self) -> None:
        """Loads the model. UserError or InfrastructureError, in one sentence, when that can't be done."""

    async def complete(
        self, prompt_ids: Sequence[int], adapter: AdapterRef | None, *, max_tokens: int | None = None
    ) -> Completion:
        """Returns one completion; concurrent calls share batches.

        Cancelling the caller frees the engine of it at once.
        """

    async def swap(self, old: AdapterRef | None, new: AdapterRef) -> None:
        """Makes `new` resident, then unloads `old`. After it, no completion can come from stale weights."""

    async def drop(self, ref: AdapterRef) -> None:
        """Unloads `ref`."""

    async def close(self) -> None:
        """Frees everything; a second call does nothing."""

    async def health(self) -> None:
        """Raises InfrastructureError if no further completion can be had."""


def checked_length(prompt_tokens: int, max_tokens: int, limit: int) -> int:
    """Returns `max_tokens`, or what the model's length leaves of it.

    UserError where that is nothing: no prompt is cut.
    """
    if prompt_tokens < 1:
        raise UserError("the prompt is empty; give the question a statement")
    if prompt_tokens >= limit:
        raise UserError(
            f"a prompt of {prompt_tokens} tokens leaves no room in the model's length of {limit}; "
            "raise model.max_model_len where the model allows it, or choose another model"
        )
    return min(max_tokens, limit - prompt_tokens)


def checked_logprobs(logprobs: Sequence[float]) -> tuple[float, ...]:
    """Returns the log-probabilities of sampled tokens. InfrastructureError: one is no finite number."""
    for at, value in enumerate(logprobs):
        if not math.isfinite(value):
            raise InfrastructureError(
                f"the sampler gave the log-probability {value} to token {at + 1} of a completion; its numbers can't be "
                "trusted, so the run stops: use model.dtype=float32 or bfloat16, or another version of the sampler"
            )
    return tuple(logprobs)


def resident(adapters: Mapping[AdapterRef, T], adapter: AdapterRef | None) -> T | None:
    """Returns what the sampler holds of `adapter` (None for the base).

    InfrastructureError if it lacks: never stale weights.
    """
    if adapter is None:
        return None
    if adapter not in adapters:
        raise InfrastructureError(f"adapter {adapter} is not in the sampler; swap it in before sampling")
    return adapters[adapter]


def check_new(adapters: Mapping[AdapterRef, object], adapter: AdapterRef) -> None:
    if adapter in adapters:
        raise InfrastructureError(f"adapter {adapter} is in the sampler already; push the next version instead")
