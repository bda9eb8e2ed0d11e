"""How far one run database goes: rows a second through Ray's actor and straight into SQLite, and for how many GPUs.

    python -m tests.bench.bench_record [--seconds 4] [--writers 1,2,4] [--text-tokens 800] [--step-seconds 16,8]

A writer through Ray is a process that does what a run does: attempts of real size (a completion's text, token ids and
log-probabilities, its program and feedback), and a step after each 16 with the advantage of each token. In turn with
them one process writes the same rows straight. Learner states do not pass through the database: they are computed.

Then arithmetic, for Qwen3-8B: what GPUs that take a step every so many seconds ask of the database, the disk and the
cores, against what was measured here and what is assumed (`--step-seconds`, `--disk-gb`, `--cores`, `--case-seconds`).
"""

from __future__ import annotations

import argparse
import os
import random
import string
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.records import run_of
from tests.synthetic import populate_much
from ttsd.config import Config
from ttsd.machine.memory import state_bytes
from ttsd.machine.shape import KNOWN, Shape
from ttsd.nouns import Attempt, Completion, Example, Prompt, Status, Step, Verdict
from ttsd.record.protocol import RunDatabase
from ttsd.record.store import Store
from ttsd.running.cluster.keeper import DistantStore
from ttsd.running.cluster.places import kept

GROUP, CASES, DAY = 16, 20, 86_400
QUESTION = Prompt(tuple(range(768)), "a question " * 300)


@dataclass(frozen=True)
class Measured:
    """Rows a second with most writers, bytes of an attempt, attempts that a report reads a second."""

    rows: float
    attempt_bytes: float
    report: float


def attempt(number: int, step: int, tokens: int, rng: random.Random) -> Attempt:
    """Random text, so that nothing is smaller on disk than it would be."""
    text = "".join(rng.choices(string.printable, k=int(3.5 * tokens)))
    sampled = tuple(rng.randrange(150_000) for _ in range(tokens))
    completion = Completion(sampled, text, tuple(rng.random() for _ in sampled), "stop", step, 12.0)
    verdict = Verdict(Status.WRONG_ANSWER, 3, 10, 0, 10, first_failure=3, feedback=text[:1500], cpu_seconds=0.4)
    return Attempt(number, step, step, QUESTION, completion, text[: len(text) // 2], verdict, 0.9)


def example(one: Attempt) -> Example:
    return Example(one.number, QUESTION.token_ids, one.completion.token_ids, one.completion.logprobs, QUESTION)


def write(database: RunDatabase, seconds: float, tokens: int, seed: int) -> tuple[int, float]:
    """Attempts and steps for so long; how many rows, and in how many seconds. Making them is not counted."""
    run = database.new_run(run_of("q", seed=seed), {})
    rng, rows, spent, step = random.Random(seed), 0, 0.0, 0
    while spent < seconds:
        step += 1
        first = (step - 1) * GROUP + 1
        group = tuple(attempt(number, step, tokens, rng) for number in range(first, first + GROUP))
        made = Step(step, group, step, tuple(map(example, group)), {"loss": 0.1, "entropy": 0.4}, {"group": 12.0})
        advantages = {one.number: one.completion.logprobs for one in group}
        start = time.monotonic()
        for one in group:
            database.add_attempt(run, one)
        database.add_step(run, made, None, advantages)
        spent += time.monotonic() - start
        rows += GROUP + 1
    return rows, spent


def straight(path: str, seconds: float, tokens: int, seed: int) -> float:
    with Store(path) as store:
        rows, spent = write(store, seconds, tokens, seed)
    return rows / spent


def by_actor(keeper: Any, path: str, seconds: float, tokens: int, seed: int) -> float:
    rows, spent = write(DistantStore(keeper, path, Path(path + ".state")), seconds, tokens, seed)
    return rows / spent


def rates(writers: int, seconds: float, tokens: int, ray: Any) -> tuple[float, float, float]:
    """Returns rows a second of one process straight, of all writers together by the actor, and bytes of an attempt."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/straight.sqlite"
        Store(path).close()
        direct = straight(path, seconds, tokens, 0)
        with Store(path) as store:
            ((attempts,),) = store.query("select count(*) from attempts")
            store.query("pragma wal_checkpoint(truncate)")
        size = os.path.getsize(path) / attempts
        with Store(f"{folder}/actor.sqlite") as store:
            keeper, task = kept(store), ray.remote(num_cpus=0)(by_actor)
            there = str(store.path)
            through_actor = sum(ray.get([task.remote(keeper, there, seconds, tokens, seed) for seed in range(writers)]))
            ray.kill(keeper)
        return direct, through_actor, size


def report_rate(attempts: int = 60_000) -> float:
    """Returns the attempts a second that `ttsd report` reads, without what an almost empty database takes."""
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        for name, each in (("small", 10), ("large", attempts // 30)):
            with Store(f"{folder}/{name}.sqlite") as store:
                populate_much(store, 5, 2, each)
            command = [sys.executable, "-m", "ttsd", "report", f"{folder}/{name}", "--set"]
            start = time.monotonic()
            subprocess.run([*command, f"store.path={folder}/{name}.sqlite"], check=True, capture_output=True)
            taken.append(time.monotonic() - start)
    return (attempts - 300) / max(taken[1] - taken[0], 0.1)


def needs(gpus: int, step_seconds: float, found: Measured, options: argparse.Namespace) -> dict[str, tuple[str, float]]:
    """Returns what GPUs need that each take a step every `step_seconds`: in words, and as a share of what there is."""
    steps = gpus / step_seconds  # a second
    attempts = steps * GROUP
    states = steps * state_bytes(Config(), Shape.read(KNOWN["Qwen/Qwen3-8B"])) / 1e9
    cores = attempts * CASES * options.case_seconds
    size = attempts * found.attempt_bytes * DAY / 1e9
    return {
        "database, rows a second": (f"{attempts + steps:.1f}", (attempts + steps) / found.rows),
        "learner states, GB a second": (f"{states:.2f}", states / options.disk_gb),
        "cores that judge": (f"{cores:.0f}", cores / (gpus * options.cores)),
        "database, GB a day": (f"{size:.1f}", size / options.database_gb),
        "report on a day, s": (f"{attempts * DAY / found.report:.0f}", attempts * DAY / found.report / 600),
    }


def print_scale(found: Measured, options: argparse.Namespace) -> None:
    for seconds in map(float, options.step_seconds.split(",")):
        print(f"\na step every {seconds:g} s on each GPU; share of what is there in brackets\n")
        columns = [needs(gpus, seconds, found, options) for gpus in (8, 64, 512)]
        print("| | 8 GPUs | 64 GPUs | 512 GPUs |\n|---|---|---|---|")
        for name in columns[0]:
            print(f"| {name} | " + " | ".join(f"{text[name][0]} ({text[name][1]:.0%})" for text in columns) + " |")
        first = [max(column, key=lambda name: column[name][1]) for column in columns]
        print("| nearest to its limit | " + " | ".join(name.partition(",")[0] for name in first) + " |")
        print(f"\none database is enough for {8 / columns[0]['database, rows a second'][1]:.0f} such GPUs")


def main() -> None:
    import ray

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--writers", default="1,2,4")
    parser.add_argument("--text-tokens", type=int, default=800, help="of a completion")
    parser.add_argument("--step-seconds", default="16,8", help="of a step on a GPU; a table for each")
    parser.add_argument("--disk-gb", type=float, default=2.0, help="that a shared disk writes a second")
    parser.add_argument("--cores", type=int, default=16, help="for judging, for each GPU")
    parser.add_argument("--case-seconds", type=float, default=0.1, help="CPU time of a case")
    parser.add_argument("--database-gb", type=float, default=1000.0, help="that may be filled in a day")
    options = parser.parse_args()
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    print(f"load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores\n")
    print("| writers | one process straight, rows/s | by the actor, rows/s | actor / straight |\n|---|---|---|---|")
    for writers in map(int, options.writers.split(",")):
        direct, through_actor, size = rates(writers, options.seconds, options.text_tokens, ray)
        print(f"| {writers} | {direct:.0f} | {through_actor:.0f} | {through_actor / direct:.2f} |", flush=True)
    ray.shutdown()
    found = Measured(through_actor, size, report_rate())
    print(f"\n{size / 1024:.1f} KiB an attempt on disk; a report reads {found.report:.0f} attempts a second")
    print_scale(found, options)


if __name__ == "__main__":
    main()
