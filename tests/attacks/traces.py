"""Promise: one test leaves nothing that another, or the same program on another input, could find."""

PROGRAMS = {
    "see a file": """
for path in (world["home"], world["home"] + "/secret.txt", world["home"] + "/folder/../secret.txt"):
    for look in (os.stat, os.lstat, os.listdir, os.readlink):
        refused(look, path)
    assert not os.path.exists(path)
""",
    "size of a case's expected output": """
buffer = ctypes.create_string_buffer(256)
for flags in (0, 0x100, 0x800, 0x1000, 0x1800):
    if libc.syscall(262 if X86 else 79, -100, (world["home"] + "/1.out").encode(), buffer, flags) == 0:
        print("BREACH", flags)
    if libc.syscall(332 if X86 else 291, -100, (world["home"] + "/1.out").encode(), flags, 0x7ff, buffer) == 0:
        print("BREACH statx", flags)
""",
    "does a file exist": """
for flags in (0, 0x200, 0x1000):
    refused(call, 439, 439, -100, (world["home"] + "/1.out").encode(), 0, flags)
refused(call, 269, 48, -100, (world["home"] + "/1.out").encode(), 0)
assert not os.access(world["home"] + "/1.out", os.F_OK)
""",
    "where others work": """
for pid in (world["parent"], world["victim"], os.getppid(), "self", 1):
    for name in ("cwd", "exe", "root", "fd/0", "fd/1", "fd/2"):
        refused(os.readlink, f"/proc/{pid}/{name}")
""",
    "a file by way of another process": """
buffer = ctypes.create_string_buffer(256)
for pid in (world["parent"], world["victim"], os.getppid()):
    for name in ("cwd", "root", "cwd" + world["home"]):
        if libc.syscall(262 if X86 else 79, -100, f"/proc/{pid}/{name}".encode(), buffer, 0x1000) == 0:
            print("BREACH", pid, name)
""",
    "how the sandbox was started": """
print("BREACH" if sys.orig_argv != sys.argv or len(sys.argv) != 1 or "/" in sys.argv[0] else "fine")
refused(os.open, "/proc/self/cmdline", os.O_RDONLY)
""",
    "the working directory": """
assert os.getcwd() == "/"
refused(call, 79, 17, ctypes.create_string_buffer(256), 256)
""",
    "read library files so that their times change": """
import string
for path in (os.__file__, string.__file__, os.path.dirname(os.__file__)):
    refused(os.open, path, os.O_RDONLY)
    refused(os.open, path, os.O_RDONLY | os.O_NOATIME)
    refused(os.scandir, path)
    refused(os.readlink, path)
""",
    "see library files' times": """
import string
for path in (os.__file__, string.__file__, os.path.dirname(os.__file__), sys.executable):
    refused(os.stat, path)
""",
    "times of a library file by number": """
# only where files are hidden altogether does nothing answer: another set-up says so in its tier
buffer = ctypes.create_string_buffer(256)
answer = libc.syscall(262 if X86 else 79, -100, os.__file__.encode(), buffer, 0x1000)
print("BREACH" if answer == 0 and world["files are hidden"] else "fine")
""",
    "import a module late, so that its file is read": """
import importlib
for name in ("turtle", "mailcap", "tabnanny", "chunk"):
    try:
        importlib.import_module(name)
        print("BREACH", name)
    except ImportError:
        pass
""",
    "load a shared library late": """
for name in ("libm.so.6", "libpthread.so.0", "libresolv.so.2", "libnss_files.so.2"):
    try:
        ctypes.CDLL(name)
    except OSError:
        pass
refused(os.open, "/etc/ld.so.cache", os.O_RDONLY)
""",
    "leave marks everywhere": """
import builtins
builtins.mark = 1
os.environ["MARK"] = "1"
sys.modules["mark"] = sys
sys.setrecursionlimit(777)
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
signal.setitimer(signal.ITIMER_REAL, 100)
for descriptor in range(60):
    try:
        os.dup2(0, descriptor + 3)
    except OSError:
        pass
os.lseek(0, 1, os.SEEK_SET)
libc.setenv(b"MARK", b"1", 1)
""",
    "find marks": """
import builtins
libc.getenv.restype = ctypes.c_void_p
print(
    "BREACH"
    if hasattr(builtins, "mark")
    or "MARK" in os.environ
    or "mark" in sys.modules
    or sys.getrecursionlimit() == 777
    or signal.getsignal(signal.SIGUSR1) != signal.SIG_DFL
    or signal.getitimer(signal.ITIMER_REAL)[0]
    or libc.getenv(b"MARK")
    else "fine"
)
for descriptor in range(3, 64):
    try:
        os.fstat(descriptor)
        print("BREACH", descriptor)
    except OSError as error:
        assert error.errno == errno.EBADF
""",
    "what descriptors say of earlier tests": """
for descriptor, most in ((0, 1 << 16), (1, 0), (2, 0)):
    facts = os.fstat(descriptor)
    print("BREACH" if facts.st_size > most or facts.st_nlink else "fine")
    import time
    print("BREACH" if time.time() - facts.st_mtime > 60 else "fine")
""",
    "counters of the process": """
import resource
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print("BREACH" if used.ru_maxrss or used.ru_utime else "fine")
""",
    "a message in System V's memory, queues or semaphores": """
for x86, arm, arguments in ((29, 194, (7, 64, 0o1666)), (68, 186, (7, 0o1666)), (64, 190, (7, 1, 0o1666))):
    refused(call, x86, arm, *arguments)
    refused(call, x86, arm, arguments[0], *([0] * (len(arguments) - 1)))
""",
    "a message in a key": """
refused(call, 248, 217, b"user", b"mark", b"x", 1, -4)
refused(call, 249, 218, b"user", b"mark", None, -4)
refused(call, 250, 219, 0, -4, 1)
""",
    "a message in a name": """
refused(call, 157, 167, 15, b"mark", 0, 0, 0)
refused(call, 170, 161, b"mark", 4)
""",
    "a message in limits, priority or affinity": """
import resource
for kind in (resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE, resource.RLIMIT_CORE, resource.RLIMIT_MEMLOCK):
    soft, hard = resource.getrlimit(kind)
    refused(call, 302, 261, 0, kind, struct.pack("QQ", 0, 0), None)
    refused(call, 302, 261, os.getppid(), kind, None, ctypes.create_string_buffer(16))
refused(os.nice, 1)
refused(os.sched_setaffinity, 0, {0})
""",
    "a message in a socket's name": """
refused(socket.socket, socket.AF_UNIX)
refused(socket.socketpair)
""",
    "a message through the event loop": """
import asyncio
async def main():
    loop = asyncio.get_running_loop()
    for start in (
        lambda: asyncio.open_connection("127.0.0.1", world["tcp"]),
        lambda: asyncio.start_server(print, "127.0.0.1", 0),
        lambda: asyncio.open_unix_connection(world["unix"]),
        lambda: asyncio.start_unix_server(print, world["home"] + "/breach"),
        lambda: loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=("127.0.0.1", world["udp"])),
        lambda: asyncio.create_subprocess_exec(world["python"], "-c", "0"),
    ):
        try:
            server = await start()
            if getattr(server, "sockets", True):  # a server that got no socket is none
                print("BREACH", start)
        except (OSError, NotImplementedError, RuntimeError):
            pass
asyncio.run(main())
""",
}
