"""How many threads a program may have: so many more than its user has processes now.

The kernel counts all threads of a user, and says how many they are only by refusing one more. Asking it that way also
counts what runs in other containers. Runs in the zygote: standard library only.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal

from sandbox import kernel

THREADS = 128  # as many stacks of 8 MiB as fit into 1 GiB
RESERVE = 64  # of the user's own limit, for the sandbox and others
_SHARED_UNTIL_EXIT = 0x100 | 0x4000  # CLONE_VM, CLONE_VFORK
_STACK_BYTES = 64 << 10


def limit() -> int | None:
    """Returns the value for RLIMIT_NPROC; None where the kernel does not hold this process to it (real root)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    try:
        if _one_more(0, hard):
            return None
        number = _counted(hard) + THREADS
    finally:
        resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))
    return number if soft == resource.RLIM_INFINITY else min(number, max(1, soft - RESERVE))


def _counted(hard: int) -> int:
    """Returns the user's processes and threads, this one included."""
    most = 1
    while not _one_more(most, hard):
        most *= 2
    least = most // 2
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if _one_more(middle, hard) else (middle, most)
    return least


def _one_more(allowed: int, hard: int) -> bool:
    """Tells whether a process can be started while that many are allowed."""
    if hard != resource.RLIM_INFINITY and allowed > hard:
        return True  # no limit could be set there; the user's own limit decides
    resource.setrlimit(resource.RLIMIT_NPROC, (allowed, hard))
    stack = ctypes.create_string_buffer(_STACK_BYTES)
    top = ctypes.c_void_p((ctypes.addressof(stack) + _STACK_BYTES) & ~15)
    at_once = ctypes.cast(kernel.libc._exit, ctypes.c_void_p)
    pid = kernel.libc.clone(at_once, top, _SHARED_UNTIL_EXIT | signal.SIGCHLD, ctypes.c_void_p(0))
    if pid > 0:
        os.waitpid(pid, 0)
    return bool(pid > 0)
