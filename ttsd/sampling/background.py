"""Loading and computing happen in the background, each piece of work in a thread of its own that ends with it.

Loading can't be interrupted. Python waits for an executor's threads before it ends; for these it doesn't. Code that
ends the program while one still works must leave by `os._exit` (see `unfinished`): torch's and vLLM's own code does not
survive Python's tidying up.

A thread that stays keeps the helpers that OpenMP gave it. Once there are more of these than cores, GNU's OpenMP puts
all of them to sleep after every product, and a token takes 1.7 times as long to sample.

All threads share one heap. Otherwise glibc gives them heaps of 64 MiB, in which large tensors leave gaps: a step of
learning that needs 3.6 GiB takes 5.4.
"""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache, partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_PREFIX = "ttsd-background"
_M_ARENA_MAX = -8  # of malloc.h


def in_background(call: Callable[[], T]) -> Future[T]:
    """Runs `call` in a thread of its own."""
    _share_one_heap()
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name=f"{_PREFIX}-{id(future)}", daemon=True).start()
    return future


@cache
def _share_one_heap() -> None:
    """Sets it for threads that start from now on. PyTorch has wheels for glibc alone."""
    ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Returns what `call` returns, from a thread of its own. A caller that is cancelled does not wait for its end."""
    return await asyncio.wrap_future(in_background(partial(call, *args, **kwargs)))


def unfinished() -> bool:
    """Tells whether some of it is still at work."""
    return any(thread.name.startswith(_PREFIX) for thread in threading.enumerate())
