"""Promise: an ending and bytes come back, whatever the program does; it sees no expected output, no other program."""

PROGRAMS = {
    "silent exit": "os._exit(0)",
    "huge exit status": """
# ends: error
sys.exit(2 ** 70 + 1)
""",
    "exit status of a broken sandbox": """
# ends: error
os.write(2, b"a test could not be set up in the sandbox")
os._exit(70)
""",
    "every exit status": """
# ends: error
os._exit(250)
""",
    "frames": """
frame, seen = sys._getframe(), []
while frame:
    seen.append(repr((frame.f_globals, frame.f_locals)))
    frame = frame.f_back
print("".join(seen)[:100000])
""",
    "frames of a traceback": """
try:
    1 / 0
except ZeroDivisionError as error:
    frame = error.__traceback__.tb_frame
    while frame:
        print(repr(frame.f_locals)[:10000])
        frame = frame.f_back
""",
    "all objects": """
import gc
for thing in gc.get_objects():
    if isinstance(thing, (str, bytes, dict, list, tuple)):
        print(repr(thing)[:200]) if "SECRET" in repr(thing)[:100000] else None
""",
    "strings in memory": """
def regions():
    start = id(object()) & ~0xFFFFF
    yield from range(start - (8 << 20), start + (8 << 20), 4096)
class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
buffer = ctypes.create_string_buffer(4096)
found = 0
for page in regions():
    written = libc.write(1, ctypes.c_void_p(page), 64)  # answers EFAULT where nothing is mapped
    found += written > 0
print(found)
""",
    "environment": "print(os.environ, libc.getenv(b'WORLD_SECRET'))\nassert 'WORLD_SECRET' not in os.environ",
    "modules of the sandbox": """
names = [name for name in sys.modules if name.split(".")[0] in ("sandbox", "ttsd", "problems", "attacks")]
print("BREACH" if names else "fine")
try:
    import sandbox
    print("BREACH")
except ImportError:
    print("fine")
""",
    "tamper with the driver": """
frame = sys._getframe()
while frame:
    for name in list(frame.f_globals):
        if name.startswith(("_finish", "_report", "run", "json")):
            frame.f_globals[name] = lambda *_: os._exit(0)
    frame = frame.f_back
""",
    "leave something for the next test": """
import builtins, random
builtins.breach = True
random.seed = None
sys.modules["json"].dumps = None
""",
    "find what the last test left": """
import builtins, json, random
print("BREACH" if hasattr(builtins, "breach") else json.dumps([random.random()]))
""",
    "pickle": """
import pickle
class Bomb:
    def __reduce__(self):
        return os.system, ("touch " + world["home"] + "/breach",)
sys.stdout.buffer.write(pickle.dumps(Bomb()))
try:
    os.write(3, pickle.dumps(Bomb()))
except OSError:
    pass
""",
    "replace the interpreter's hooks": """
sys.excepthook = sys.unraisablehook = sys.displayhook = None
sys.stdout = sys.stderr = sys.stdin = None
""",
    "close everything": "os.closerange(0, 100)",
}
