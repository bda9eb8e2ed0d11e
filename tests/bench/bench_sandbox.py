"""Tests per second of the sandbox against three simpler ways to run the same 50 small stdin tests.

    python tests/bench/bench_sandbox.py [--rounds 5] [--ballast-gib 4] [--leak-runs 0]

The variants alternate within every round, so that the machine's load hits all of them; read the ratios, which are
medians over the rounds. `in-process` is a loop in the manner of LiveCodeBench's grader: one process per program, whose
results come back through a multiprocessing manager; for each test an alarm, a mocked `open` and stdin, and a captured
stdout. It does not isolate one test from the next. `bare in-process` leaves out the manager and the mocks.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import io
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import mock_open, patch

sys.path.insert(0, str(Path(__file__).parents[2]))

from sandbox import Ending, Limits, Program, Sandbox
from tests.attacks.world import descendants

PROGRAM = """
import sys
from collections import Counter, defaultdict
from heapq import heappush, heappop


def shortest(graph, start, count):
    distance = [10**18] * count
    distance[start] = 0
    queue = [(0, start)]
    while queue:
        so_far, node = heappop(queue)
        if so_far > distance[node]:
            continue
        for neighbour, length in graph[node]:
            if so_far + length < distance[neighbour]:
                distance[neighbour] = so_far + length
                heappush(queue, (distance[neighbour], neighbour))
    return distance


def main():
    read = iter(sys.stdin.read().split())
    count, edges = int(next(read)), int(next(read))
    graph = defaultdict(list)
    for _ in range(edges):
        a, b, length = int(next(read)), int(next(read)), int(next(read))
        graph[a].append((b, length))
        graph[b].append((a, length))
    print(*shortest(graph, 0, count))
    print(max(Counter(len(graph[node]) for node in range(count)).values()))


if __name__ == "__main__":
    main()
"""


def inputs(tests: int = 50) -> list[bytes]:
    """Small weighted graphs."""
    cases = []
    for seed in range(tests):
        edges = [f"{i} {(i * 7 + seed) % 20} {1 + (i * seed) % 13}" for i in range(20)]
        cases.append("\n".join(["20 20", *edges]).encode())
    return cases


async def ours(box: Sandbox, cases: list[bytes]) -> list[bytes]:
    outcomes = [outcome async for outcome in box.run(Program(PROGRAM), cases, Limits())]
    assert all(outcome.ending is Ending.FINISHED for outcome in outcomes), outcomes[0]
    return [outcome.stdout for outcome in outcomes]


def fresh(cases: list[bytes]) -> list[bytes]:
    command = [sys.executable, "-I", "-S", "-c", PROGRAM]
    return [subprocess.run(command, input=case, capture_output=True, check=True).stdout for case in cases]


def bare_fork(cases: list[bytes]) -> list[bytes]:
    """In a small process of its own, started once per program: fork, exec the code, wait. No confinement at all."""
    code = compile(PROGRAM, "solution.py", "exec")
    return [_forked(code, case) for case in cases]


def _forked(code: Any, case: bytes) -> bytes:
    given, printed = os.memfd_create("given"), os.memfd_create("printed")
    os.write(given, case)
    os.lseek(given, 0, os.SEEK_SET)
    pid = os.fork()
    if pid == 0:
        os.dup2(given, 0)
        os.dup2(printed, 1)
        sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115
        exec(code, {"__name__": "__main__"})
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(pid, 0)
    answer = os.pread(printed, 1 << 20, 0)
    os.close(given)
    os.close(printed)
    return answer


def in_process(cases: list[bytes]) -> list[bytes]:
    context = multiprocessing.get_context("fork")
    with context.Manager() as manager:
        results = manager.list()
        process = context.Process(target=_report_loop, args=(cases, results))
        process.start()
        process.join()
        return list(results[0])


def _report_loop(cases: list[bytes], results: Any) -> None:
    signal.signal(signal.SIGALRM, lambda *_: sys.exit("too slow"))
    code = compile(PROGRAM, "solution.py", "exec")
    results.append([_mocked(code, case.decode()) for case in cases])


class Stdin(io.StringIO):
    """A class of our own, so that its methods can be patched."""


def _mocked(code: Any, case: str) -> bytes:
    """One call with every way to read stdin replaced."""
    signal.alarm(6)
    lines = iter(case.split("\n"))
    printed = io.StringIO()
    with (
        patch("builtins.open", mock_open(read_data=case)),
        patch("sys.stdin", Stdin(case)),
        patch("sys.stdin.readline", lambda *_: next(lines)),
        patch("sys.stdin.readlines", lambda *_: case.split("\n")),
        patch("sys.stdin.read", lambda *_: case),
        contextlib.redirect_stdout(printed),
    ):
        exec(code, {"__name__": "__main__"})
    signal.alarm(0)
    return printed.getvalue().encode()


def bare_in_process(cases: list[bytes]) -> list[bytes]:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(_bare_loop, (cases,))


def _bare_loop(cases: list[bytes]) -> list[bytes]:
    code = compile(PROGRAM, "solution.py", "exec")
    return [_redirected(code, case.decode()) for case in cases]


def _redirected(code: Any, case: str) -> bytes:
    printed, sys.stdin = io.StringIO(), io.StringIO(case)
    with contextlib.redirect_stdout(printed):
        exec(code, {"__name__": "__main__"})
    return printed.getvalue().encode()


@contextlib.contextmanager
def ballast(gib: float) -> Iterator[None]:
    """Memory that this process really holds: every page is touched."""
    held = bytearray(int(gib * (1 << 30)))
    held[::4096] = b"x" * len(range(0, len(held), 4096))
    yield
    del held
    gc.collect()


async def seconds(action: Callable[[], Awaitable[list[bytes]]], expected: list[bytes]) -> float:
    started = time.perf_counter()
    answers = await action()
    elapsed = time.perf_counter() - started
    assert answers == expected
    return elapsed


class Helper:
    """A small process that runs the forking variants, so that this one's size does not matter to them."""

    def __init__(self) -> None:
        self._pool = multiprocessing.get_context("spawn").Pool(1, initializer=_preload)

    async def __call__(self, function: Callable[[list[bytes]], list[bytes]], cases: list[bytes]) -> list[bytes]:
        return self._pool.apply(_call, (function.__name__, cases))

    def close(self) -> None:
        self._pool.terminate()


def _preload() -> None:
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]


def _call(name: str, cases: list[bytes]) -> list[bytes]:
    found: list[bytes] = globals()[name](cases)
    return found


async def measure(rounds: int, gib: float) -> None:
    cases = inputs()
    helper = Helper()
    async with Sandbox(slots=1) as box:
        variants: dict[str, Callable[[], Awaitable[list[bytes]]]] = {
            "ours": lambda: ours(box, cases),
            "fresh interpreter": lambda: helper(fresh, cases),
            "bare fork": lambda: helper(bare_fork, cases),
            "in-process": lambda: helper(in_process, cases),
            "bare in-process": lambda: helper(bare_in_process, cases),
        }
        expected = await variants["ours"]()
        table: dict[str, list[float]] = {name: [] for name in variants}
        held: list[float] = []
        for _ in range(rounds):
            for name, action in variants.items():
                table[name].append(await seconds(action, expected))
            if gib:
                with ballast(gib):
                    held.append(await seconds(variants["ours"], expected))
        report(table, held, gib, len(cases), box)
    helper.close()


def report(table: dict[str, list[float]], held: list[float], gib: float, tests: int, box: Sandbox) -> None:
    print(f"sandbox: {box.tier}, Python {box.python_version}; {tests} tests, {len(table['ours'])} rounds")
    print(f"{'variant':32} {'ms/test':>8} {'tests/s':>8}   tests/s of ours / of this one")
    if held:
        table = table | {f"ours, caller holds {gib:g} GiB": held}
    for name, times in table.items():
        median = statistics.median(times)
        ratio = statistics.median(other / own for own, other in zip(table["ours"], times, strict=True))
        print(f"{name:32} {1000 * median / tests:8.2f} {tests / median:8.0f}   {ratio:.2f}")


async def leaks(runs: int) -> None:
    """Processes, descriptors, resident memory and temporary files before and after many judgements."""
    async with Sandbox(slots=2) as box:
        await ours(box, inputs())
        await asyncio.sleep(0.5)  # the last program's processes are ended in the background
        before = _footprint()
        started = time.perf_counter()
        for _ in range(runs // 50):
            await ours(box, inputs())
        elapsed = time.perf_counter() - started
        await asyncio.sleep(0.5)
        print(f"{runs} runs in {elapsed:.0f} s; before {before}, after {_footprint()}")
    print(f"after closing: {_footprint()}")


def _footprint() -> dict[str, int]:
    processes = [os.getpid(), *descendants(os.getpid())]
    pages = sum(int(Path(f"/proc/{process}/statm").read_text().split()[1]) for process in processes)
    return {
        "processes": len(processes),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "resident KiB": pages * 4,
        "temporary files": len(os.listdir("/tmp")) + len(os.listdir("/dev/shm")),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ballast-gib", type=float, default=4.0)
    parser.add_argument("--leak-runs", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.rounds:
        asyncio.run(measure(arguments.rounds, arguments.ballast_gib))
    if arguments.leak_runs:
        asyncio.run(leaks(arguments.leak_runs))


if __name__ == "__main__":
    main()
