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
- files: none can be opened, listed, asked about, written or changed, the standard library included
- traces: a test finds no access times, sizes, descriptors or IPC of another
- limits: CPU time, wall time (also of all tests of a program together), address space, size of each output,
  descriptors, threads; none of them can be lifted
- availability: an honest program next to a hostile one gets its outcome within two seconds
- kernel: an allow-list of about 80 system calls, by number and where needed by argument, on x86-64 and aarch64

Tiers: seccomp with no_new_privs, limits and a clean environment are required. Landlock is used where the kernel has it.
As root, the programs of each slot run as a user of their own, wherever the interpreter is. Files are hidden, sizes
and dates included, with glibc 2.39 and newer, musl, root or user namespaces. The modules that a program's text mentions
are imported before it.

Not covered: sizes and dates of files whose path a program knows, in an unprivileged container with glibc 2.33 to 2.38;
threads that slots of one user take from each other; shares of the CPU; memory of the machine as a whole (slots times
the limit); the system calls 335 and 336, which pass every filter; what timing and caches tell; bugs of the kernel.
docs/sandbox.md has the consequences. Honest programs lose pipes and files; asyncio.run has a loop without sockets.
aarch64's numbers are checked against the kernel's headers and its filters by simulation, but no such machine has run
them. `unsafe=True` keeps the processes and limits and drops all confinement.
"""

from sandbox.canaries import Row
from sandbox.interface import Ending, Limits, Outcome, Program, SandboxFault
from sandbox.pool import Sandbox, probe

__all__ = ["Ending", "Limits", "Outcome", "Program", "Row", "Sandbox", "SandboxFault", "probe"]
