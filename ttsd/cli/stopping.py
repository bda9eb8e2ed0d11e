"""SIGINT and SIGTERM: a request to stop, in whatever phase. The second one ends the process at once.

One handler stays in place from the first import to the end, so there is no moment at which a signal does something
else. What a request does depends on how far the command is:

- before the command has begun, nothing is at stake: the process ends;
- in plain code it is the exception `Stopped`;
- in `run` (options) it cancels the asynchronous work, which then leaves everything on disk.

Whatever error comes up once a stop was requested is a consequence of it: other processes of ours may have received the
same signal.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ttsd.errors import Stopped

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SHOW_CURSOR = "\x1b[?25h"  # a live view hides it


class StopRequests:
    """Receives the signals of this process. `received`: the first one's number, None so far."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._answer: Callable[[], object] = self._leave

    def listen(self) -> None:
        """From now on; until `begin`, a request ends the process."""
        for number in SIGNALS:
            signal.signal(number, self._receive)
        atexit.register(_ignore)  # the first to be registered is the last to run

    def begin(self) -> None:
        """The command begins: it can be interrupted, and cleans up after itself."""
        self._answer = _raise

    def finish(self) -> None:
        """The command is at its end: a first request changes nothing any more."""
        self._answer = lambda: None

    @contextmanager
    def answered_by(self, answer: Callable[[], object]) -> Iterator[None]:
        """Has a request call `answer` instead; at once, if it came before."""
        before, self._answer = self._answer, answer
        try:
            if self.received is not None:
                answer()
            yield
        finally:
            self._answer = before

    @property
    def status(self) -> int:
        """The exit status: 130 for SIGINT, 143 for SIGTERM."""
        assert self.received is not None
        return 128 + self.received

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            self._leave()
        self.received = number
        self._answer()

    def _leave(self) -> None:
        if sys.stderr.isatty():
            os.write(2, SHOW_CURSOR.encode())
        os.write(2, b"ttsd: stopped\n")
        os._exit(self.status)


def _ignore() -> None:
    """Ignores signals.

    The interpreter drops handlers before it tears modules down. The answer is out, so signals change nothing.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _raise() -> None:
    raise Stopped("stopped")


stop_requests = StopRequests()
