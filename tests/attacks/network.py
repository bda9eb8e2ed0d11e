"""Promise: no network and no channel to another process."""

PROGRAMS = {
    "connect to a listener": """
def connect():
    socket.create_connection(("127.0.0.1", world["tcp"]))
refused(connect)
""",
    "send a datagram": """
def send():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"breach", ("127.0.0.1", world["udp"]))
refused(send)
""",
    "connect to a local socket": """
def connect():
    socket.socket(socket.AF_UNIX).connect(world["unix"])
refused(connect)
""",
    "every socket family": """
for family in (1, 2, 10, 15, 16, 17, 29, 31, 38, 40, 44):
    for kind in (1, 2, 3, 5):
        refused(call, 41, 198, family, kind, 0)
""",
    "listen": """
def listen():
    socket.create_server(("127.0.0.1", 0))
refused(listen)
""",
    "resolve a name": """
try:
    print("BREACH", socket.getaddrinfo("localhost", 80))
except OSError:
    print("refused")
""",
    "socketpair": "refused(socket.socketpair)",
    "pipe": "refused(os.pipe)",
    "named pipe": "refused(os.mkfifo, world['home'] + '/breach')",
    "eventfd": "refused(os.eventfd, 0)",
    "epoll": "import select\nrefused(select.epoll)",
    "inotify": "refused(call, 294, 26, 0)",
    "fanotify": "refused(call, 300, 262, 0, 0)",
    "shared memory": "refused(call, 29, 194, 0x1234, 4096, 0o1666)",
    "message queue": "refused(call, 68, 186, 0x1234, 0o1666)",
    "semaphores": "refused(call, 64, 190, 0x1234, 1, 0o1666)",
    "posix message queue": "refused(call, 240, 180, b'breach', 0o102, 0o666, None)",
    "posix shared memory": """
# ends: finished | error
import _posixshmem
refused(_posixshmem.shm_open, "/breach", os.O_CREAT | os.O_RDWR, mode=0o600)
""",
    "posix semaphore": """
# ends: finished | error
import _multiprocessing
refused(_multiprocessing.SemLock, 1, 1, 1, "/breach", False)
""",
    "keyring": "refused(call, 248, 217, b'user', b'breach', b'x', 1, -3)",
    "messages on inherited descriptors": """
for descriptor in range(256):
    refused(call, 47, 212, descriptor, ctypes.create_string_buffer(64), 0)
    refused(call, 46, 211, descriptor, ctypes.create_string_buffer(64), 0)
    refused(call, 44, 206, descriptor, b"x", 1, 0, None, 0)
""",
}
