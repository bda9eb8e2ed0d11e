"""Promise: a program is one process, and nothing of it survives."""

PROGRAMS = {
    "fork": "refused(os.fork)",
    "fork by number": "refused(call, 57, 220, 17, 0, 0, 0, 0)",
    "vfork": "refused(call, 58, 220, 0x4111, 0, 0, 0, 0)",
    "clone as fork": "refused(call, 56, 220, 17, 0, 0, 0, 0)",
    "clone as glibc forks": "refused(call, 56, 220, 0x1200011, 0, 0, 0, 0)",
    "clone3": "refused(call, 435, 435, ctypes.create_string_buffer(88), 88)",
    "a thread in a new namespace": "refused(call, 56, 220, 0x3D0F00 | 0x10000000, 0, 0, 0, 0)",
    "a thread that shares less": "refused(call, 56, 220, 0x10F00, 0, 0, 0, 0)",
    "a terminal": "refused(os.open, '/dev/ptmx', os.O_RDWR)",
    "subprocess": "import subprocess\nrefused(subprocess.run, ['/bin/sh', '-c', f'touch {world[\"home\"]}/breach'])",
    "posix_spawn": "refused(os.posix_spawn, world['python'], ['python', '-c', '0'], {})",
    "shell": """
status = os.system(f"touch {world['home']}/breach")
print("BREACH" if status == 0 else "refused")
""",
    "multiprocessing": """
import multiprocessing
refused(multiprocessing.get_context("fork").Process(target=print).start)
""",
    "exec": "refused(os.execv, world['python'], ['python', '-c', '0'])",
    "execveat": "refused(call, 322, 281, -100, world['python'].encode(), None, None, 0)",
    "exec of memory": "refused(os.memfd_create, 'breach')",
    "a daemon": """
try:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            import time
            time.sleep(60)
        os._exit(0)
except OSError:
    pass
""",
    "new session": "refused(os.setsid)",
    "new process group": "refused(os.setpgid, 0, 0)",
    "a thread that does not end": """
# ends: wall_limit
import threading, time
threading.Thread(target=time.sleep, args=(100,)).start()
""",
    "a daemon thread": """
import threading, time
threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
""",
    "thread bomb": """
# ends: error | memory_limit | wall_limit | cpu_limit
import threading, time
while True:
    threading.Thread(target=time.sleep, args=(100,)).start()
""",
    "stop itself": "refused(os.kill, os.getpid(), signal.SIGSTOP)",
    "kill itself": "refused(os.kill, os.getpid(), signal.SIGKILL)",
    "crash": """
# ends: error
ctypes.string_at(0)
""",
    "abort": """
# ends: error
os.abort()
""",
    "endless exit handler": """
# ends: cpu_limit
import atexit
@atexit.register
def again():
    while True:
        pass
""",
    "exit handler that forks": """
# ends: error | finished
import atexit
atexit.register(os.fork)
""",
    "change the parent death signal": "refused(call, 157, 167, 1, 0, 0, 0, 0)",
    "become a subreaper": "refused(call, 157, 167, 36, 1, 0, 0, 0)",
}
