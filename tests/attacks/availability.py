"""Promise: whatever a program does, an honest one in the next slot gets its outcome soon.

The runner starts each of these in one slot, and an honest program again and again in the other, while it runs.
"""

PROGRAMS = {
    "sleep": """
# ends: wall_limit
import time
time.sleep(100)
""",
    "spin": """
# ends: cpu_limit
while True:
    pass
""",
    "threads": """
# ends: error | memory_limit | wall_limit
import threading, time
started = 0
threading.stack_size(65536)
try:
    while True:
        threading.Thread(target=time.sleep, args=(100,)).start()
        started += 1
finally:
    print("BREACH" if started > 200 else "fine", started, flush=True)
""",
    "threads by number": """
# ends: finished | wall_limit | error
libc.pthread_self.restype = ctypes.c_void_p
stack = ctypes.create_string_buffer(1 << 20)
tls = ctypes.c_void_p(libc.pthread_self())
word = ctypes.c_int()
started = 0
for number in range(4000 if X86 else 0):
    top = ctypes.c_void_p((ctypes.addressof(stack) + 4096 + 256 * number) & ~15)
    pause = ctypes.cast(libc.pause, ctypes.c_void_p)
    if libc.clone(pause, top, 0x3D0F00, None, ctypes.byref(word), tls, ctypes.byref(word)) < 0:
        break
    started += 1
print("BREACH" if started > 200 else "fine", started, flush=True)
os._exit(0)
""",
    "busy threads": """
# ends: cpu_limit
import threading
threading.stack_size(65536)
def spin():
    while True:
        sum(range(1000))
for _ in range(30):
    threading.Thread(target=spin).start()
""",
    "forks": """
for _ in range(2000):
    refused(os.fork)
    refused(call, 435, 435, ctypes.create_string_buffer(88), 88)
""",
    "memory": """
# ends: memory_limit | cpu_limit
held = []
while True:
    held.append(bytearray(1 << 20))
""",
    "memory at once, and again": """
# ends: cpu_limit | memory_limit
while True:
    bytearray(200 << 20)
""",
    "output": """
# ends: output_limit | cpu_limit
while True:
    os.write(1, b"\\0" * (1 << 16))
""",
    "errors": """
# ends: output_limit | cpu_limit
while True:
    os.write(2, b"\\x1b" * (1 << 16))
""",
    "a hole in the output": """
# ends: output_limit | error
os.lseek(1, (1 << 20) - 2, os.SEEK_SET)
os.write(1, b"xxx")
""",
    "a storm of signals": """
# ends: cpu_limit | wall_limit
import time
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
while True:
    time.sleep(0.01)
""",
    "a storm of system calls": """
# ends: cpu_limit
while True:
    os.fstat(0)
""",
    "many descriptors": """
held = []
try:
    while True:
        held.append(os.dup(0))
except OSError as error:
    print("fine" if len(held) < 64 else "BREACH")
""",
    "a program that is only line ends": "\n" * 500_000,
    "a program that takes long to compile": "x = [" + "lambda: 0, " * 60_000 + "]",
    "a program that mentions every module": """
# ends: finished | error
import asyncio, email.message, html.parser, http.client, logging.handlers, multiprocessing.pool, numpy.testing
import sqlite3, unittest.mock, urllib.request, xml.dom.minidom, zipfile
""",
    "huge numbers": """
# ends: cpu_limit | memory_limit
x = 10 ** 10 ** 8
print(len(str(x)))
""",
    "a slow expression": """
# ends: cpu_limit
import re
re.match(r"(a+)+$", "a" * 60 + "b")
""",
    "yield without end": """
# ends: cpu_limit | wall_limit
while True:
    os.sched_yield()
""",
    "a crash": """
# ends: error
ctypes.string_at(0)
""",
}
