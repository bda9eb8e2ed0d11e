"""Defines what crosses the sandbox's border: a program and bytes go in, an ending and bytes come out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MAX_SOURCE_BYTES = 1 << 20


class SandboxFault(RuntimeError):
    """The sandbox itself failed (not the program in it): never a pass and never a failure of the program."""


@dataclass(frozen=True, slots=True)
class Limits:
    """CPU time decides; wall time only ends sleepers.

    `cpu_seconds` and `wall_seconds` are for one test. `program_wall_seconds` is wall time that all tests of a program
    share: each test takes its wall time from it, and gives back `wall_seconds / cpu_seconds` for each second of CPU
    time that it used. So work can't exhaust it, not even on a busy machine, and sleep can.

    `memory_bytes` is address space beyond what the interpreter itself takes, and the main thread's stack and other
    threads' count, too. `output_bytes` holds for stdout, stderr and the result, each; a program that reaches it has
    passed it.
    """

    cpu_seconds: float = 6.0
    wall_seconds: float = 24.0
    program_wall_seconds: float = 24.0
    memory_bytes: int = 1 << 30
    output_bytes: int = 16 << 20


@dataclass(frozen=True, slots=True)
class Program:
    """Holds Python source. Without `entry_point` it is run as a script (child.py).

    With it, the source is imported and that function, or that method of its class `Solution`, called; the input has its
    arguments, one per line, as JSON or Python literals. A source of more than MAX_SOURCE_BYTES ends as ERROR without
    being run.

    `arguments` and `returns` name LeetCode's classes of nodes, `ListNode` and `TreeNode`, behind as many `[` as lists
    are around them: these arguments are made of lists, and results become lists. `returns` is "argument" where the
    result is what the call has made of its first argument.
    """

    source: str
    entry_point: str | None = None
    arguments: tuple[str, ...] = ()
    returns: str = ""


class Ending(StrEnum):
    """How a run ended. ERROR is an uncaught exception, a non-zero exit status or a fatal signal."""

    FINISHED = "finished"
    ERROR = "error"
    CPU_LIMIT = "cpu_limit"
    WALL_LIMIT = "wall_limit"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything here was written by an untrusted program: data, to be parsed with suspicion and never unpickled.

    `result` is the called function's return value as JSON (None for scripts and where nothing was returned).
    `stderr` keeps at most its last 16 KiB; the traceback of an uncaught exception is at its end and calls the program
    "solution.py", and after a fatal signal a line of ours names it. `cpu_seconds` and `wall_seconds` are the test's
    own, without the compilation, which all tests of a program share.
    """

    ending: Ending
    stdout: bytes
    stderr: bytes
    result: bytes | None
    cpu_seconds: float
    wall_seconds: float
