"""What a process of the sandbox gives up, in the order in which it must. Runs in the zygote: standard library only.

zygote      capabilities but those for the next step, core dumps
supervisor  the view of any file, root's user, the last capabilities, gaining privileges, all system calls but an
            allow-list without paths; memory, open files and output beyond the limits
child       forking, signals, sockets, limits, and threads beyond a number
"""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from sandbox import kernel, landlock, rights, seccomp

OPEN_FILES = 64
ALL_FILES = 4096  # beyond every descriptor that could have come from anywhere


class Confinement(NamedTuple):
    """Prepared once in the zygote, applied in each supervisor and child."""

    root: int | None  # descriptor of an empty directory
    user: int | None  # one who owns nothing
    rules: int | None  # descriptor of the Landlock ruleset
    supervisor_filter: bytes
    child_filter: bytes
    hides_files: bool  # not even stat shows one

    @property
    def mechanisms(self) -> list[str]:
        """Returns their names, for the record."""
        found = {
            f"landlock {landlock.version()}": self.rules is not None,
            "seccomp": True,
            "user": self.user is not None,
            "hidden files": self.hides_files,
        }
        return [name for name, holds in found.items() if holds]

    def lower_supervisor(self) -> None:
        """Gives up files, the user and the last capabilities."""
        if self.root is not None:
            rights.enter(self.root)
            os.close(self.root)
        if self.user is not None:
            rights.become(self.user)
        rights.keep_capabilities(())
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)

    def confine_supervisor(self) -> None:
        """Gives up everything else that a supervisor does not need."""
        no_new_privileges()
        if self.rules is not None:
            landlock.restrict(self.rules)
            os.close(self.rules)
        seccomp.installation(self.supervisor_filter)()


def child_steps(
    confinement: Confinement | None, setup: int, files: int, threads: int | None
) -> list[Callable[[], object]]:
    """Returns what each child of this process has to do before it runs the program: the last but one writes a byte to
    `setup`, which says that all went well and which the program can't forge, as nothing but its files, the first
    `files` descriptors, is open then.
    """
    bound = [partial(resource.setrlimit, resource.RLIMIT_NPROC, (threads, threads))] if threads else []
    confine = [seccomp.installation(confinement.child_filter)] if confinement else []
    say_so, close_all = partial(os.write, setup, b"!"), partial(os.closerange, files, ALL_FILES)
    return [kernel.die_with_parent(os.getpid()), *bound, *confine, say_so, close_all]


def prepared(use_landlock: bool, user: int) -> Confinement:
    """Returns all that this machine has, found out by trying; OSError where the required part is missing."""
    machine = os.uname().machine
    if machine not in seccomp.MACHINES:
        raise OSError(f"there is no system call filter for {machine}")
    directory = rights.empty_directory()
    root = directory if directory is not None and _works(partial(rights.enter, directory)) else None
    narrow = seccomp.supervisor_filter(machine, fstat_by_path=False)
    narrow_works = _works(no_new_privileges, seccomp.installation(narrow), partial(os.fstat, 0))
    confinement = Confinement(
        root=root,
        user=user if rights.may_change_users() and _works(partial(rights.become, user)) else None,
        rules=landlock.ruleset(landlock.version()) if use_landlock and landlock.version() else None,
        supervisor_filter=narrow if narrow_works else seccomp.supervisor_filter(machine, fstat_by_path=True),
        child_filter=seccomp.child_filter(machine),
        hides_files=narrow_works or root is not None,
    )
    steps = (confinement.lower_supervisor, confinement.confine_supervisor)
    attempt(*steps, seccomp.installation(confinement.child_filter), partial(os.fstat, 0))
    return confinement


def no_new_privileges() -> None:
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)


def _works(*steps: Callable[[], object]) -> bool:
    try:
        attempt(*steps)
    except BlockingIOError:  # no process to try it in
        raise
    except OSError:
        return False
    return True


def attempt(*steps: Callable[[], object]) -> None:
    """Takes them in a process of no consequence; OSError where this machine refuses one."""
    source, target = os.pipe()
    pid = kernel.patiently(os.fork)
    if pid == 0:
        try:
            for step in steps:
                step()
        except BaseException as error:
            os.write(target, str(error).encode())
        os._exit(0)
    os.close(target)
    _pid, status = os.waitpid(pid, 0)
    complaint = os.read(source, 1000).decode()
    os.close(source)
    if complaint or status:
        raise OSError(complaint or f"wait status {status}")


def limit_resources(limits: dict[str, Any], already_mapped: int) -> None:
    """Limits the supervisor and its children.

    `already_mapped`: bytes of address space that are the interpreter's own.
    """
    memory = already_mapped + limits["memory_bytes"]
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits["output_bytes"], limits["output_bytes"]))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    seconds = math.ceil(limits["cpu_seconds"]) + 1  # a second line behind the supervisor's watch, which is finer
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))


def address_space() -> int:
    """Returns the bytes that are mapped now."""
    with open("/proc/self/statm") as statm:
        pages = int(statm.read().split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE")
