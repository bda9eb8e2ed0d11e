"""What is tried from inside before anybody relies on the sandbox: attacks must be refused, honest programs must run."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import NamedTuple

from sandbox.interface import Ending, Limits, Outcome, Program

Run = Callable[[Program, bytes, Limits], Awaitable[Outcome]]
LIMITS = Limits(cpu_seconds=5.0, wall_seconds=30.0, memory_bytes=1 << 28, output_bytes=1 << 20)
_SOON_BUSY = replace(LIMITS, cpu_seconds=0.05)
_SOON_LATE = replace(LIMITS, wall_seconds=0.3)


class Row(NamedTuple):
    """One promise: does it hold here? Without one that is not `essential` the sandbox still works."""

    name: str
    held: bool
    detail: str = ""
    essential: bool = True


# Each is the body of a function; only an OSError counts as refused. `FILE` is one that the trusted process can read.
_ATTEMPTS = {
    "read a file": "open(FILE).read()",
    "list a directory": "os.listdir(os.path.dirname(FILE))",
    "write a file": "open('/tmp/canary', 'w')",
    "delete a file": "os.unlink('/tmp/canary')",
    "read the parent's memory": "os.open(f'/proc/{os.getppid()}/mem', os.O_RDONLY)",
    "read the first process's environment": "os.open('/proc/1/environ', os.O_RDONLY)",
    "signal the parent": "os.kill(os.getppid(), 0)",
    "signal everyone": "os.kill(-1, 0)",
    "fork": "os.fork() or os._exit(0)",
    "start a program": "os.execv('/no/such/program', ['program'])",
    "open an internet socket": "socket.socket(socket.AF_INET)",
    "open a local socket": "socket.socket(socket.AF_UNIX)",
    "make a pipe": "os.pipe()",
    "make an anonymous file": "os.memfd_create('canary')",
    "change the input": "os.write(0, b'x')",
    "enter a new namespace": "call(NUMBERS['unshare'], 0x10000000)",
    "trace a process": "call(NUMBERS['ptrace'], 16, os.getppid(), 0, 0)",
    "use io_uring": "call(425, 8, ctypes.create_string_buffer(120))",
    "use another user's rights": "call(NUMBERS['setuid'], 0)",
    "load a kernel filter": "call(NUMBERS['bpf'], 0, 0, 0)",
    "raise the memory limit": "call(NUMBERS['prlimit64'], 0, 9, struct.pack('QQ', 2**63, 2**63), 0)",
}

_WANTED = """
import ctypes, json, os, platform, threading, time
path, facts = json.loads(input()).encode(), ctypes.create_string_buffer(256)
number = 262 if platform.machine() == "x86_64" else 79  # newfstatat
print(ctypes.CDLL(None).syscall(number, -100, path, facts, 0x1000) != 0)
threading.stack_size(1 << 16)
try:
    for started in range(300):
        threading.Thread(target=time.sleep, args=(0.5,), daemon=True).start()
except RuntimeError:
    pass
print(0 < started < 200)
"""

_PROGRAM = """
import ctypes, errno, json, os, platform, socket, struct, sys
FILE, ATTEMPTS = json.loads(input())
X86 = platform.machine() == "x86_64"
NAMES = ["unshare", "ptrace", "setuid", "bpf", "prlimit64"]
NUMBERS = dict(zip(NAMES, [272, 101, 105, 321, 302] if X86 else [97, 117, 146, 280, 261]))
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    if libc.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")
def outcome(body):
    try:
        exec(body)
    except OSError as error:
        return error.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS), errno.errorcode.get(error.errno, "")
    except Exception as error:
        return False, repr(error)
    return False, "it succeeded"
ours = {"PATH", "LANG", "LC_CTYPE", "PYTHONUTF8", "PYTHONHASHSEED", "OPENBLAS_NUM_THREADS"}
clean = ["see the environment", set(os.environ) <= ours, ""]
print(json.dumps([*([name, *outcome(body)] for name, body in ATTEMPTS.items()), clean]))
"""


async def rows(run: Run) -> list[Row]:
    """Runs them all; about ten short tests."""
    return [*await _honest(run), *await _refused(run), *await _limited(run), *await _wanted(run)]


async def _honest(run: Run) -> list[Row]:
    script = await run(Program("import sys\nprint(sum(map(int, sys.stdin.read().split())))"), b"1 2\n3", LIMITS)
    function = await run(
        Program("class Solution:\n    def add(self, a, b):\n        return a + b", "add"), b"1\n2", LIMITS
    )
    return [
        Row("an honest program runs", (script.ending, script.stdout) == (Ending.FINISHED, b"6\n"), _explained(script)),
        Row(
            "an honest function answers",
            (function.ending, function.result) == (Ending.FINISHED, b"3"),
            _explained(function),
        ),
    ]


async def _refused(run: Run) -> list[Row]:
    answer = await run(Program(_PROGRAM), json.dumps([__file__, _ATTEMPTS]).encode(), LIMITS)
    try:
        return [Row(f"refused: {name}", held is True, detail) for name, held, detail in json.loads(answer.stdout)]
    except ValueError:
        return [Row("refused: everything that was tried", False, _explained(answer))]


async def _limited(run: Run) -> list[Row]:
    attempts = [
        ("CPU time", "while True: pass", Ending.CPU_LIMIT, _SOON_BUSY),
        ("wall time", "import time\ntime.sleep(60)", Ending.WALL_LIMIT, _SOON_LATE),
        ("memory", "bytearray(1 << 29)", Ending.MEMORY_LIMIT, LIMITS),
        ("output", "while True: print('x' * 1000)", Ending.OUTPUT_LIMIT, LIMITS),
    ]
    found = [(name, await run(Program(source), b"", limits), ending) for name, source, ending, limits in attempts]
    return [Row(f"limited: {name}", answer.ending == ending, _explained(answer)) for name, answer, ending in found]


async def _wanted(run: Run) -> list[Row]:
    """Returns what some machines can't have: see "Not covered" in the package's docstring."""
    answer = await run(Program(_WANTED), json.dumps(os.path.abspath(__file__)).encode(), LIMITS)
    lines = answer.stdout.split()
    hidden, bounded = lines[:1] == [b"True"], lines[1:] == [b"True"]
    sizes = "names, sizes and dates of files that this user can reach are visible to programs that know the path"
    many = "threads are bounded by memory only: use a container with CAP_SETUID, or with a limit on processes"
    return [
        Row("hidden: files", hidden, "" if hidden else sizes, essential=False),
        Row("limited: threads", bounded, "" if bounded else many, essential=False),
    ]


def _explained(answer: Outcome) -> str:
    last_words = answer.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
    return f"{answer.ending}: {last_words}" if answer.ending is Ending.ERROR else answer.ending
