"""The `endpoint` sampler: any server with OpenAI's interface, for methods that don't learn.

The server applies its own chat template, so nothing of the model is needed here: a prompt is the user's turn.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from importlib import metadata

from ttsd.config import Config
from ttsd.errors import InfrastructureError, UserError
from ttsd.nouns import Completion
from ttsd.sampling.plain_text import PlainText
from ttsd.sampling.protocol import AdapterRef, SamplerStats, checked_length
from ttsd.thinking import MARKS

try:
    from ttsd.sampling.endpoint.client import Client
except ModuleNotFoundError:
    raise UserError('endpoints are asked with the package openai; run: pip install "ttsd[endpoint]"') from None

__all__ = ["Client", "EndpointSampler", "served"]


class EndpointSampler:
    """A `Sampler` at a URL. `pause_seconds`: the first pause after a fault."""

    def __init__(self, config: Config, pause_seconds: float = 1.0) -> None:
        self.stats = SamplerStats()
        self.info: Mapping[str, str] = {}
        self._model, self._sampling = config.model, config.sampling
        self._client = _client(config, self.stats, pause_seconds)

    async def start(self) -> None:
        await self._client.start("model.path", "model.name")
        self.info = {"sampler": "endpoint", "openai": metadata.version("openai")}

    async def complete(
        self, prompt_ids: Sequence[int], adapter: AdapterRef | None, *, max_tokens: int | None = None
    ) -> Completion:
        start, limit = time.monotonic(), max_tokens or self._sampling.max_tokens
        if self._model.max_model_len is not None:
            limit = checked_length(len(prompt_ids), limit, self._model.max_model_len)
        answer = await self._client.ask(
            PlainText.whole_text(prompt_ids),
            system=self._model.system_prompt,
            max_tokens=limit,
            temperature=self._sampling.temperature,
            top_p=1.0,  # a server may have another default
            logprobs=True,
            chat_template_kwargs={"enable_thinking": self._model.enable_thinking, **self._model.chat_template_kwargs},
        )
        end = self._model.thinking_end
        return Completion(
            token_ids=(),
            text=answer.text.replace(end, MARKS[0][1]) if end else answer.text,
            logprobs=answer.logprobs,
            finish_reason=answer.finish_reason,
            seconds=time.monotonic() - start,
            charge=answer.charge,
        )

    async def swap(self, old: AdapterRef | None, new: AdapterRef) -> None:
        raise InfrastructureError(f"the endpoint {self._model.path} takes no adapters")

    async def drop(self, ref: AdapterRef) -> None:
        """Does nothing: no adapter is there."""

    async def close(self) -> None:
        await self._client.close()

    async def health(self) -> None:
        await self._client.served()


async def served(config: Config) -> list[str]:
    """Returns the names of the models that the configured endpoint lists. UserError, InfrastructureError: it can't."""
    client = _client(config, SamplerStats())
    try:
        return await client.served()
    finally:
        await client.close()


def _client(config: Config, stats: SamplerStats, pause_seconds: float = 1.0) -> Client:
    shorter = "lower sampling.max_tokens or set model.max_model_len to what it allows"
    model = config.model
    return Client(model.path, model.name, config.endpoint, stats, shorter=shorter, pause_seconds=pause_seconds)
