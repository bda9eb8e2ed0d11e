"""Two seccomp filters: what a program's supervisor may ask the kernel for, and what its children give up besides.

The first is an allow-list, so that an unknown or future system call is refused. No call on it takes a path: what a
program needs of the library is imported before. It still lets the supervisor fork, wait and use its sockets. The
second, added in each child, refuses exactly that; the kernel applies both. Refusals are errors (EPERM, EACCES for
paths), so that libraries can degrade; another architecture's calls kill.

Two calls of x86-64 the kernel lets past every filter, as they serve its own probes: uretprobe (335), which kills a
caller that is none, and uprobe (336), which fails. Runs in the zygote: standard library only.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Callable, Iterable

from sandbox import kernel
from sandbox.syscalls import AARCH64, X86_64

MACHINES = {"x86_64": (0xC000003E, X86_64), "aarch64": (0xC00000B7, AARCH64)}

Instruction = bytes
ALLOW = 0x7FFF0000
KILL = 0x80000000
_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_NUMBER, _ARCHITECTURE = 0, 4
_X32 = 0x40000000

_THREADS = (0x3D0F00, 0x7D0F00)  # the flags with which glibc and musl start a thread
_FORKS = (0x1200011, 0x11)  # and with which they fork
_WRITE_AND_EXECUTE = 0x6
_FCNTL = (0, 1, 2, 3, 4, 1030)  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5450, 0x5451)  # TCGETS, TIOCGWINSZ, FIONREAD, FIONCLEX, FIOCLEX
_RLIMIT_STACK = 3

_FREE = """
    read write close fstat poll ppoll select pselect6 lseek munmap brk mremap madvise rt_sigaction rt_sigprocmask
    rt_sigreturn rt_sigpending sigaltstack pread64 pwrite64 readv writev preadv pwritev sched_yield
    sched_getaffinity dup dup2 dup3 pause nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time
    times getitimer setitimer alarm close_range getpid getppid gettid getuid getgid geteuid getegid getresuid
    getresgid getpgrp getpgid getsid exit exit_group uname getrlimit getrusage sysinfo futex restart_syscall
    set_robust_list getrandom rseq
"""
_SUPERVISOR = """
    fork wait4 waitid kill sendto recvfrom sendmsg recvmsg prctl seccomp setrlimit pidfd_open pidfd_send_signal
"""
_BY_PATH = """
    open openat stat lstat statx access faccessat faccessat2 readlink readlinkat getcwd getdents64
"""
_AT_EMPTY_PATH = 0x1000


def supervisor_filter(machine: str, *, fstat_by_path: bool) -> bytes:
    """Returns the allow-list.

    `fstat_by_path`: this machine's C library asks for the facts of a descriptor by way of an empty path. The filter
    can't see that the path is empty, so that other paths pass, too.
    """
    architecture, numbers = MACHINES[machine]
    rules = [_unconditional(numbers, (_FREE + _SUPERVISOR).split(), _allow())]
    rules.append(_unconditional(numbers, _BY_PATH.split(), _refuse(errno.EACCES)))
    by_descriptor = _if_equal([_AT_EMPTY_PATH], _allow()) if fstat_by_path else []
    rules.append(_rule(numbers, "newfstatat", [*_argument(3), *by_descriptor, *_refuse(errno.EACCES)]))
    for name in ("mmap", "mprotect"):
        rules.append(
            _rule(numbers, name, [*_argument_and(2, _WRITE_AND_EXECUTE), *_if_equal([6], _refuse()), *_allow()])
        )
    rules.append(_rule(numbers, "clone", [*_argument(0), *_if_equal([*_THREADS, *_FORKS], _allow()), *_refuse()]))
    rules.append(_rule(numbers, "fcntl", [*_argument(1), *_if_equal(_FCNTL, _allow()), *_refuse()]))
    rules.append(_rule(numbers, "ioctl", [*_argument(1), *_if_equal(_IOCTL, _allow()), *_refuse()]))
    rules.append(_rule(numbers, "prlimit64", [*_argument(0), *_if_equal([0], _allow()), *_refuse()]))
    # glibc falls back to clone, whose flags are in a register and not in memory.
    rules.append(_rule(numbers, "clone3", _refuse(errno.ENOSYS)))
    return b"".join([*_prologue(architecture), *(part for rule in rules for part in rule), *_refuse()])


def child_filter(machine: str) -> bytes:
    """Returns what a child gives up, on top of the supervisor's filter."""
    architecture, numbers = MACHINES[machine]
    rules = [_unconditional(numbers, _SUPERVISOR.split(), _refuse())]
    rules.append(_rule(numbers, "clone", [*_argument(0), *_if_equal(_THREADS, _allow()), *_refuse()]))
    # Limits may be read, and the stack's, whose hard limit never was lowered, may be set: deep recursions do.
    unread = [*_high_half(2), *_unless_zero(_refuse()), *_argument(2), *_unless_zero(_refuse()), *_allow()]
    rules.append(_rule(numbers, "prlimit64", [*_argument(1), *_if_equal([_RLIMIT_STACK], _allow()), *unread]))
    return b"".join([*_prologue(architecture), *(part for rule in rules for part in rule), *_allow()])


def installation(program: bytes) -> Callable[[], object]:
    """Applies a filter, when called, to the calling process and all that it will fork. Needs no_new_privs; there is no
    way back."""
    instructions = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(instructions)))
    header.instructions = instructions  # type: ignore[attr-defined]  # lives as long as the address to it
    return kernel.prepared_prctl(kernel.PR_SET_SECCOMP, 2, header)


def _instruction(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> Instruction:
    return struct.pack("HBBI", code, if_true, if_false, operand)


def _allow() -> list[Instruction]:
    return [_instruction(_RETURN, ALLOW)]


def _refuse(error: int = errno.EPERM) -> list[Instruction]:
    return [_instruction(_RETURN, 0x00050000 | error)]


def _prologue(architecture: int) -> list[Instruction]:
    """Kills calls of another architecture (int 0x80) and of x32; leaves the call's number in the accumulator."""
    kill = _instruction(_RETURN, KILL)
    own_architecture = [_instruction(_LOAD, _ARCHITECTURE), _instruction(_EQUAL, architecture, 1, 0), kill]
    return [*own_architecture, _instruction(_LOAD, _NUMBER), _instruction(_AT_LEAST, _X32, 0, 1), kill]


def _unconditional(numbers: dict[str, int], names: Iterable[str], verdict: list[Instruction]) -> list[Instruction]:
    return [part for name in names if name in numbers for part in _if_equal([numbers[name]], verdict)]


def _rule(numbers: dict[str, int], name: str, body: list[Instruction]) -> list[Instruction]:
    """Returns `body`, which ends in a verdict on every path, for one system call."""
    return [_instruction(_EQUAL, numbers[name], 0, len(body)), *body] if name in numbers else []


def _if_equal(values: Iterable[int], verdict: list[Instruction]) -> list[Instruction]:
    return [part for value in values for part in (_instruction(_EQUAL, value, 0, len(verdict)), *verdict)]


def _unless_zero(verdict: list[Instruction]) -> list[Instruction]:
    return [_instruction(_EQUAL, 0, len(verdict), 0), *verdict]


def _argument(index: int) -> list[Instruction]:
    """Returns the lower half of an argument: all of it where the kernel takes an int (little-endian machines)."""
    return [_instruction(_LOAD, 16 + 8 * index)]


def _high_half(index: int) -> list[Instruction]:
    return [_instruction(_LOAD, 20 + 8 * index)]


def _argument_and(index: int, mask: int) -> list[Instruction]:
    return [*_argument(index), _instruction(_AND, mask)]
