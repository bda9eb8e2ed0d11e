"""Agreement with LiveCodeBench's verdicts, and the median judgement of five cases, of one tree or of two in turns.

    python tests/bench/bench_judge.py [--rounds 20] [--against OTHER_CHECKOUT]

The pairs are those of ../shared/data/judge_pairs.jsonl, which this needs. With `--against`, programs are judged by both
trees, each in a process of its own, in turns within every round, so that the machine's load hits both; read the ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
if "--serve" not in sys.argv:  # a server judges with the tree of its PYTHONPATH
    sys.path.insert(0, str(ROOT))
DATA = ROOT.parent / "shared" / "data"
SOURCE = """
import sys
from collections import Counter, defaultdict
from heapq import heappush, heappop

def main():
    count, *numbers = map(int, sys.stdin.read().split())
    queue = []
    for number in numbers:
        heappush(queue, number)
    seen = defaultdict(int, Counter(numbers))
    while queue:
        number = heappop(queue)
        print(number, seen[number])

main()
"""


def given(case: list[int]) -> str:
    return f"{len(case)}\n{' '.join(map(str, case))}"


def expected(case: list[int]) -> str:
    return "\n".join(f"{n} {case.count(n)}" for n in sorted(case))


def question(path: Path) -> str:
    """Writes a question of five cases and returns its name."""
    (path / "statement.md").write_text("# Sorted\n\nPrint the numbers sorted, each with its count.\n")
    cases = [[(i * 7919 + k) % 100 for i in range(50)] for k in range(5)]
    (path / "cases.toml").write_text(
        "".join(
            f"[[case]]\ninput = {json.dumps(given(case))}\nexpected = {json.dumps(expected(case))}\n" for case in cases
        )
    )
    return str(path)


async def serve(name: str) -> None:
    """Judges one fresh program for each line on stdin, and answers with the milliseconds that it took."""
    import problems
    from problems.split import split
    from sandbox import Sandbox
    from ttsd.judging.judge import judge_for

    problem = problems.load(name)
    async with Sandbox(slots=1) as sandbox, judge_for(problem, split(problem, "all", 0), sandbox) as judge:
        for number, _ in enumerate(iter(sys.stdin.readline, "")):
            started = time.perf_counter()
            verdict = await judge.program(f"{SOURCE}# {number}\n")
            assert verdict.accepted, verdict
            print(1000 * (time.perf_counter() - started), flush=True)


async def agreement(comparison: str) -> tuple[int, list[int]]:
    """Returns how many programs there are, and the numbers of those that get another verdict than LiveCodeBench's."""
    import problems
    from problems import livecodebench
    from problems.split import split
    from sandbox import Sandbox
    from ttsd.judging.judge import judge_for

    files = (DATA / "lcb_rows.jsonl", DATA / "lcb_genuine_rows.jsonl")
    names = {one: f"{file}#{one}" for file in files for one in livecodebench.question_ids(file)}
    pairs = [json.loads(line) for line in (DATA / "judge_pairs.jsonl").read_text().splitlines()]
    async with Sandbox() as sandbox:

        async def agrees(pair: dict[str, str]) -> bool:
            problem = problems.load(names[pair["question_id"]])
            everything = split(problem, "all", 0)
            async with judge_for(problem, everything, sandbox, comparison=comparison) as judge:  # type: ignore[arg-type]
                return (await judge.program(pair["code"])).accepted == (pair["lcb_verdict"] == "pass")

        same = await asyncio.gather(*map(agrees, pairs))
    return len(pairs), [number for number, one in enumerate(same) if not one]


def judged(server: subprocess.Popen[str]) -> float:
    stdin, stdout = server.stdin, server.stdout
    assert stdin is not None
    assert stdout is not None
    _say(stdin)
    return float(stdout.readline())


def _say(stdin: IO[str]) -> None:
    stdin.write("\n")
    stdin.flush()


def compare(trees: list[Path], rounds: int, name: str) -> None:
    command = [sys.executable, str(Path(__file__).absolute()), "--serve", name]
    servers = [
        subprocess.Popen(
            command,
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for tree in trees
    ]
    for server in servers:
        judged(server)
    times: list[list[float]] = [[] for _ in trees]
    for round_ in range(rounds):
        for which in range(len(trees)) if round_ % 2 else reversed(range(len(trees))):
            times[which] += [judged(servers[which]) for _ in range(20)]
    for tree, found in zip(trees, times, strict=True):
        print(f"{tree}: median {statistics.median(found):.2f} ms, mean {statistics.mean(found):.2f} ms")
    if len(trees) > 1:
        print(f"ratio of medians: {statistics.median(times[0]) / statistics.median(times[1]):.3f}")
    for server in servers:
        server.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve(arguments.serve))
        return
    for comparison in ("livecodebench", "question"):
        count, others = asyncio.run(agreement(comparison))
        print(f"{comparison}: {count - len(others)} of {count} agree ({1 - len(others) / count:.1%}); not: {others}")
    with tempfile.TemporaryDirectory() as folder:
        compare([ROOT, *([arguments.against] if arguments.against else [])], arguments.rounds, question(Path(folder)))


if __name__ == "__main__":
    main()
