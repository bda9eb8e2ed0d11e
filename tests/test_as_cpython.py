"""Programs end as the interpreter ends them: streams by other names, files left open, finalizers, common packages."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from sandbox import Ending, Limits, Program, Sandbox

GIVEN = "3\nfour\n"
PROGRAMS = {
    "a detached stdout, wrapped": """
import io, sys
sys.stdout = io.TextIOWrapper(sys.stdout.detach(), encoding="utf-8")
print(2 * int(input()))
""",
    "a detached stdout with a codec": """
import codecs, sys
sys.stdout = codecs.getwriter("utf-8")(sys.stdout.detach())
print(input() + "é")
""",
    "a detached stdout, not replaced": "import sys\nout = sys.stdout.detach()\nout.write(b'6')",
    "a detached stdin": """
import codecs, sys
sys.stdin = codecs.getreader("utf-8")(sys.stdin.detach())
print(sys.stdin.readline())
""",
    "a path": "from pathlib import Path\nprint(Path('/dev/stdin').read_text())",
    "a path that is opened": "from pathlib import Path\nwith Path('/proc/self/fd/0').open() as f:\n    print(f.read())",
    "bytes": "print(open(b'/dev/stdin', 'rb').read())",
    "a descriptor by its path": "print(open('/proc/self/fd/0').readline())",
    "os.open": "import os\nprint(os.read(os.open('/dev/stdin', os.O_RDONLY), 100))",
    "os.open of bytes": "import os\nprint(os.fdopen(os.open(b'/dev/fd/0', os.O_RDONLY)).read())",
    "a stdout by its path": "out = open('/dev/stdout', 'w')\nprint('b', flush=True)\nout.write('a')",
    "a file in a global": "M = open(1, 'w')\nM.write(str(2 * int(input())))",
    "a file in a class": "class Out:\n    file = open(1, 'w')\nOut.file.write('7')",
    "a file in a closure": """
def f():
    out = open(1, "w")
    def g():
        out.write("8")
    return g
f()()
""",
    "a file under an older name": "import io, sys\ne = io.TextIOWrapper(sys.stdout.buffer)\ne.write('x')",
    "a finalizer": "class A:\n    def __del__(self):\n        print(total)\na = A()\ntotal = 6",
    "a finalizer in a list": """
class A:
    def __del__(self):
        helper()
several = [A(), A()]
total = 6
def helper():
    print(total)
""",
    "a finalizer in a cycle": "class A:\n    def __del__(self):\n        print(1)\na = A()\na.me = a\nprint(2)",
    "a finalizer that fails": "class A:\n    def __del__(self):\n        raise ValueError\na = A()\nprint(9)",
    "a finalizer after an error": "class A:\n    def __del__(self):\n        print(1)\na = A()\nraise ValueError",
    "a stream that prints when it ends": """
import sys
class Late:
    parts = []
    def write(self, text):
        self.parts.append(text)
    def flush(self):
        pass
    def __del__(self):
        sys.__stdout__.write("".join(self.parts))
sys.stdout = Late()
print(8)
""",
    "a generator that waits": "def f():\n    try:\n        yield\n    finally:\n        print('end')\nx = f()\nnext(x)",
    "weakref.finalize": "import weakref\nclass A:\n    pass\na = A()\nweakref.finalize(a, print, 11)",
    "an exit handler": "import atexit\natexit.register(print, 'bye')\nexit(0)",
    "a large buffer": "import sys\nsys.stdout = open(1, 'w', buffering=1 << 20)\nprint('x')",
    "a stdout that is closed": "import sys\nprint(1)\nsys.stdout.close()",
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def box() -> AsyncIterator[Sandbox]:
    async with Sandbox(slots=1) as running:
        yield running


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_program_ends_as_cpython_ends_it(name: str, box: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "given").write_text(GIVEN)
    with (tmp_path / "given").open() as given:
        real = subprocess.run(
            [sys.executable, "-c", PROGRAMS[name]], stdin=given, capture_output=True, env={"PYTHONUTF8": "1"}
        )
    outcome = await box.once(Program(PROGRAMS[name]), GIVEN.encode(), Limits())
    assert outcome.stdout == real.stdout, outcome.stderr
    assert outcome.ending == (Ending.ERROR if real.returncode else Ending.FINISHED), outcome.stderr


PACKAGES = {
    "numpy": "import numpy as np\nprint(int(np.arange(4).sum()))",
    "sortedcontainers": "from sortedcontainers import SortedList\nprint(SortedList([9, 6])[0])",
    "scipy": """
import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra, maximum_flow
from scipy.optimize import linear_sum_assignment, milp
graph = csr_matrix(np.array([[0, 6], [0, 0]], dtype=np.int32))
linear_sum_assignment([[1, 2], [2, 1]])
print(int(dijkstra(graph, indices=0)[1]), end="\\n" if maximum_flow(graph, 0, 1).flow_value == 6 else "?")
""",
    "networkx": """
import networkx as nx
graph = nx.path_graph(7)
print(nx.shortest_path_length(graph, 0, 6))
assert len(nx.max_weight_matching(graph)) == 3
""",
    "sympy": """
import sympy
from sympy import factorint, integrate, isprime, solve, symbols
x = symbols("x")
assert isprime(10**9 + 7) and solve(x**2 - 4) == [-2, 2] and integrate(2 * x) == x**2 and factorint(6) == {2: 1, 3: 1}
print(sympy.Matrix([[3, 0], [0, 2]]).det())
""",
}


@pytest.mark.parametrize("name", PACKAGES)
@pytest.mark.asyncio(loop_scope="module")
async def test_common_packages_are_there_where_they_are_installed(name: str, box: Sandbox) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    outcome = await box.once(Program(PACKAGES[name]), b"", Limits(cpu_seconds=20.0, wall_seconds=60.0))
    assert outcome.stdout == b"6\n", outcome.stderr


@pytest.mark.slow
async def test_a_package_that_is_not_named_is_not_there() -> None:
    async with Sandbox(slots=1, packages=["sortedcontainers"]) as box:
        outcome = await box.once(Program(PACKAGES["numpy"]), b"", Limits())
        assert b"No module named 'numpy'" in outcome.stderr
        assert (await box.once(Program(PACKAGES["sortedcontainers"]), b"", Limits())).stdout == b"6\n"
