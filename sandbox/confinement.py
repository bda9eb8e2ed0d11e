"""What a process of the sandbox gives up, in the order in which it must. Runs in the zygote: standard library only.

zygote      capabilities, the root user, core dumps
supervisor  memory, open files and output beyond the limits; gaining privileges; all files but the standard library;
            all system calls but an allow-list
child       forking, signals, sockets, limits, and reading files where Landlock can't hold it back
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import resource
import struct
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from sandbox import kernel, landlock, seccomp

OPEN_FILES = 64
ALL_FILES = 4096  # beyond every descriptor that could have come from anywhere
_LAST_CAPABILITY = 63
_CAPABILITY_VERSION = 0x20080522


class Confinement(NamedTuple):
    """Prepared once in the zygote, applied in each supervisor and child."""

    rules: int | None  # descriptor of the Landlock ruleset
    supervisor_filter: bytes
    child_filter: bytes

    def confine_supervisor(self) -> None:
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        if self.rules is not None:
            landlock.restrict(self.rules)
            os.close(self.rules)
        seccomp.installation(self.supervisor_filter)()


def child_steps(confinement: Confinement | None, setup: int, files: int) -> list[Callable[[], object]]:
    """What each child of this process has to do before it runs the program: the last but one writes a byte to `setup`,
    which says that all went well and which the program can't forge, as nothing but its files, the first `files`
    descriptors, is open then."""
    confine = [seccomp.installation(confinement.child_filter)] if confinement else []
    say_so, close_all = partial(os.write, setup, b"!"), partial(os.closerange, files, ALL_FILES)
    return [kernel.die_with_parent(os.getpid()), *confine, say_so, close_all]


def prepared(use_landlock: bool, packages: list[str]) -> Confinement:
    """Landlock where the kernel has it and `use_landlock` says so; the filters always. `packages`: directories that
    may be read besides the standard library."""
    rules = _readable_library(packages) if use_landlock and landlock.version() else None
    machine = os.uname().machine
    if machine not in seccomp.MACHINES:
        raise OSError(f"there is no system call filter for {machine}")
    child_filter = seccomp.child_filter(machine, may_open=rules is not None)
    return Confinement(rules, seccomp.supervisor_filter(machine), child_filter)


def _readable_library(packages: list[str]) -> int:
    rules = landlock.ruleset(landlock.version())
    landlock.allow_reading(rules, packages)
    landlock.allow_reading(rules, landlock.stdlib())
    landlock.allow_reading(rules, landlock.shared_libraries())
    landlock.allow_reading(rules, ["/dev/null"])
    landlock.allow_listing(rules, landlock.stdlib_directories())
    return rules


def attempt(confinement: Confinement) -> None:
    """Applies it in a process of no consequence; OSError where this machine refuses."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            confinement.confine_supervisor()
            seccomp.installation(confinement.child_filter)()
        except BaseException as error:
            os.write(writing, str(error).encode())
        os._exit(0)
    os.close(writing)
    _pid, status = os.waitpid(pid, 0)
    complaint = os.read(reading, 1000).decode()
    os.close(reading)
    if complaint or status:
        raise OSError(complaint or f"wait status {status}")


def lower_zygote(user: int, needed: list[str]) -> bool:
    """Drops the rights this process was started with; True if it now runs as `user`, who owns nothing.

    It stays with its own user where that is not root, or where `user` could not list the `needed` directories.
    """
    changed = os.geteuid() == 0 and _change_user(user, needed)
    _drop_capabilities()
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")  # where memory runs out, a program goes before the trainer does
    return changed


def _change_user(user: int, needed: list[str]) -> bool:
    group, groups = os.getegid(), os.getgroups()
    if _can_list(user, needed):
        with contextlib.suppress(OSError):  # a container may not know that user
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            return True
    os.setegid(group)
    os.setgroups(groups)
    return False


def _can_list(user: int, directories: list[str]) -> bool:
    """Tried as that user and group, with no other group; the effective user is root again afterwards."""
    try:
        os.setgroups([])
        os.setegid(user)
        os.seteuid(user)
        return all(map(os.listdir, directories))
    except OSError:
        return False
    finally:
        os.seteuid(0)


def _drop_capabilities() -> None:
    for capability in range(_LAST_CAPABILITY + 1):
        with contextlib.suppress(OSError):  # not known to this kernel, or not ours to drop
            kernel.prctl(kernel.PR_CAPBSET_DROP, capability)
    header = ctypes.create_string_buffer(struct.pack("Ii", _CAPABILITY_VERSION, 0))
    if kernel.libc.capset(header, ctypes.create_string_buffer(24)):
        raise OSError(ctypes.get_errno(), "capabilities could not be dropped")


def limit_resources(limits: dict[str, Any], already_mapped: int) -> None:
    """For the supervisor and its children. `already_mapped`: bytes of address space that are the interpreter's own."""
    memory = already_mapped + limits["memory_bytes"]
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits["output_bytes"], limits["output_bytes"]))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    seconds = math.ceil(limits["cpu_seconds"]) + 1  # a second line behind the supervisor's watch, which is finer
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))


def address_space() -> int:
    """Bytes that are mapped now."""
    with open("/proc/self/statm") as statm:
        pages = int(statm.read().split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE")
