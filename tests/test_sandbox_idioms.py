"""What honest competitive programs do, and expect to work."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sandbox import Ending, Limits, Program, Sandbox

# name: (source, input, what it must print)
IDIOMS: dict[str, tuple[str, str, str]] = {
    "input": ("a, b = map(int, input().split())\nprint(a + b)", "1 2\n", "3\n"),
    "input without a last newline": ("print(input()[::-1])", "abc", "cba\n"),
    "input until EOFError": (
        """
total = 0
while True:
    try:
        total += int(input())
    except EOFError:
        break
print(total)
""",
        "1\n2\n3\n",
        "6\n",
    ),
    "sys.stdin.read": ("import sys\nprint(sum(map(int, sys.stdin.read().split())))", "1 2\n3", "6\n"),
    "sys.stdin.readline": (
        """
import sys
input = sys.stdin.readline
print(int(input()) + int(input()))
""",
        "1\n2\n",
        "3\n",
    ),
    "lines of sys.stdin": (
        """
import sys
print([line.strip() for line in sys.stdin])
""",
        "a\nb\n",
        "['a', 'b']\n",
    ),
    "sys.stdin.buffer": (
        """
import sys
print(*sys.stdin.buffer.read().split())
""",
        "1 2\n",
        "b'1' b'2'\n",
    ),
    "readline of the buffer": (
        """
import sys
print(list(map(int, sys.stdin.buffer.readline().split())))
""",
        "1 2\n3",
        "[1, 2]\n",
    ),
    "open(0)": ("print(open(0).read().split())", "x y", "['x', 'y']\n"),
    "os.read": ("import os\nprint(os.read(0, os.fstat(0).st_size))", "x y", "b'x y'\n"),
    "in-memory stdin": (
        """
import io, os, sys
sys.stdin = io.BytesIO(os.read(0, os.fstat(0).st_size))
print(sys.stdin.readline())
""",
        "x\ny",
        "b'x\\n'\n",
    ),
    "fast output": ("import os\nos.write(1, b'fast\\n')", "", "fast\n"),
    "collected output": (
        """
import sys
out = ['a', 'b']
sys.stdout.write('\\n'.join(out))
""",
        "",
        "a\nb",
    ),
    "a writer that is never closed": ("out = open(1, 'w')\nout.write('a\\n')", "", "a\n"),
    "print that flushes": ("print('a', end='', flush=True)\nprint('b')", "", "ab\n"),
    "in-memory stdout": (
        """
import io, sys
sys.stdout = text = io.StringIO()
print(1)
sys.__stdout__.write(text.getvalue())
""",
        "",
        "1\n",
    ),
    "main guard": (
        """
def main():
    print('main')

if __name__ == '__main__':
    main()
""",
        "",
        "main\n",
    ),
    "exit()": ("print(1)\nexit()\nprint(2)", "", "1\n"),
    "quit()": ("print(1)\nquit()", "", "1\n"),
    "sys.exit(0)": ("import sys\nprint(1)\nsys.exit(0)", "", "1\n"),
    "exit in a function": ("def f():\n    print(1)\n    raise SystemExit\nf()", "", "1\n"),
    "os._exit after a flush": ("import os, sys\nprint(1)\nsys.stdout.flush()\nos._exit(0)", "", "1\n"),
    "deep recursion": (
        """
import sys
sys.setrecursionlimit(10**6)
def f(n):
    return 0 if n == 0 else 1 + f(n - 1)
print(f(200000))
""",
        "",
        "200000\n",
    ),
    "deep recursion without asking": (
        """
def f(n):
    return 0 if n == 0 else 1 + f(n - 1)
print(f(20000))
""",
        "",
        "20000\n",
    ),
    "recursion in a thread": (
        """
import sys, threading
sys.setrecursionlimit(1 << 25)
threading.stack_size(1 << 27)
def f(n):
    return 0 if n == 0 else 1 + f(n - 1)
def main():
    print(f(100000))
thread = threading.Thread(target=main)
thread.start()
thread.join()
""",
        "",
        "100000\n",
    ),
    "thread that is not joined": (
        """
import threading
threading.Thread(target=lambda: print('late')).start()
""",
        "",
        "late\n",
    ),
    "unlimited stack": (
        """
import resource
resource.setrlimit(resource.RLIMIT_STACK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(1)
""",
        "",
        "1\n",
    ),
    "memoised recursion": (
        """
import sys
from functools import lru_cache
sys.setrecursionlimit(10**6)
@lru_cache(None)
def f(n):
    return 0 if n == 0 else 1 + f(n - 1)
print(f(15000))
""",
        "",
        "15000\n",
    ),
    "names nobody imported": (
        """
queue = deque([3, 1])
heap = [2, 1]
heapify(heap)
table = defaultdict(int)
print(heappop(heap), gcd(4, 6), math.inf, bisect_left([1, 2], 2), list(accumulate([1, 2])), pow(2, 5, 7))
print(reduce(lambda a, b: a + b, [1, 2]), Counter('aa'), collections.deque is deque)
""",
        "",
        "1 2 inf 1 [1, 3] 4\n3 Counter({'a': 2}) True\n",
    ),
    "typing names": (
        """
def f(x: List[int]) -> Optional[Dict[str, int]]:
    return None
print(f([]))
""",
        "",
        "None\n",
    ),
    "late imports": (
        """
import fractions, decimal, statistics, difflib, graphlib, csv, zlib, calendar
print(fractions.Fraction(1, 3) + 1, decimal.Decimal('0.1') * 3, statistics.mean([1, 2, 3]))
""",
        "",
        "4/3 0.3 2\n",
    ),
    "dates": (
        """
from datetime import datetime, timedelta
print(datetime.strptime('2024-02-28', '%Y-%m-%d') + timedelta(days=2))
""",
        "",
        "2024-03-01 00:00:00\n",
    ),
    "dataclasses": (
        """
from dataclasses import dataclass
@dataclass(order=True)
class P:
    x: int
    y: 'int' = 0
print(sorted([P(2), P(1)]))
""",
        "",
        "[P(x=1, y=0), P(x=2, y=0)]\n",
    ),
    "regular expressions": (
        """
import re
print(re.findall(r'\\d+', input()))
""",
        "a1b22",
        "['1', '22']\n",
    ),
    "hashes": (
        """
import hashlib
print(hashlib.sha256(b'x').hexdigest()[:8], hashlib.md5(b'x').hexdigest()[:8])
""",
        "",
        "2d711642 9dd4e461\n",
    ),
    "large integers": ("print(len(str(7 ** 20000)))", "", "16902\n"),
    "bit tricks": (
        """
n = int(input())
print(n.bit_count(), bin(n).count('1'), n & -n)
""",
        "12",
        "2 2 4\n",
    ),
    "global state": (
        """
count = 0
def f():
    global count
    count += 1
f()
print(count, 'count' in globals())
""",
        "",
        "1 True\n",
    ),
    "exec and eval": ("exec('x = 1')\nprint(eval('x + 1'))", "", "2\n"),
    "class-level recursion": (
        """
class S:
    memo = {}
    def f(self, n):
        return n if n < 2 else self.f(n - 1) + self.f(n - 2)
print(S().f(15))
""",
        "",
        "610\n",
    ),
    "time-limited search": (
        """
import time
start = time.time()
while time.time() - start < 0.01:
    pass
print('done')
""",
        "",
        "done\n",
    ),
    "an alarm": (
        """
import signal
def stop(*_):
    raise TimeoutError
signal.signal(signal.SIGALRM, stop)
signal.setitimer(signal.ITIMER_REAL, 0.02)
try:
    while True:
        pass
except TimeoutError:
    print('stopped')
""",
        "",
        "stopped\n",
    ),
    "random numbers": (
        """
import random
random.seed(5)
print(random.randint(1, 100), len(random.sample(range(10), 3)))
""",
        "",
        "80 3\n",
    ),
    "asyncio without files": (
        """
async def f():
    return 5
try:
    f().send(None)
except StopIteration as stop:
    print(stop.value)
""",
        "",
        "5\n",
    ),
    "asyncio.run": (
        """
import asyncio
async def work(n):
    await asyncio.sleep(0.001 * (3 - n))
    return n * n
async def main():
    print(await asyncio.gather(*map(work, range(4))))
asyncio.run(main())
""",
        "",
        "[0, 1, 4, 9]\n",
    ),
    "an event loop of one's own": (
        """
import asyncio
async def main(queue):
    await queue.put(1)
    return await asyncio.wait_for(queue.get(), 5)
loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
print(loop.run_until_complete(main(asyncio.Queue())))
loop.close()
""",
        "",
        "1\n",
    ),
    "threads that wake an event loop": (
        """
import asyncio, threading, time
async def main():
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    threading.Timer(0.01, loop.call_soon_threadsafe, [done.set]).start()
    print(await asyncio.to_thread(sum, [1, 2]), await loop.run_in_executor(None, input))
    await done.wait()
    try:
        await asyncio.wait_for(asyncio.Event().wait(), 0.01)
    except asyncio.TimeoutError:
        print("late")
asyncio.run(main())
""",
        "x\n",
        "3 x\nlate\n",
    ),
    "a pool of threads": (
        """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(max_workers=20) as pool:
    print(sum(pool.map(lambda n: n * n, range(100))))
""",
        "",
        "328350\n",
    ),
    "a file that may be there": (
        """
import os, sys
if os.path.exists('input.txt'):
    sys.stdin = open('input.txt')
try:
    sys.stdin = open('input.txt', 'r')
except FileNotFoundError:
    pass
print(input(), os.path.basename(os.getcwd()), os.path.abspath(__file__))
""",
        "x",
        "x  /solution.py\n",
    ),
    "streams by name": (
        """
with open('/dev/stdin') as given:
    print(given.read(), flush=True)
with open('/dev/stdout', 'w') as out:
    out.write('done\\n')
""",
        "x",
        "x\ndone\n",
    ),
    "modules that are rare": (
        """
import bz2, configparser, html, lzma, shlex, urllib.parse, xml.etree.ElementTree as tree
print(html.escape('<'), shlex.split('a "b c"'), urllib.parse.quote('a b'), tree.fromstring('<a b="1"/>').get('b'))
print('\\N{BULLET}', 'é'.encode('latin-1'), 'a'.encode('utf-16-le'), b'a'.decode('ascii'))
print(bz2.decompress(bz2.compress(b'x')), open(0, encoding='cp1252').read())
""",
        "x",
        "&lt; ['a', 'b c'] a%20b 1\n\u2022 b'\\xe9' b'a\\x00' a\nb'x' x\n",
    ),
    "windows line ends": ("print(int(input()) + int(input()))", "1\r\n2\r\n", "3\n"),
    "a coding comment": ("# -*- coding: latin-1 -*-\nprint('fine')", "", "fine\n"),
    # A program is compiled from text: such a comment is no more than a comment, and hides no code from a reader.
    "a coding that turns letters into two": ("# coding: latin-1\nprint(len('é'))", "", "1\n"),
    "a coding that makes comments code": (
        "# coding: unicode_escape\n# \\u000aprint('hidden')\nprint('seen')",
        "",
        "seen\n",
    ),
    "a coding that makes names of signs": ("# vim: set fileencoding=utf-7 :\nprint(+1)  # +AAo-print(2)", "", "1\n"),
    "a coding that is none": ("#!/usr/bin/python\n# coding: no-such-thing\nprint('fine')", "", "fine\n"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[True, False], ids=["landlock", "no-landlock"])
async def box(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    async with Sandbox(slots=1, landlock=request.param) as sandbox:
        yield sandbox


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", IDIOMS)
async def test_idiom(name: str, box: Sandbox) -> None:
    source, data, expected = IDIOMS[name]
    outcome = await box.once(Program(source), data.encode(), Limits())
    assert (outcome.ending, outcome.stdout.decode()) == (Ending.FINISHED, expected), outcome.stderr.decode()
