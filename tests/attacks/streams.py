"""Promise: a program reads its input and writes its output, and can do nothing else to either."""

PROGRAMS = {
    "write the input": "refused(os.write, 0, b'x')",
    "shrink the input": "refused(os.ftruncate, 0, 0)",
    "reopen the input for writing": "refused(os.open, '/proc/self/fd/0', os.O_RDWR)",
    "map the input for writing": """
import mmap
refused(mmap.mmap, 0, 1, mmap.MAP_SHARED, mmap.PROT_WRITE)
""",
    "unseal the input": "import fcntl\nrefused(fcntl.fcntl, 0, fcntl.F_ADD_SEALS, 0)",
    "grow the output": "refused(os.ftruncate, 1, 1 << 40)",
    "allocate output": "refused(os.posix_fallocate, 1, 0, 1 << 40)",
    "seek far into the output": """
# ends: output_limit | error
os.lseek(1, 1 << 40, os.SEEK_SET)
os.write(1, b"x")
""",
    "a hole in the output": """
# ends: output_limit
os.lseek(1, (1 << 20) - 1, os.SEEK_SET)
os.write(1, b"xx")
""",
    "endless output": """
# ends: output_limit
while True:
    print("x" * 1000)
""",
    "endless errors": """
# ends: output_limit
while True:
    sys.stderr.write("x" * 1000)
""",
    "endless output, undeterred": """
# ends: cpu_limit | output_limit
while True:
    try:
        os.write(1, b"x" * 100000)
    except OSError:
        pass
""",
    "write to every descriptor": """
for descriptor in range(3, 1024):
    try:
        os.write(descriptor, b"x")
        print("BREACH", descriptor)
    except OSError as error:
        assert error.errno == errno.EBADF, error
""",
    "read every descriptor": """
for descriptor in range(3, 1024):
    try:
        print("BREACH", os.read(descriptor, 100))
    except OSError as error:
        assert error.errno == errno.EBADF, error
""",
    "splice": "refused(call, 275, 76, 0, None, 1, None, 1, 0)",
    "tee": "refused(call, 276, 77, 0, 1, 1, 0)",
    "copy_file_range": "refused(call, 326, 285, 0, None, 1, None, 1, 0)",
    "sendfile": "refused(os.sendfile, 1, 0, 0, 1)",
    "odd bytes": """
sys.stdout.buffer.write(bytes(range(256)) * 10)
print("\\udcff\\ud800".encode("utf-8", "surrogatepass"))
""",
}
