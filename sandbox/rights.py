"""What a process of the sandbox gives up for good besides system calls: its user, its capabilities, its view of files.

As root a program's processes get a user of their own, who owns nothing. Another user makes a namespace instead, where
the kernel allows it, for the sake of one right in it: to have an empty directory as the root of all paths. Runs in the
zygote: standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Iterable

from sandbox import kernel

KILL, SETGID, SETUID, CHROOT = 5, 6, 7, 18  # capabilities
_LAST_CAPABILITY = 63
_CAPABILITY_VERSION = 0x20080522
_NEW_USER_NAMESPACE = 0x10000000
_PLACES = ("/tmp", "/dev/shm", "/var/tmp", "/run")  # where an empty directory can be made


def lower_zygote() -> None:
    """Leaves the zygote the rights to confine its supervisors, and no others."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")  # where memory runs out, a program is killed before the trainer is
    if os.geteuid() != 0:
        kernel.libc.unshare(_NEW_USER_NAMESPACE)  # refused in most containers
    for capability in range(_LAST_CAPABILITY + 1):
        with contextlib.suppress(OSError):  # not known to this kernel, or not ours to drop
            kernel.prctl(kernel.PR_CAPBSET_DROP, capability)
    keep_capabilities((KILL, SETGID, SETUID, CHROOT))
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)


def keep_capabilities(wanted: Iterable[int]) -> None:
    """Drops all others."""
    kept = _permitted() & _mask(wanted)
    sets = ctypes.create_string_buffer(struct.pack("6I", kept, kept, 0, 0, 0, 0))
    kernel.checked(kernel.libc.capset(_header(), sets), "capset")


def may_change_users() -> bool:
    """Tells whether it may change them, and still end a process that has changed."""
    needed = _mask((KILL, SETGID, SETUID))
    return _permitted() & needed == needed


def become(user: int) -> None:
    """Changes the user of a supervisor of root's, which then has no capabilities either."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def empty_directory() -> int | None:
    """Returns a descriptor of a directory that holds nothing and never will, as it has no name any more; None where
    none could be made.
    """
    for place in _PLACES:
        path = f"{place}/sandbox-{os.getpid()}"
        with contextlib.suppress(OSError):
            os.mkdir(path, 0o755)
            try:
                return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            finally:
                os.rmdir(path)
    return None


def enter(directory: int) -> None:
    """Makes it the root of all paths for this process and all it will fork."""
    os.fchdir(directory)
    os.chroot(".")


def _permitted() -> int:
    """Returns the capabilities of this process, as a bit mask of those below number 32."""
    sets = ctypes.create_string_buffer(24)  # effective, permitted, inheritable; then the same of their upper halves
    kernel.checked(kernel.libc.capget(_header(), sets), "capget")
    return int(struct.unpack_from("I", sets, 4)[0])


def _mask(capabilities: Iterable[int]) -> int:
    return sum(1 << capability for capability in capabilities)


def _header() -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(struct.pack("Ii", _CAPABILITY_VERSION, 0))
