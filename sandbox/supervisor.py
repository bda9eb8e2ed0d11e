"""One program: compiled once, then run once for each test that arrives, each time in a child of its own.

The supervisor executes nothing of the program. It gives up files, users and most system calls before it reads a line;
the child gives up forking, signals and sockets, too. Runs in the zygote: standard library only.
"""

from __future__ import annotations

import _socket
import gc
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Any, NoReturn

from sandbox import child, confinement, imports, kernel, threads, wire
from sandbox.confinement import Confinement


def supervise(
    limits: dict[str, Any],
    descriptors: list[int],
    names: dict[str, Any],
    shield: Confinement | None,
    die_with_zygote: Callable[[], None],
) -> NoReturn:
    """Runs tests until the connection ends. `limits` also say which function is called.

    Whatever can be done before the fork is done here: in the child every touched page has to be copied.
    """
    source, link = descriptors
    connection = _socket.socket(fileno=link)
    written, setup = os.pipe()
    os.set_blocking(written, False)
    text = os.pread(source, os.fstat(source).st_size, 0)
    os.close(source)
    imports.import_mentioned(text)
    already_mapped = confinement.address_space()
    if shield:
        shield.lower_supervisor()
        die_with_zygote()  # a change of user made the kernel drop that
    most_threads = threads.limit()
    confinement.limit_resources(limits, already_mapped)
    if shield:
        shield.confine_supervisor()
    gc.freeze()
    call = child.Call(limits["entry_point"], limits["arguments"], limits["returns"]) if limits["entry_point"] else None
    program = child.prepare(text, call, names)
    files = 3 if limits["entry_point"] is None else 4
    become_child = confinement.child_steps(shield, setup, files, most_threads)
    if not program.has_finalizers:  # else the collector must find the program's module in the end
        gc.freeze()
    budget = WallBudget(limits)
    while True:
        connection.send(_tested(_next_test(connection), program, become_child, written, limits, budget).pack())


def _next_test(connection: _socket.socket) -> list[int]:
    payload, files = wire.receive(connection)
    if not payload:
        os._exit(0)
    return files


def _tested(
    files: list[int],
    program: child.Prepared,
    become_child: list[Callable[[], object]],
    written: int,
    limits: dict[str, Any],
    budget: WallBudget,
) -> wire.Report:
    put_in_place(files)
    if budget.is_spent:
        return wire.Report(True, signal.SIGKILL, wire.WALL, 0.0, 0.0, 0)
    started = time.monotonic()
    pid = kernel.patiently(kernel.fork)
    if pid == 0:
        for step in become_child:
            step()
        child.run(program)
    report = watch(pid, started, written, limits["cpu_seconds"], budget)
    budget.charge(report)
    return report


def put_in_place(files: list[int]) -> None:
    """Puts them in place as the descriptors from 0 on, which this process has no use for itself."""
    for target, descriptor in enumerate(files):
        os.dup2(descriptor, target)
        os.close(descriptor)


class WallBudget:
    """The wall time that a test has left, and that all tests of the program have left together (see Limits)."""

    def __init__(self, limits: dict[str, Any]) -> None:
        self._one_test: float = limits["wall_seconds"]
        self._per_cpu_second: float = limits["wall_seconds"] / limits["cpu_seconds"]
        self._all = float(limits["program_wall_seconds"])
        self._left = self._all

    @property
    def is_spent(self) -> bool:
        """Tells whether what is left is too little to set up another test."""
        return self._left < self._all / 10

    def left(self, wall_seconds: float, cpu_seconds: float) -> float:
        """Returns what is left after the running test has used this much."""
        return min(self._one_test - wall_seconds, self._left_together(wall_seconds, cpu_seconds))

    def charge(self, report: wire.Report) -> None:
        self._left = min(self._all, self._left_together(report.wall_seconds, report.cpu_seconds))

    def _left_together(self, wall_seconds: float, cpu_seconds: float) -> float:
        return self._left - wall_seconds + self._per_cpu_second * cpu_seconds


def watch(pid: int, started: float, written: int, cpu_seconds: float, budget: WallBudget) -> wire.Report:
    """Waits for the child; ends it when its CPU time or its wall time is used up."""
    stopped_for = wire.NOTHING
    cpu_clock = (~pid << 3) | 2  # the kernel's name for the CPU clock of a process
    pidfd = os.pidfd_open(pid)
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    while not stopped_for:
        cpu_used = time.clock_gettime(cpu_clock)
        cpu_left = cpu_seconds - cpu_used
        wall_left = budget.left(time.monotonic() - started, cpu_used)
        if cpu_left <= 0 or wall_left <= 0:
            stopped_for = wire.CPU if cpu_left <= 0 else wire.WALL
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        elif poller.poll(1000 * max(0.01, min(cpu_left, wall_left))):
            break
    os.close(pidfd)
    _pid, status, usage = os.wait4(pid, 0)
    try:
        confined = bool(os.read(written, 1))
    except BlockingIOError:
        confined = False
    cpu = usage.ru_utime + usage.ru_stime
    return wire.Report(confined, status, stopped_for, cpu, time.monotonic() - started, usage.ru_maxrss * 1024)
