"""The few kernel calls that Python does not wrap, through ctypes. Runs in the zygote: standard library only."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import signal
import time
from collections.abc import Callable
from typing import Any

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38
LONGEST_PAUSE_SECONDS = 2.0

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
_fork = ctypes.PyDLL(None).fork


def checked(result: int, what: str) -> int:
    """Returns the result of a call through ctypes; OSError where it failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def fork() -> int:
    """Calls fork(2) alone.

    os.fork also has every module renew its locks and seeds, which costs as much again; a process without other threads
    needs none of that.
    """
    return checked(_fork(), "fork")


def patiently(fork: Callable[[], int]) -> int:
    """Tries again for a while where the kernel can't have one more process: another program's may be about to end."""
    pause = 0.01
    while True:
        try:
            return fork()
        except OSError as error:
            if error.errno != errno.EAGAIN or pause > LONGEST_PAUSE_SECONDS:
                raise
        time.sleep(pause)
        pause *= 2


def syscall(number: int, *arguments: Any) -> int:
    """Makes the raw system call; OSError where it fails."""
    return checked(libc.syscall(number, *arguments), f"system call {number}")


def die_with_parent(parent: int) -> Callable[[], None]:
    """Returns what a child forked by the process `parent` has to call first; it may be alone already by then."""
    request = prepared_prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def step() -> None:
        request()
        if os.getppid() != parent:
            os._exit(1)

    return step


def prepared_prctl(option: int, *arguments: Any) -> Callable[[], object]:
    """Returns prctl with its arguments converted already, for a process that should touch little memory."""
    words = [ctypes.c_ulong(word) if isinstance(word, int) else word for word in arguments]
    call = functools.partial(libc.prctl, ctypes.c_int(option), *words, *[ctypes.c_ulong(0)] * (4 - len(words)))

    return lambda: checked(call(), f"prctl {option}")


def prctl(option: int, *arguments: Any) -> None:
    """Calls prctl(2); integers are passed as unsigned longs. OSError where it fails."""
    prepared_prctl(option, *arguments)()
