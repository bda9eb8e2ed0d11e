"""The few kernel calls that Python does not wrap, through ctypes. Runs in the zygote: standard library only."""

from __future__ import annotations

import ctypes
import os
from typing import Any

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
_fork = ctypes.PyDLL(None).fork


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def fork() -> int:
    """fork(2) alone. os.fork also has every module renew its locks and seeds, which costs as much again; a process
    without other threads needs none of that."""
    return _checked(_fork(), "fork")


def syscall(number: int, *arguments: Any) -> int:
    """The raw system call; OSError where it fails."""
    return _checked(libc.syscall(number, *arguments), f"system call {number}")


def prctl(option: int, *arguments: Any) -> int:
    """prctl(2); integers are passed as unsigned longs."""
    padded = [*arguments, 0, 0, 0, 0][:4]
    words = [ctypes.c_ulong(word) if isinstance(word, int) else word for word in padded]
    return _checked(libc.prctl(option, *words), f"prctl {option}")
