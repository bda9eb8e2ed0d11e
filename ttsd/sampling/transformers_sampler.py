"""The `transformers` sampler, for where vLLM can't be installed: the `Sampler` protocol over `backbone.generate`.

Requests that wait for the same adapter are sampled as one batch, one batch at a time. Later ones join it,
or wait for its end where some of them are for another adapter. Each completion is delivered as soon as it ends. The
base may be a trainer's: the adapter is attached for a token at a time.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from threading import Lock
from typing import TYPE_CHECKING

from ttsd.errors import InfrastructureError, TtsdError
from ttsd.nouns import Completion
from ttsd.sampling.background import in_background, in_thread
from ttsd.sampling.kinds import TRANSFORMERS, SamplerParts
from ttsd.sampling.protocol import (
    AdapterRef,
    SamplerStats,
    check_new,
    checked_length,
    checked_logprobs,
    resident,
)

if TYPE_CHECKING:
    from ttsd.backbone import Adapter, Base, Generated, Prefixes

GATHERING_SECONDS = 0.005  # the members of a group are requested within one turn of the event loop


@dataclass(slots=True, eq=False)
class _Request:
    prompt_ids: tuple[int, ...]
    adapter: AdapterRef | None
    max_tokens: int
    answer: asyncio.Future[Generated]

    @property
    def kind(self) -> tuple[AdapterRef | None, int]:
        """Returns what the requests of a batch have in common."""
        return self.adapter, self.max_tokens


class HfSampler:
    """A `Sampler` on transformers, which samples with the trainer's base."""

    def __init__(self, parts: SamplerParts) -> None:
        self.parts = parts
        self.stats = SamplerStats()
        self.info: Mapping[str, str] = {}
        self._base: Base | None = None
        self._resident: dict[AdapterRef, Adapter] = {}
        self._waiting: list[_Request] = []
        self._lock = Lock()
        self._arrival = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._batching: Future[None] | None = None
        self._known: tuple[AdapterRef | None, Prefixes] | None = None  # of the adapter that was used last
        self._batches = itertools.count()

    async def start(self) -> None:
        from ttsd.backbone import check_decodes

        self._base = self.parts.base
        await in_thread(check_decodes, self._started())
        self.info = {
            "sampler": "transformers",
            "transformers": metadata.version("transformers"),
            "torch": metadata.version("torch"),
            "device": self._started().device.type,
            "dtype": str(self._started().dtype).removeprefix("torch."),
        }
        self._length()
        self._worker = asyncio.create_task(self._work())

    async def complete(
        self, prompt_ids: Sequence[int], adapter: AdapterRef | None, *, max_tokens: int | None = None
    ) -> Completion:
        resident(self._resident, adapter)
        limit = checked_length(len(prompt_ids), max_tokens or self.parts.config.sampling.max_tokens, self._length())
        start, answer = time.monotonic(), asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting.append(_Request(tuple(prompt_ids), adapter, limit, answer))
        self._arrival.set()
        token_ids, logprobs, finish_reason = await answer
        return Completion(
            token_ids=token_ids,
            text=self.parts.tokenizer.answer(token_ids),
            logprobs=checked_logprobs(logprobs),
            finish_reason=finish_reason,
            adapter_version=adapter.version if adapter else 0,
            seconds=time.monotonic() - start,
        )

    async def swap(self, old: AdapterRef | None, new: AdapterRef) -> None:
        check_new(self._resident, new)
        self._resident[new] = await in_thread(self._started().load_adapter, new.path)
        if old is not None:
            await self.drop(old)

    async def drop(self, ref: AdapterRef) -> None:
        self._resident.pop(ref, None)

    async def close(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.cancel()
            with suppress(asyncio.CancelledError):
                await worker
        with self._lock:
            _fail(self._waiting, InfrastructureError("the sampler was closed"))
            self._waiting.clear()
        self._resident.clear()
        self._base = self._known = None
        if self._batching is not None:
            await asyncio.to_thread(self._batching.exception)  # its end, at the next token

    async def health(self) -> None:
        self._started()

    async def _work(self) -> None:
        """Samples batch after batch. When it is cancelled the running batch fails, and ends at its next token."""
        while True:
            await self._arrival.wait()
            await asyncio.sleep(GATHERING_SECONDS)
            batch = self._take(TRANSFORMERS.max_sequences)
            if not batch:
                self._arrival.clear()
                continue
            try:
                self._batching = in_background(partial(self._generate, batch, asyncio.get_running_loop()))
                await asyncio.wrap_future(self._batching)
            except asyncio.CancelledError:
                _fail(batch, InfrastructureError("the sampler was closed"))
                raise
            except Exception as error:
                _fail(batch, error)

    def _take(self, room: int, joining: _Request | None = None) -> list[_Request]:
        """Takes the oldest request and those that can be sampled with it, `room` at most; they wait no longer.

        With `joining` they must go with that one, which is sampled already, and with all that wait: else they would
        keep others from their turn. The thread that samples asks this too, so `_waiting` is behind a lock.
        """
        with self._lock:
            self._waiting = [request for request in self._waiting if not request.answer.done()]
            kinds = {request.kind for request in self._waiting}
            if not kinds or (joining and (kinds != {joining.kind} or self._worker is None)):
                return []
            alike = [request for request in self._waiting if request.kind == self._waiting[0].kind][: max(room, 0)]
            self._waiting = [request for request in self._waiting if request not in alike]
            return alike

    def _generate(self, batch: list[_Request], loop: asyncio.AbstractEventLoop) -> None:
        """Samples `batch` in this thread, and hands each completion to the loop as soon as it ends.

        Requests of the same kind join it meanwhile, unless others wait for their turn.
        """
        from ttsd.backbone import Prefixes, generate

        adapter = batch[0].adapter
        if self._known is None or self._known[0] != adapter:
            self._known = adapter, Prefixes()

        def joining(sampled_now: int) -> list[tuple[int, ...]]:
            late = self._take(TRANSFORMERS.max_sequences - sampled_now, joining=batch[0])
            batch.extend(late)
            return [request.prompt_ids for request in late]

        def given_up(row: int) -> bool:
            self.stats.tokens += 1
            return batch[row].answer.done()  # its caller has left

        def ended(row: int, generated: Generated) -> None:
            loop.call_soon_threadsafe(self._deliver, batch[row], generated)

        generate(
            self._started(),
            resident(self._resident, adapter),
            [request.prompt_ids for request in batch],
            max_tokens=batch[0].max_tokens,
            temperature=self.parts.config.sampling.temperature,
            stop_token_ids=self.parts.tokenizer.stop_token_ids,
            seed=self.parts.seed + next(self._batches),
            should_stop=given_up,
            on_end=ended,
            more=joining,
            known=self._known[1],
        )

    def _deliver(self, request: _Request, generated: Generated) -> None:
        self.stats.tokens += generated[2] != "abort"  # the last token, after which a row is not asked any more
        if not request.answer.done():
            request.answer.set_result(generated)

    def _started(self) -> Base:
        if self._base is None:
            raise InfrastructureError("the transformers sampler is not running; call start() first")
        return self._base

    def _length(self) -> int:
        """Returns the tokens of prompt and completion that the model takes."""
        return self.parts.config.model.max_model_len or self._started().length


def _fail(batch: Sequence[_Request], error: Exception) -> None:
    failure = error if isinstance(error, TtsdError) else InfrastructureError(f"sampling failed: {error or repr(error)}")
    for request in batch:
        if not request.answer.done():
            request.answer.set_exception(failure)
