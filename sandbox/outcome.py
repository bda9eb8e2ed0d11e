"""From what the supervisor saw and what the program wrote to an Outcome."""

from __future__ import annotations

import os
import re
import signal

from sandbox import wire
from sandbox.interface import Ending, Limits, Outcome

STDERR_BYTES = 16 << 10
_MEMORY_ERROR = re.compile(rb"^(\w+\.)*_?(Array)?MemoryError\b", re.MULTILINE)


def outcome(report: wire.Report, stdout: int, stderr: int, result: int | None, limits: Limits) -> Outcome:
    """Reads the files, which nobody can write any more; `result` is None for a script."""
    sizes = [os.fstat(descriptor).st_size for descriptor in (stdout, stderr, result) if descriptor is not None]
    errors = os.pread(stderr, STDERR_BYTES, max(0, sizes[1] - STDERR_BYTES))
    return Outcome(
        ending=ending(report, max(sizes), errors, limits),
        stdout=_content(stdout),
        stderr=errors + death_notice(report),
        result=(_content(result) or None) if result is not None else None,
        cpu_seconds=report.cpu_seconds,
        wall_seconds=report.wall_seconds,
    )


def ending(report: wire.Report, largest: int, errors: bytes, limits: Limits) -> Ending:
    """Returns how it ended; `largest` is the size in bytes of the largest file that the program wrote."""
    code = os.waitstatus_to_exitcode(report.status)
    if report.cpu_seconds > limits.cpu_seconds or report.stopped_for == wire.CPU:
        return Ending.CPU_LIMIT
    if report.stopped_for == wire.WALL:
        return Ending.WALL_LIMIT
    if largest >= limits.output_bytes:
        return Ending.OUTPUT_LIMIT
    if code == 0:
        return Ending.FINISHED
    out_of_memory = code < 0 and report.peak_bytes > limits.memory_bytes // 2
    return Ending.MEMORY_LIMIT if out_of_memory or _ends_in_memory_error(errors) else Ending.ERROR


def _ends_in_memory_error(errors: bytes) -> bool:
    lines = errors.rstrip().rsplit(b"\n", 1)
    return _MEMORY_ERROR.match(lines[-1]) is not None


def killed_from_outside(report: wire.Report, limits: Limits) -> bool:
    """Tells whether it was.

    SIGKILL can come neither from a confined program itself nor, without a reason, from its supervisor. Where the
    program holds much memory, the kernel's choice of it is the program's own fault, though.
    """
    code = os.waitstatus_to_exitcode(report.status)
    within = report.cpu_seconds <= limits.cpu_seconds and report.peak_bytes <= limits.memory_bytes // 2
    return code == -signal.SIGKILL and report.stopped_for == wire.NOTHING and within


def death_notice(report: wire.Report) -> bytes:
    """Describes a fatal signal, which leaves no words of its own; the sandbox's kill needs none."""
    code = os.waitstatus_to_exitcode(report.status)
    if code >= 0 or report.stopped_for:
        return b""
    return f"killed by signal {-code} ({_signal_name(-code)})\n".encode()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "real-time"


def _content(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
