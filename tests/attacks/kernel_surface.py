"""Promise: of the kernel, only what an ordinary program needs can be reached."""

_BY_NUMBER = {  # name: x86-64, aarch64, arguments
    "io_uring_setup": "425, 425, 8, ctypes.create_string_buffer(120)",
    "io_uring_enter": "426, 426, 0, 0, 0, 0, None, 0",
    "io_uring_register": "427, 427, 0, 0, None, 0",
    "bpf": "321, 280, 0, ctypes.create_string_buffer(120), 120",
    "userfaultfd": "323, 282, 0",
    "perf_event_open": "298, 241, ctypes.create_string_buffer(120), 0, -1, -1, 0",
    "unshare": "272, 97, 0x10000000",
    "setns": "308, 268, 0, 0",
    "mount": "165, 40, b'none', b'/tmp', b'tmpfs', 0, None",
    "umount": "166, 39, b'/tmp', 0",
    "fsopen": "430, 430, b'tmpfs', 0",
    "open_tree": "428, 428, -100, b'/', 1",
    "move_mount": "429, 429, -100, b'/', -100, b'/', 0",
    "pivot_root": "155, 41, b'/', b'/'",
    "chroot": "161, 51, b'/tmp'",
    "personality": "135, 92, 0x40000",
    "seccomp": "317, 277, 1, 0, None",
    "prctl": "157, 167, 4, 1, 0, 0, 0",
    "prctl: new filter": "157, 167, 22, 2, 0, 0, 0",
    "landlock": "444, 444, None, 0, 1",
    "capset": "126, 91, ctypes.create_string_buffer(8), ctypes.create_string_buffer(24)",
    "setuid": "105, 146, 0",
    "setresgid": "119, 149, 0, 0, 0",
    "setgroups": "116, 159, 0, None",
    "modify_ldt": "154, 999, 0, None, 0",
    "iopl": "172, 999, 3",
    "kexec_load": "246, 104, 0, 0, None, 0",
    "init_module": "175, 105, None, 0, b''",
    "reboot": "169, 142, 0, 0, 0, 0",
    "swapon": "167, 224, b'/tmp/breach', 0",
    "sethostname": "170, 161, b'breach', 6",
    "settimeofday": "164, 170, bytes(16), None",
    "clock_adjtime": "305, 266, 0, bytes(256)",
    "syslog": "103, 116, 3, bytes(8), 8",
    "quotactl": "179, 60, 0, None, 0, None",
    "acct": "163, 89, None",
    "vhangup": "153, 58",
    "membarrier": "324, 283, 0, 0, 0",
    "memfd_secret": "447, 447, 0",
    "process_mrelease": "448, 448, 0, 0",
    "mbind": "237, 235, 0, 0, 0, None, 0, 0",
    "migrate_pages": "256, 238, 0, 0, None, None",
    "remap_file_pages": "216, 234, 0, 0, 0, 0, 0",
    "pkey_alloc": "330, 289, 0, 0",
    "timerfd": "283, 85, 0, 0",
    "signalfd": "289, 74, -1, bytes(8), 8, 0",
    "a future call": "700, 700",
}

# 335 and 336, uretprobe and uprobe, pass every filter: see sandbox/seccomp.py.
PROGRAMS = {name: f"refused(call, {arguments})" for name, arguments in _BY_NUMBER.items()} | {
    "writable and executable memory": """
import mmap
refused(mmap.mmap, -1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
""",
    "calls of the other ABI": """
# ends: error
if not X86:
    raise SystemExit(1)
libc.syscall(0x40000000 + 39)
""",
    "the return of a probe that is none": """
# ends: error
if not X86:
    raise SystemExit(1)
try:
    call(335, 0)
    print("BREACH")
finally:
    sys.exit(1)
""",
    "a probe that is none": """
if X86:
    try:
        call(336, 0)
        print("BREACH")
    except OSError as error:
        print("fine" if error.errno in (errno.ENXIO, errno.EPERM, errno.ENOSYS) else f"BREACH {error}")
""",
    "32-bit calls": """
# ends: error
import mmap
if not X86:
    raise SystemExit(1)
code = bytes.fromhex("b814000000cd80c3")  # mov eax, 20 (getpid); int 0x80; ret
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE)
page.write(code)
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
assert libc.mprotect(ctypes.c_void_p(address), 4096, 5) == 0
print(ctypes.CFUNCTYPE(ctypes.c_int)(address)())
print("BREACH")
""",
    "native code": """
import mmap
if X86:
    code = bytes.fromhex("b8390000000f05c3")  # mov eax, 57 (fork); syscall; ret
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    libc.mprotect(ctypes.c_void_p(address), 4096, 5)
    answer = ctypes.CFUNCTYPE(ctypes.c_int)(address)()
    print("refused" if answer == -errno.EPERM else f"BREACH {answer}")
""",
}
