"""Promise: other processes are neither signalled nor looked into nor changed."""

PROGRAMS = {
    "signal the victim": "for number in (0, 9, 15, 19):\n    refused(os.kill, world['victim'], number)",
    "signal the trusted process": "for number in (0, 9, 10):\n    refused(os.kill, world['parent'], number)",
    "signal the supervisor": "refused(os.kill, os.getppid(), 9)",
    "signal everyone": "refused(os.kill, -1, 9)",
    "signal the own group": "refused(os.kill, 0, 9)",
    "signal the supervisor's group": "refused(os.killpg, os.getpgid(os.getppid()), 9)",
    "signal the first process": "refused(os.kill, 1, 0)",
    "tkill": "refused(call, 200, 130, world['victim'], 9)",
    "tgkill": "refused(call, 234, 131, world['victim'], world['victim'], 9)",
    "rt_sigqueueinfo": "refused(call, 129, 138, world['victim'], 9, ctypes.create_string_buffer(128))",
    "pidfd_open": "refused(os.pidfd_open, world['victim'])",
    "pidfd_getfd": "refused(call, 438, 438, 4, 0, 0)",
    "pidfd_send_signal": "refused(call, 424, 424, 0, 9, None, 0)",
    "ptrace attach": "refused(call, 101, 117, 16, world['victim'], 0, 0)",
    "ptrace seize": "refused(call, 101, 117, 0x4206, os.getppid(), 0, 0)",
    "be traced": "refused(call, 101, 117, 0, 0, 0, 0)",
    "read another's memory": """
for pid in (world['victim'], world['parent'], os.getppid()):
    refused(call, 310, 270, pid, ctypes.create_string_buffer(16), 1, ctypes.create_string_buffer(16), 1, 0)
""",
    "write another's memory": """
for pid in (world['victim'], world['parent'], os.getppid()):
    refused(call, 311, 271, pid, ctypes.create_string_buffer(16), 1, ctypes.create_string_buffer(16), 1, 0)
""",
    "process_madvise": "refused(call, 440, 440, 4, ctypes.create_string_buffer(16), 1, 20, 0)",
    "memory through /proc": """
for pid in (world['victim'], world['parent'], os.getppid(), "self", "thread-self", 1):
    refused(os.open, f"/proc/{pid}/mem", os.O_RDONLY)
    refused(os.open, f"/proc/{pid}/mem", os.O_RDWR)
""",
    "environment through /proc": """
for pid in (world['victim'], world['parent'], os.getppid(), "self", 1):
    for name in ("environ", "cmdline", "maps", "status", "auxv", "fdinfo/0"):
        refused(os.open, f"/proc/{pid}/{name}", os.O_RDONLY)
""",
    "descriptors through /proc": """
for pid in (world['victim'], world['parent'], os.getppid()):
    refused(os.listdir, f"/proc/{pid}/fd")
    refused(os.open, f"/proc/{pid}/fd/0", os.O_RDONLY)
""",
    "root and cwd through /proc": """
for pid in (world['parent'], os.getppid(), "self"):
    refused(os.open, f"/proc/{pid}/root/etc/passwd", os.O_RDONLY)
    refused(os.listdir, f"/proc/{pid}/cwd")
""",
    "another's limits": "refused(call, 302, 261, world['victim'], 7, struct.pack('QQ', 3, 3), None)",
    "the supervisor's limits": "refused(call, 302, 261, os.getppid(), 9, struct.pack('QQ', 3, 3), None)",
    "another's priority": "refused(os.setpriority, os.PRIO_PROCESS, world['victim'], 19)",
    "another's scheduler": "refused(os.sched_setaffinity, world['victim'], {0})",
    "signals by file owner": """
import fcntl
refused(fcntl.fcntl, 0, fcntl.F_SETOWN, world['parent'])
""",
    "kcmp": "refused(call, 312, 272, os.getpid(), os.getppid(), 0, 0, 0)",
    "the terminal": "refused(call, 16, 29, 0, 0x5412, b'x')",
}
