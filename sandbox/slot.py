"""One zygote, seen from the trusted process, which starts it by vfork + exec and never forks itself.

A slot runs one program at a time. Whatever goes wrong on our side of the border is a `SlotLost`: stop the slot, and its
next test starts a fresh zygote.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sandbox import wire
from sandbox.interface import MAX_SOURCE_BYTES, Ending, Limits, Outcome, Program, SandboxFault
from sandbox.outcome import killed_from_outside, outcome

START_SECONDS = 60.0
SPAWN_PAUSES_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.6)
STOP_SECONDS = 2.0
GRACE_SECONDS = 30.0  # beyond the wall limit, before a silent supervisor counts as lost
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
# Imports the zygote's part of this package, without its __init__, and leaves neither a name nor an import path behind.
_BOOTSTRAP = """
import sys
sys.path.remove("")
import types
package = types.ModuleType("sandbox")
package.__path__ = [sys.argv[2]]
sys.modules["sandbox"] = package
from sandbox.zygote import main
for name in [name for name in sys.modules if name.split(".")[0] == "sandbox"]:
    del sys.modules[name]
main()
"""
# Hashes, and so the order of sets, are the same in every run. UTF-8 whatever the machine's locale is.
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONUTF8": "1",
    "PYTHONHASHSEED": "0",
    "OPENBLAS_NUM_THREADS": "1",
}
_CROWDED = (
    "no process could be started for some seconds: raise this user's limit on processes (`ulimit -u`) or the "
    "container's (its pids cgroup), or give the sandbox fewer slots"
)
_FATAL_IN_COMPILER = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGXCPU}


class SlotLost(SandboxFault):
    """The zygote or a supervisor is gone, or could not set up a test."""


class Slot:
    def __init__(self, python: str, options: dict[str, Any]) -> None:
        self._python = python
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._program: socket.socket | None = None
        self._tests_run = 0
        self._unsettled = 0  # programs whose end the zygote has not reported yet
        self.python_version = ""
        self.mechanisms: list[str] = []

    @property
    def pid(self) -> int | None:
        """Returns that of the zygote."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Starts the zygote and waits until it is ready. SandboxFault where this machine can't, SlotLost otherwise."""
        try:
            self._greet(json.loads(await self._receive(await self._launched(), START_SECONDS)))
        except SlotLost as lost:
            self.stop()
            raise SlotLost(
                f"{self._python} did not start as the programs' interpreter, Python 3.10 or newer ({lost})"
            ) from lost
        except BaseException:
            self.stop()
            raise

    async def _launched(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._control = ours
        options = json.dumps(self._options | {"control": theirs.fileno()})
        command = [self._python, "-s", "-S", "-c", _BOOTSTRAP, options, str(Path(__file__).parent)]
        with theirs:
            for pause in SPAWN_PAUSES_SECONDS:
                try:
                    self._process = self._spawn(command, theirs)
                    return ours
                except BlockingIOError:  # no more processes for this user, perhaps for a moment only
                    await asyncio.sleep(pause)
        raise SlotLost(_CROWDED)

    def _greet(self, hello: dict[str, Any]) -> None:
        if hello.get("errno") == errno.EAGAIN:
            raise SlotLost(_CROWDED)
        if "error" in hello:
            raise SandboxFault(
                f"this machine can't confine untrusted programs ({hello['error']}): use one whose kernel and container "
                "allow seccomp filters, or --unsafe-no-sandbox where every program can be trusted"
            )
        self.python_version, self.mechanisms = hello["python"], hello["mechanisms"]

    def _spawn(self, command: list[str], theirs: socket.socket) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                command,
                env=_ENVIRONMENT,
                cwd="/",
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except BlockingIOError:
            raise
        except OSError as error:
            raise SlotLost(str(error.strerror)) from error

    async def _load(self, program: Program, limits: Limits) -> None:
        """Hands the program to the zygote, which forks a supervisor for it."""
        if self._process is None:
            await self.start()
        await self._settle()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._program, self._tests_run = ours, 0
        fields = {name: getattr(limits, name) for name in limits.__slots__}
        call = {name: getattr(program, name) for name in ("entry_point", "arguments", "returns")}
        message = json.dumps(fields | call).encode()
        with theirs, _memfds(1) as (source,):
            _fill(source, program.source.encode("utf-8", "surrogatepass"))
            self._send(self._control, message, [source, theirs.fileno()])
        self._unsettled += 1

    async def test(self, program: Program, data: bytes, limits: Limits) -> Outcome:
        """Runs a program on one input. It is handed over at the first test and stays until `drop`. Raises SlotLost."""
        if _too_long(program.source):
            return _not_compiled(Ending.ERROR, f"SyntaxError: the program is longer than {MAX_SOURCE_BYTES} bytes")
        if self._program is None:
            await self._load(program, limits)
        with _memfds(3 if program.entry_point is None else 4) as files:
            _fill(files[0], data)
            try:
                self._send(self._program, wire.TEST, files)
                reply = await self._receive(self._program, limits.wall_seconds + GRACE_SECONDS)
            except SlotLost:
                return await self._crash_of_the_compiler()
            report = wire.Report.unpack(reply)
            if not report.confined:
                raise SlotLost("a test could not be set up in the sandbox")
            if killed_from_outside(report, limits) and not self._options["unsafe"]:
                raise SlotLost("a test was killed, not by the sandbox: perhaps this machine is short of memory")
            self._tests_run += 1
            stdout, stderr, *result = files[1:]
            return outcome(report, stdout, stderr, result[0] if result else None, limits)

    async def _crash_of_the_compiler(self) -> Outcome:
        """Tells whether it was one.

        Before the first test a supervisor has only compiled: if that ended it, it is the program's doing.
        """
        status = await self._settle()
        code = os.waitstatus_to_exitcode(status) if status is not None else 0
        if code == wire.CROWDED:
            raise SlotLost(_CROWDED)
        if self._tests_run or -code not in _FATAL_IN_COMPILER:
            raise SlotLost("the process that supervises a program's tests ended unexpectedly")
        kind = Ending.CPU_LIMIT if -code == signal.SIGXCPU else Ending.ERROR
        return _not_compiled(kind, "SyntaxError: the compiler crashed on this program")

    def drop(self) -> None:
        """Ends the loaded program and all of its processes, now. The slot can be used again after that."""
        if self._program is not None:
            self._program.close()
            self._program = None
            with contextlib.suppress(SlotLost):  # the next use will find out
                self._send(self._control, wire.KILL)

    async def _settle(self) -> int | None:
        """Waits until no process of an earlier program is left; the wait status of the last one's supervisor."""
        status = None
        while self._unsettled:
            status = _status(await self._receive(self._control, GRACE_SECONDS))
            self._unsettled -= 1
        return status

    def stop(self) -> None:
        """Ends the zygote and, with it, everything below."""
        for connection in (self._program, self._control):
            if connection is not None:
                with contextlib.suppress(OSError):  # also a copy that some fork of this process holds
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()
        self._program = self._control = None
        self._unsettled = 0
        if self._process is not None:
            _end(self._process)
            self._process = None

    def _send(self, connection: socket.socket | None, payload: bytes, descriptors: list[int] | None = None) -> None:
        try:
            assert connection is not None
            wire.send(connection, payload, descriptors or [])
        except OSError as error:
            raise SlotLost(f"the sandbox's helper process is gone ({error})") from error

    async def _receive(self, connection: socket.socket | None, seconds: float) -> bytes:
        try:
            assert connection is not None
            async with asyncio.timeout(seconds):
                packet = await asyncio.get_running_loop().sock_recv(connection, 1 << 16)
        except (OSError, TimeoutError) as error:
            raise SlotLost(f"the sandbox's helper process does not answer ({error})") from error
        if not packet:
            raise SlotLost("the sandbox's helper process is gone")
        return packet


def _too_long(source: str) -> bool:
    return len(source) > MAX_SOURCE_BYTES or len(source.encode("utf-8", "surrogatepass")) > MAX_SOURCE_BYTES


def _not_compiled(ending: Ending, message: str) -> Outcome:
    return Outcome(ending, b"", message.encode() + b"\n", None, 0.0, 0.0)


def _end(zygote: subprocess.Popen[bytes]) -> None:
    """Waits until the process ends, as it does when its connection closes, and kills one that can't."""
    try:
        zygote.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        zygote.kill()
        zygote.wait()


def _status(packet: bytes) -> int:
    if len(packet) != wire.STATUS.size:
        raise SlotLost(f"the sandbox's helper process says {packet[:20]!r} and not how a program's supervisor ended")
    (status,) = wire.STATUS.unpack(packet)
    return int(status)


@contextlib.contextmanager
def _memfds(count: int) -> Iterator[list[int]]:
    files: list[int] = []
    try:
        for _ in range(count):
            files.append(os.memfd_create("file", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
        yield files
    finally:
        for descriptor in files:
            os.close(descriptor)


def _fill(descriptor: int, content: bytes) -> None:
    """Writes a file that the other side can read and nobody can change any more."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
