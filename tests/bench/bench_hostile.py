"""Hostile judgements among honest ones, at full limits: nothing may be accepted, no fault, honest verdicts soon.

    python -m tests.bench.bench_hostile [--hostile 300] [--honest 200] [--seconds 500] [--record hostile.jsonl]

The hostile ones are the programs of tests/attacks, given the addresses of a world that they may harm; they take all
slots but one. The honest ones come one after the other through the slot that is left. Each judgement is a line of the
record; with the same record the next call does what is left, so that the work can be done in pieces. Latencies are
from the call of the judge to the verdict and depend on the load of the machine, which is shown, too.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import random
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

from problems.problem import Case, Problem, Split
from sandbox import Limits, Sandbox, SandboxFault
from tests.attacks.runner import PRELUDE, PROMISES
from tests.attacks.world import World
from ttsd.judging.judge import Judge

HONEST = "a, b = map(int, input().split())\nprint(a * b)\n# {}\n"
CASES = 5


def question() -> Problem:
    chance = random.Random(0)
    pairs = [(chance.randrange(10**6), chance.randrange(10**6)) for _ in range(CASES)]
    cases = tuple(Case(f"{a} {b}\n", f"{a * b}\n") for a, b in pairs)
    return Problem("bench:product", "product", "Print the product of two numbers.", cases)


def hostile_programs(count: int, world: World) -> list[str]:
    """All attacks in turn, each with a number, so that no two are the same program."""
    prelude = PRELUDE.replace("json.loads(sys.stdin.readline())", repr(world.addresses() | {"files are hidden": True}))
    names = [*PROMISES, "availability"]
    sources = [
        source for name in names for source in importlib.import_module(f"tests.attacks.{name}").PROGRAMS.values()
    ]
    return [f"{prelude}{sources[number % len(sources)]}\n# {number}\n" for number in range(count)]


class Record:
    """Lines of JSON; what is there already is not done again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lines: list[dict[str, Any]] = []
        if path.exists():
            self.lines = [json.loads(line) for line in path.read_text().splitlines()]

    def add(self, **line: Any) -> None:
        self.lines.append(line)
        with self._path.open("a") as file:
            print(json.dumps(line), file=file)

    def numbers(self, kind: str) -> set[int]:
        return {line["number"] for line in self.lines if line["kind"] == kind}


async def judged(judge: Judge, source: str, kind: str, number: int, record: Record) -> None:
    started = time.perf_counter()
    try:
        verdict = (await judge.program(source)).status.value
    except SandboxFault as fault:
        verdict = f"fault: {fault}"
    seconds = time.perf_counter() - started
    record.add(kind=kind, number=number, verdict=verdict, seconds=seconds, load=os.getloadavg()[0])


async def measure(hostile: int, honest: int, seconds: float, slots: int, record: Record) -> None:
    problem, world, until = question(), World(), time.monotonic() + seconds
    try:
        async with Sandbox(slots=slots) as box:
            judge = Judge(box, problem, Split(tuple(range(CASES)), ()), limits=Limits())
            sources = hostile_programs(hostile, world)
            left = [number for number in range(hostile) if number not in record.numbers("hostile")]
            random.Random(len(left)).shuffle(left)
            over = asyncio.Event()

            async def attack() -> None:
                while left and time.monotonic() < until:
                    number = left.pop()
                    await judged(judge, sources[number], "hostile", number, record)

            async def live() -> None:
                number = len(record.numbers("honest"))
                while not over.is_set():
                    if number < honest * (hostile - len(left)) / hostile:  # spread over all hostile ones
                        await judged(judge, HONEST.format(number), "honest", number, record)
                        number += 1
                    else:
                        await asyncio.sleep(0.05)

            honest_ones = asyncio.create_task(live())
            await asyncio.gather(*(attack() for _ in range(slots - 1)))
            over.set()
            await honest_ones
    finally:
        world.close()


def report(record: Record, wanted: dict[str, int]) -> None:
    for kind, count in wanted.items():
        lines = [line for line in record.lines if line["kind"] == kind]
        print(f"{kind}: {len(lines)} of {count}: {dict(Counter(line['verdict'].partition(':')[0] for line in lines))}")
    honest = sorted(line["seconds"] for line in record.lines if line["kind"] == "honest")
    if len(honest) > 1:
        at = [statistics.median(honest), honest[int(0.95 * len(honest))], honest[-1]]
        print("honest latency in ms: median {:.1f}, 95 % {:.1f}, worst {:.1f}".format(*(1000 * one for one in at)))
    loads = [line["load"] for line in record.lines]
    if loads:
        print(f"load of the machine: {min(loads):.1f} to {max(loads):.1f} on {os.cpu_count()} cores")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hostile", type=int, default=300)
    parser.add_argument("--honest", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=500.0)
    parser.add_argument(
        "--slots", type=int, default=max(2, os.cpu_count() or 2), help="a slot a core, as the tool has it"
    )
    parser.add_argument("--record", type=Path, default=Path("hostile.jsonl"))
    given = parser.parse_args()
    record = Record(given.record)
    asyncio.run(measure(given.hostile, given.honest, given.seconds, given.slots, record))
    report(record, {"hostile": given.hostile, "honest": given.honest})


if __name__ == "__main__":
    main()
