"""Makes `asyncio.run(main())` work without the socket pair and the epoll object that its event loop asks for.

A program has no file that could become ready later, so the loop waits for nothing but its timers and its own threads;
a lock does for that, and nothing of the kernel has to be allowed. Runs in the zygote: standard library only.
"""

from __future__ import annotations

import selectors
import threading
from typing import Any


class Waiting(selectors.PollSelector):
    """What is registered is a plain file, which is always ready; without any it waits to be woken."""

    def __init__(self) -> None:
        super().__init__()
        self._woken = threading.Event()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0) if self.get_map() else []
        if not ready:
            self._woken.wait(timeout if timeout is None else max(0.0, timeout))
        self._woken.clear()
        return ready

    def wake(self) -> None:
        self._woken.set()


def install() -> None:
    """Installs it for every event loop that this process will make."""
    from asyncio.selector_events import BaseSelectorEventLoop

    selectors.DefaultSelector = Waiting  # type: ignore[assignment, misc]
    for name, replacement in {
        "_make_self_pipe": _nothing,
        "_close_self_pipe": _nothing,
        "_write_to_self": _wake,
    }.items():
        setattr(BaseSelectorEventLoop, name, replacement)


def _nothing(loop: Any) -> None:
    """Does nothing: there is no pipe to make or to close."""


def _wake(loop: Any) -> None:
    if loop._selector is not None:
        loop._selector.wake()
