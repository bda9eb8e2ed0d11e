"""Runs the fork server of one slot, a fresh interpreter that never sees a program, an input or an expected output.

For each program it forks a *supervisor* (supervisor.py), and that one *child* per test (child.py). Runs in the
interpreter of the programs: standard library only.
"""

from __future__ import annotations

import _socket
import gc
import json
import os
import resource
import select
import signal
import sys
from typing import Any, NoReturn

from sandbox import child, confinement, imports, kernel, rights, wire
from sandbox.confinement import Confinement
from sandbox.supervisor import supervise

STACK_BYTES = 1 << 30
CONTROL_FD = 40
BROKEN = 70  # exit status of a process of ours that failed


def main() -> None:
    options = json.loads(sys.argv[1])
    deepen_stack()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    control = _socket.socket(fileno=only_descriptor(options["control"]))
    names = warm_up(options["packages"])
    try:
        shield = shielded(options)
    except OSError as error:
        wire.send(control, json.dumps({"error": str(error), "errno": error.errno}).encode())
        return
    mechanisms = shield.mechanisms if shield else ["unsafe"]
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
    """Starts again with a larger stack: the main thread's room is fixed at exec."""
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    wanted = STACK_BYTES if hard == resource.RLIM_INFINITY else min(STACK_BYTES, hard)
    if soft == resource.RLIM_INFINITY or soft < wanted:
        resource.setrlimit(resource.RLIMIT_STACK, (wanted, hard))
        os.execv(sys.executable, sys.orig_argv)


def warm_up(packages: list[str]) -> dict[str, Any]:
    """Imports what every program may need, and returns the names that programs need not import."""
    imports.preload(packages)
    names = child.equip()
    gc.collect()
    gc.freeze()
    return names


def shielded(options: dict[str, Any]) -> Confinement | None:
    """Returns the confinement; OSError where the required part is missing."""
    if options["unsafe"]:
        return None
    rights.lower_zygote()
    return confinement.prepared(options["landlock"], options["user"])


def serve(control: _socket.socket, names: dict[str, Any], shield: Confinement | None) -> None:
    """Serves one program at a time, until the trusted process hangs up."""
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    own = os.getpid()
    while True:
        payload, descriptors = wire.receive(control)
        if not payload:
            return
        if payload == wire.KILL:  # it crossed the supervisor's own end
            continue
        pid = _forked()
        if pid == 0:
            control.close()
            _run_supervisor(json.loads(payload), descriptors, names, shield, own)
        for descriptor in descriptors:
            os.close(descriptor)
        control.send(wire.STATUS.pack(outlive(pid, control) if pid else wire.CROWDED << 8))


def _forked() -> int | None:
    """Returns the child's number; None where no process could be had."""
    try:
        return kernel.patiently(os.fork)
    except BlockingIOError:
        return None


def _run_supervisor(
    limits: dict[str, Any], descriptors: list[int], names: dict[str, Any], shield: Confinement | None, zygote: int
) -> NoReturn:
    status = BROKEN
    try:
        die_with_zygote = kernel.die_with_parent(zygote)
        die_with_zygote()
        supervise(limits, descriptors, names, shield, die_with_zygote)
    except BlockingIOError:
        status = wire.CROWDED
    finally:
        os._exit(status)


def outlive(pid: int, control: _socket.socket) -> int:
    """Waits for a supervisor, or ends it on request; afterwards no process of the program is left."""
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
