"""Sampler and trainer on their way up, side by side or in turn; either is named when it takes long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from ttsd.running.watchdog import QUIET_SECONDS, waiting_for

T = TypeVar("T")


async def bring_up(
    start: Callable[[], Coroutine[None, None, None]],
    loading: Callable[[], Future[T]] | None,
    *,
    in_turn: bool,
    quiet_seconds: float = QUIET_SECONDS,
) -> T | None:
    """Starts the sampler and loads the trainer, if there is one; the first fault of either is raised at once.

    `in_turn`: first the one, then the other. vLLM takes all GPU memory that goes while it starts for its own.
    """

    async def started() -> None:
        async with waiting_for("sampler to start", quiet_seconds):
            await start()

    async def loaded(coming: Future[T]) -> T:
        async with waiting_for("trainer to load", quiet_seconds):
            return await asyncio.wrap_future(coming)

    if in_turn or loading is None:
        await started()
        return await loaded(loading()) if loading else None
    # A sampler that shares the trainer's base asks for it too: only what has begun before is one loading for both.
    coming = loading()
    waiting: list[asyncio.Future[Any]] = [asyncio.ensure_future(started()), asyncio.ensure_future(loaded(coming))]
    try:
        await asyncio.gather(*waiting)
    finally:
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    return coming.result()
