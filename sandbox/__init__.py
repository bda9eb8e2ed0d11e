"""Runs an untrusted program under limits. Knows nothing of problems, of tests or of verdicts.

    async with Sandbox() as box:
        async for outcome in box.run(Program("print(int(input()) + 1)"), [b"1", b"2"], Limits()):
            ...

Only a program and its input go in; only an ending, bytes and numbers come out, and nothing of that is trusted or
unpickled. Each slot has a zygote: a small fresh process, so that the caller, however large, never forks. The zygote
forks one supervisor per program, which compiles it, and that forks one child per input. It needs no root, no package
and no namespaces; it starts by trying to break out of itself, and refuses to work where that succeeds.

Covered, each by hostile programs in tests/attacks, as root, as a user, in a container's confines, and without Landlock:

- integrity: exit codes, forged results, frames, the garbage collector and earlier tests help nobody; expected outputs
  never come near
- processes: no fork, no exec, no daemon, only threads; nothing outlives a test, not even its zygote's death
- other processes: no signal, no ptrace, no memory, no /proc, no limits or priorities of theirs
- network and channels: no sockets, pipes, shared memory, queues or keyrings
- files: only the standard library, numpy and sortedcontainers can be read; nothing can be written, created or changed
- limits: CPU time, wall time, address space, size of each output, descriptors; none of them can be lifted
- kernel: an allow-list of about a hundred system calls, by number and where needed by argument, on x86-64 and aarch64

Tiers: seccomp with no_new_privs, limits and a clean environment are required. Landlock is used where the kernel has it;
without it children can't open any file, so that /dev/stdin and modules outside the lists in zygote.py are missing. As
root, each slot runs as a user of its own where that user can read the interpreter.

Not covered: bugs of the kernel; what timing and caches tell; names, sizes and dates of files, which stat shows; memory
of the machine as a whole (slots times the limit). Honest programs lose pipes and epoll, and with them asyncio.run.
aarch64's numbers are checked against the kernel's headers and its filters by simulation, but no such machine has run
them. `unsafe=True` keeps the processes and limits and drops all confinement.
"""

from sandbox.canaries import Row
from sandbox.interface import Ending, Limits, Outcome, Program, SandboxFault
from sandbox.pool import Sandbox
from sandbox.probe import probe

__all__ = ["Ending", "Limits", "Outcome", "Program", "Row", "Sandbox", "SandboxFault", "probe"]
