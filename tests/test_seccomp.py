"""The filters for both machines, on a small interpreter of the kernel's filter language; the tables against headers."""

from __future__ import annotations

import errno
import re
import struct
from pathlib import Path

import pytest

from sandbox import seccomp
from sandbox.syscalls import AARCH64, X86_64

ALLOWED = "allowed"
KILLED = "killed"
TABLES = {"x86_64": X86_64, "aarch64": AARCH64}
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
HEADERS = {
    "x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
    "aarch64": "/usr/include/asm-generic/unistd.h",
}
machines = pytest.mark.parametrize("machine", ["x86_64", "aarch64"])


def decide(program: bytes, architecture: int, number: int, *arguments: int) -> str | int:
    """ALLOWED, KILLED or the error number with which the kernel would answer."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    code = [struct.unpack_from("HBBI", program, 8 * index) for index in range(len(program) // 8)]
    accumulator, position = 0, 0
    while True:
        operation, if_true, if_false, operand = code[position]
        position += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, operand)
        elif operation == 0x54:
            accumulator &= operand
        elif operation in (0x15, 0x35):
            holds = accumulator == operand if operation == 0x15 else accumulator >= operand
            position += if_true if holds else if_false
        else:
            assert operation == 0x06
            error: int = operand & 0xFFFF
            return {0x7FFF0000: ALLOWED, 0x80000000: KILLED}.get(operand, error)


def child(machine: str, name: str, *arguments: int, fstat_by_path: bool = True) -> str | int:
    """The decision of both filters together, as the kernel takes it: the stricter one wins."""
    filters = [seccomp.supervisor_filter(machine, fstat_by_path=fstat_by_path), seccomp.child_filter(machine)]
    decisions = [decide(one, ARCHITECTURES[machine], TABLES[machine][name], *arguments) for one in filters]
    return next((decision for decision in decisions if decision != ALLOWED), ALLOWED)


def supervisor(machine: str, name: str, *arguments: int) -> str | int:
    filters = seccomp.supervisor_filter(machine, fstat_by_path=True)
    return decide(filters, ARCHITECTURES[machine], TABLES[machine][name], *arguments)


@machines
def test_unknown_calls_are_refused(machine: str) -> None:
    filters = seccomp.supervisor_filter(machine, fstat_by_path=True)
    known = set(TABLES[machine].values())
    decisions = {decide(filters, ARCHITECTURES[machine], number) for number in range(1000) if number not in known}
    assert decisions == {errno.EPERM}


@machines
def test_other_architectures_are_killed(machine: str) -> None:
    for architecture in (0x40000003, 0x40000028, *set(ARCHITECTURES.values()) - {ARCHITECTURES[machine]}):
        assert decide(seccomp.supervisor_filter(machine, fstat_by_path=True), architecture, 0) == KILLED
    filters = seccomp.supervisor_filter(machine, fstat_by_path=True)
    assert decide(filters, ARCHITECTURES[machine], 0x40000000 | 39) == KILLED


@machines
def test_supervisor_may_fork_and_its_children_may_not(machine: str) -> None:
    fork, thread = 0x1200011, 0x3D0F00
    assert supervisor(machine, "clone", fork) == supervisor(machine, "clone", thread) == ALLOWED
    assert child(machine, "clone", fork) == child(machine, "clone", 0x11) == errno.EPERM
    assert child(machine, "clone", thread) == child(machine, "clone", 0x7D0F00) == ALLOWED
    assert child(machine, "clone", thread | 0x10000000) == errno.EPERM
    assert child(machine, "clone3") == errno.ENOSYS


@machines
@pytest.mark.parametrize("name", ["kill", "wait4", "sendmsg", "recvmsg", "prctl", "seccomp", "setrlimit", "pidfd_open"])
def test_what_only_the_supervisor_may(machine: str, name: str) -> None:
    assert supervisor(machine, name) == ALLOWED
    assert child(machine, name) == errno.EPERM


@machines
@pytest.mark.parametrize(
    "name", ["read", "write", "mremap", "futex", "exit_group", "clock_gettime", "getrandom", "fstat"]
)
def test_what_every_program_needs(machine: str, name: str) -> None:
    assert child(machine, name) == ALLOWED


@machines
def test_no_call_names_a_file(machine: str) -> None:
    calls = {"open", "openat", "stat", "lstat", "statx", "access", "faccessat", "faccessat2", "readlink", "readlinkat"}
    for name in calls & set(TABLES[machine]):
        assert child(machine, name) == supervisor(machine, name) == errno.EACCES


@machines
def test_facts_of_descriptors_only(machine: str) -> None:
    at_empty_path, no_follow = 0x1000, 0x100
    assert child(machine, "newfstatat", 0, 0, 0, at_empty_path) == ALLOWED
    for flags in (0, no_follow, at_empty_path | no_follow):
        assert child(machine, "newfstatat", 0, 0, 0, flags) == errno.EACCES
    assert child(machine, "newfstatat", 0, 0, 0, at_empty_path, fstat_by_path=False) == errno.EACCES


@machines
def test_limits_are_read_only_but_for_the_stack(machine: str) -> None:
    stack, memory, pointer = 3, 9, 0x7FFF00000000
    assert child(machine, "prlimit64", 0, memory, 0, pointer) == ALLOWED
    assert child(machine, "prlimit64", 0, stack, pointer, 0) == ALLOWED
    for new in (pointer, 0x1000, 1 << 32):
        assert child(machine, "prlimit64", 0, memory, new, 0) == errno.EPERM
    assert child(machine, "prlimit64", 1, stack, 0, pointer) == errno.EPERM


@machines
def test_memory_is_not_writable_and_executable(machine: str) -> None:
    for name in ("mmap", "mprotect"):
        assert child(machine, name, 0, 4096, 7) == errno.EPERM
        assert child(machine, name, 0, 4096, 3) == child(machine, name, 0, 4096, 5) == ALLOWED


@machines
def test_a_filter_fits_into_the_kernel(machine: str) -> None:
    for program in (seccomp.supervisor_filter(machine, fstat_by_path=True), seccomp.child_filter(machine)):
        assert len(program) // 8 < 4096


@machines
def test_table_agrees_with_the_kernel_headers(machine: str) -> None:
    header = Path(HEADERS[machine])
    if not header.exists():
        pytest.skip(f"no Linux headers: {header} is not there")
    defined = re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text(), re.MULTILINE)
    numbers = {name: int(number) for name, number in defined}
    numbers.setdefault("newfstatat", numbers.get("fstatat", -1))
    assert {name: numbers.get(name) for name in TABLES[machine]} == TABLES[machine]
