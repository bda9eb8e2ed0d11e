"""Promise: no file can be read but the standard library, and none changed."""

PROGRAMS = {
    "read a secret": "refused(open, world['home'] + '/secret.txt')",
    "read through a link": "refused(open, world['home'] + '/link')",
    "read through dots": """
refused(open, os.path.dirname(os.__file__) + "/../../../../../.." + world["home"] + "/secret.txt")
""",
    "read through /proc": "refused(open, '/proc/self/root' + world['home'] + '/secret.txt')",
    "read by openat2": "refused(call, 437, 437, -100, (world['home'] + '/secret.txt').encode(), bytes(24), 24)",
    "read by an open path": "refused(os.open, world['home'] + '/secret.txt', os.O_PATH)",
    "read by handle": "refused(call, 303, 264, -100, world['home'].encode(), bytes(128), bytes(8), 0)",
    "open by handle": "refused(call, 304, 265, -100, bytes(128), 0)",
    "import a module": """
sys.path.insert(0, world["home"])
try:
    import module
    print("BREACH", module.SECRET)
except ImportError:
    print("refused")
""",
    "read the system's files": """
for path in ("/etc/passwd", "/etc/hostname", "/proc/version", "/proc/self/status", "/sys/kernel/mm", "/dev/zero"):
    if os.path.exists(path):
        refused(os.open, path, os.O_RDONLY)
""",
    "list directories": """
for path in ("/", "/tmp", "/etc", "/root", "/home", "/proc", world["home"], "."):
    refused(os.listdir, path)
""",
    "read installed packages": """
# ends: finished | error
import sysconfig
place = sysconfig.get_path("purelib")
for name in ("pip/__init__.py", "torch/__init__.py", "pytest/__init__.py"):
    if os.path.exists(os.path.join(place, name)):
        refused(open, os.path.join(place, name))
""",
    "read the sandbox": "import traceback\nrefused(open, sys._getframe(1).f_code.co_filename)",
    "write a file": "refused(open, world['home'] + '/secret.txt', 'w')",
    "append to a file": "refused(open, world['home'] + '/secret.txt', 'a')",
    "create a file": "refused(open, world['home'] + '/breach', 'x')",
    "create in /tmp": "refused(open, '/tmp/breach', 'w')",
    "create in /dev/shm": "refused(open, '/dev/shm/breach', 'w')",
    "create in the working directory": "refused(open, 'breach', 'w')",
    "create an unnamed file": "refused(os.open, '/tmp', os.O_TMPFILE | os.O_RDWR)",
    "write the standard library": "refused(open, os.__file__, 'r+')",
    "creat": "refused(call, 85, 56, (world['home'] + '/breach').encode(), 0o600) if X86 else None",
    "temporary file": """
import tempfile
refused(tempfile.mkstemp, dir=world["home"])
""",
    "database": """
# ends: finished | error
import sqlite3
try:
    sqlite3.connect(world["home"] + "/breach").execute("create table t(x)")
    print("BREACH")
except sqlite3.OperationalError:
    print("refused")
""",
    "truncate": "refused(os.truncate, world['home'] + '/secret.txt', 0)",
    "unlink": "refused(os.unlink, world['home'] + '/secret.txt')",
    "rename": "refused(os.rename, world['home'] + '/secret.txt', world['home'] + '/breach')",
    "renameat2": "refused(call, 316, 276, -100, world['home'].encode(), -100, b'/tmp/breach', 0)",
    "mkdir": "refused(os.mkdir, world['home'] + '/breach')",
    "rmdir": "refused(os.rmdir, world['home'] + '/folder')",
    "hard link": "refused(os.link, world['home'] + '/secret.txt', world['home'] + '/breach')",
    "symbolic link": "refused(os.symlink, '/', world['home'] + '/breach')",
    "mknod": "refused(os.mknod, world['home'] + '/breach')",
    "chmod": "refused(os.chmod, world['home'] + '/secret.txt', 0o777)",
    "chmod of the standard library": "refused(os.chmod, os.__file__, 0o777)",
    "fchmod of the input": "refused(os.fchmod, 0, 0o777)",
    "chown": "refused(os.chown, world['home'] + '/secret.txt', os.getuid(), os.getgid())",
    "change times": "refused(os.utime, world['home'] + '/secret.txt', (0, 0))",
    "set an attribute": "refused(os.setxattr, world['home'] + '/secret.txt', 'user.breach', b'x')",
    "lock a file": "import fcntl\nrefused(fcntl.flock, 0, fcntl.LOCK_EX)",
    "change directory": "refused(os.chdir, world['home'])",
    "change the mask": "refused(call, 95, 166, 0)",
    "/dev/null stays what it is": "refused(os.open, '/dev/null', os.O_WRONLY)",
}
