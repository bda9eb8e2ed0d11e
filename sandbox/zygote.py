"""The fork server of one slot: a fresh interpreter, warmed up once, that sees no program, no input, no expected output.

For each program it forks a *supervisor*, which confines itself, compiles the source once, and forks one *child* per
test. The supervisor executes nothing of the program; the child gives up forking, signals and sockets before it does.
Runs in the solutions' interpreter: standard library only.
"""

from __future__ import annotations

import _socket
import contextlib
import gc
import importlib
import json
import os
import re
import resource
import select
import signal
import sys
import time
from typing import Any, NoReturn

from sandbox import child, confinement, kernel, landlock, wire
from sandbox.confinement import Confinement
from sandbox.packages import Packages

STACK_BYTES = 1 << 30
CONTROL_FD = 40
BROKEN = 70  # exit status of a process of ours that failed
# What competitive programs import, so that no test has to pay for it. The size of the zygote is paid at every fork, so
# the rest is imported for those programs whose text mentions it.
PRELOADED = """
    bisect collections.abc copy datetime decimal fractions functools gc heapq io itertools json math numbers operator os
    random re statistics string struct sys threading time traceback types typing weakref
"""
MENTIONED = """
    argparse array ast asyncio base64 binascii calendar cmath codecs concurrent.futures contextlib contextvars csv
    dataclasses difflib enum fcntl graphlib hashlib inspect ipaddress locale logging mmap multiprocessing pathlib
    pickle platform pprint queue reprlib resource sched secrets select shutil signal socket _strptime subprocess
    sysconfig tempfile textwrap timeit tokenize unicodedata unittest uuid warnings zlib zoneinfo numpy numpy.fft
    numpy.linalg numpy.polynomial numpy.random sortedcontainers
"""


def main() -> None:
    options = json.loads(sys.argv[1])
    deepen_stack()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    control = _socket.socket(fileno=only_descriptor(options["control"]))
    names = warm_up()
    packages = Packages()
    sys.meta_path.append(packages)
    try:
        shield, mechanisms = shielded(options, packages.directories)
    except OSError as error:
        wire.send(control, json.dumps({"error": str(error)}).encode())
        return
    wire.send(control, json.dumps({"python": sys.version.split()[0], "mechanisms": mechanisms}).encode())
    serve(control, names, shield)


def only_descriptor(number: int) -> int:
    """Moves the connection to where no test's files will be put, nothing is left of it elsewhere, and the numbers of
    those files are taken, so that nothing else gets one of them."""
    if number != CONTROL_FD:
        os.dup2(number, CONTROL_FD)
    os.closerange(3, CONTROL_FD)
    os.closerange(CONTROL_FD + 1, number + 1)
    os.dup2(0, child.RESULT_FD)
    return CONTROL_FD


def deepen_stack() -> None:
    """The room of the main thread's stack is fixed at exec: start again with a larger one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    wanted = STACK_BYTES if hard == resource.RLIM_INFINITY else min(STACK_BYTES, hard)
    if soft == resource.RLIM_INFINITY or soft < wanted:
        resource.setrlimit(resource.RLIMIT_STACK, (wanted, hard))
        os.execv(sys.executable, sys.orig_argv)


def warm_up() -> dict[str, Any]:
    for name in PRELOADED.split():
        importlib.import_module(name)
    names = child.equip()
    gc.collect()
    gc.freeze()
    return names


def import_mentioned(text: bytes) -> None:
    """Only modules from the list, never any that the program chooses; `np.random` counts, too."""
    words = set(re.findall(rb"[^\W_]\w*", text))
    for name in MENTIONED.split():
        if all(part.strip("_").encode() in words for part in name.split(".")):
            with contextlib.suppress(ImportError):  # then the program will be told so
                importlib.import_module(name)


def shielded(options: dict[str, Any], packages: list[str]) -> tuple[Confinement | None, list[str]]:
    """The confinement, tried once, and the names of its mechanisms. OSError where the required part is missing."""
    if options["unsafe"]:
        return None, ["unsafe"]
    user_changed = confinement.lower_zygote(options["user"], [*landlock.stdlib_directories(), *packages])
    shield = confinement.prepared(options["landlock"], packages)
    confinement.attempt(shield)
    found = {f"landlock {landlock.version()}": shield.rules is not None, "seccomp": True, "user": user_changed}
    return shield, [name for name, holds in found.items() if holds]


def serve(control: _socket.socket, names: dict[str, Any], shield: Confinement | None) -> None:
    """One program at a time, until the trusted process hangs up."""
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    own = os.getpid()
    while True:
        payload, descriptors = wire.receive(control)
        if not payload:
            return
        if payload == wire.KILL:  # it crossed the supervisor's own end
            continue
        pid = os.fork()
        if pid == 0:
            try:
                control.close()
                kernel.die_with_parent(own)()
                supervise(json.loads(payload), descriptors, names, shield)
            finally:
                os._exit(BROKEN)
        for descriptor in descriptors:
            os.close(descriptor)
        control.send(wire.STATUS.pack(outlive(pid, control)))


def outlive(pid: int, control: _socket.socket) -> int:
    """Waits for a supervisor, or ends it when told to; afterwards no process of the program is left."""
    pidfd = os.pidfd_open(pid)
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    poller.register(control, select.POLLIN)
    if pidfd not in dict(poller.poll()):
        os.kill(pid, signal.SIGKILL)
    os.close(pidfd)
    status = os.waitpid(pid, 0)[1]
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return status


def supervise(
    limits: dict[str, Any], descriptors: list[int], names: dict[str, Any], shield: Confinement | None
) -> NoReturn:
    """Compiles the program, then runs it once for each test that arrives, until the connection ends.

    Whatever can be done before the fork is done here: in the child every touched page has to be copied.
    """
    source, link = descriptors
    connection = _socket.socket(fileno=link)
    written, setup = os.pipe()
    os.set_blocking(written, False)
    text = os.pread(source, os.fstat(source).st_size, 0)
    os.close(source)
    import_mentioned(text)
    confinement.limit_resources(limits, confinement.address_space())
    if shield:
        shield.confine_supervisor()
    program = child.prepare(text, limits["entry_point"], names)
    budget = WallBudget(limits)
    become_child = confinement.child_steps(shield, setup, 3 if limits["entry_point"] is None else 4)
    gc.freeze()
    while True:
        payload, files = wire.receive(connection)
        if not payload:
            os._exit(0)
        if budget.is_spent:
            connection.send(wire.Report(True, signal.SIGKILL, wire.WALL, 0.0, 0.0, 0).pack())
            for descriptor in files:
                os.close(descriptor)
            continue
        put_in_place(files)
        started = time.monotonic()
        pid = kernel.fork()
        if pid == 0:
            for step in become_child:
                step()
            child.run(program)
        report = watch(pid, started, written, limits["cpu_seconds"], budget)
        budget.charge(report)
        connection.send(report.pack())


def put_in_place(files: list[int]) -> None:
    """As the descriptors from 0 on, which this process has no use for itself."""
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
        """What is left is too little to set up another test."""
        return self._left < self._all / 10

    def left(self, wall_seconds: float, cpu_seconds: float) -> float:
        """After the running test has used this much."""
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
