"""How far one record goes: rows a second through the keeper's actor and straight into SQLite, and what that feeds.

    python -m tests.bench.bench_record [--seconds 4] [--writers 1,2,4] [--text-tokens 800]

A writer through Ray is a process that does what a run does: attempts of real size (a completion's text, token ids and
log-probabilities, its program and feedback), and a step after each 16 with what it found for each token. Beside it one
process writes the same rows straight, in turn. Learner's states do not pass through the record: they are reckoned.

Then arithmetic, for Qwen3-8B on H100s: rows, bytes and cores by `ttsd doctor --plan` at its fastest, against what was
measured here and what is assumed (`--disk-gb`, `--cores`, `--case-seconds`).
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

from ttsd.machine.step_plan import plan

from tests.synthetic import populate_much
from ttsd.config import Config, load_config
from ttsd.machine.gpus import card_named
from ttsd.machine.memory import state_bytes
from ttsd.machine.shape import Shape
from ttsd.nouns import Attempt, Completion, Status, Step, Verdict
from ttsd.record.protocol import Record
from ttsd.record.store import Store
from ttsd.running.cluster.keeper import DistantStore
from ttsd.running.cluster.places import kept

GROUP, CASES, DAY = 16, 20, 86_400
QWEN3_8B: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"], "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
    "tie_word_embeddings": False,
}  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """Of the record: rows a second with most writers, bytes of an attempt, attempts that a report reads a second."""

    rows: float
    attempt_bytes: float
    report: float


def attempt(number: int, step: int, tokens: int, rng: random.Random) -> Attempt:
    """Random text, so that nothing is smaller on disk than it would be."""
    text = "".join(rng.choices(string.printable, k=int(3.5 * tokens)))
    drawn = tuple(rng.randrange(150_000) for _ in range(tokens))
    completion = Completion(drawn, text, tuple(rng.random() for _ in drawn), "stop", step, 768, 12.0)
    verdict = Verdict(Status.WRONG_ANSWER, 3, 10, 0, 10, first_failure=3, feedback=text[:1500], cpu_seconds=0.4)
    return Attempt(number, step, completion, text[: len(text) // 2], verdict, 0.9, round=step)


def write(record: Record, seconds: float, tokens: int, seed: int) -> tuple[int, float]:
    """Attempts and steps for so long; how many rows, and in how many seconds. Making them is not counted."""
    run = record.new_run(question="q", method="sdpo", seed=seed, model="m", config={}, split={}, environment={})
    rng, rows, spent, step = random.Random(seed), 0, 0.0, 0
    while spent < seconds:
        step += 1
        first = (step - 1) * GROUP + 1
        group = tuple(attempt(number, step, tokens, rng) for number in range(first, first + GROUP))
        gains = {one.attempt: one.completion.logprobs for one in group}
        start = time.monotonic()
        for one in group:
            record.add_attempt(run, one)
        record.add_step(run, Step(step, group, step, {"loss": 0.1, "entropy": 0.4}, {"draw": 12.0}), None, gains)
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
    """Rows a second of one process straight, and of all writers together by the actor; bytes of an attempt."""
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
            told = sum(ray.get([task.remote(keeper, there, seconds, tokens, seed) for seed in range(writers)]))
            ray.kill(keeper)
        return direct, told, size


def report_rate(attempts: int = 60_000) -> float:
    """Attempts a second that `ttsd report` reads, without what it takes for an almost empty record."""
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


def needs(
    gpus: int, questions: int, config: Config, found: Measured, options: argparse.Namespace
) -> dict[str, tuple[str, float]]:
    """What `gpus` engines with so many questions each ask of all else: in words, and as a share of what is there."""
    one = plan(config, QWEN3_8B, card_named("h100-80"), questions=questions, completion_tokens=options.text_tokens)
    steps = gpus * questions / one.wall_seconds.low  # a second
    attempts = steps * GROUP
    states = steps * state_bytes(config, Shape.read(QWEN3_8B)) / 1e9
    cores = attempts * CASES * options.case_seconds
    size = attempts * found.attempt_bytes * DAY / 1e9
    return {
        "record, rows a second": (f"{attempts + steps:.1f}", (attempts + steps) / found.rows),
        "learner's states, GB a second": (f"{states:.2f}", states / options.disk_gb),
        "cores that judge": (f"{cores:.0f}", cores / (gpus * options.cores)),
        "database, GB a day": (f"{size:.1f}", size / options.database_gb),
        "report on a day, s": (f"{attempts * DAY / found.report:.0f}", attempts * DAY / found.report / 600),
    }


def print_scale(found: Measured, options: argparse.Namespace) -> None:
    config = load_config("qwen3-8b-80gb")
    for questions in (1, 8):
        print(f"\n{questions} questions on each GPU; share of what is there in brackets\n")
        columns = [needs(gpus, questions, config, found, options) for gpus in (8, 64, 512)]
        print("| | 8 GPUs | 64 GPUs | 512 GPUs |\n|---|---|---|---|")
        for name in columns[0]:
            print(f"| {name} | " + " | ".join(f"{text[name][0]} ({text[name][1]:.0%})" for text in columns) + " |")
        first = [max(column, key=lambda name: column[name][1]) for column in columns]
        print("| nearest to its limit | " + " | ".join(name.partition(",")[0] for name in first) + " |")
        rows = columns[0]["record, rows a second"][1] / 8
        print(f"\none record feeds {1 / rows:.0f} such GPUs, {questions / rows:.0f} questions at once")


def main() -> None:
    import ray

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--writers", default="1,2,4")
    parser.add_argument("--text-tokens", type=int, default=800, help="of a completion")
    parser.add_argument("--disk-gb", type=float, default=2.0, help="that a shared disk writes a second")
    parser.add_argument("--cores", type=int, default=16, help="for judging, beside each GPU")
    parser.add_argument("--case-seconds", type=float, default=0.1, help="CPU time of a case")
    parser.add_argument("--database-gb", type=float, default=1000.0, help="that may be filled in a day")
    options = parser.parse_args()
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    print(f"load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores\n")
    print("| writers | one process straight, rows/s | by the actor, rows/s | actor / straight |\n|---|---|---|---|")
    for writers in map(int, options.writers.split(",")):
        direct, told, size = rates(writers, options.seconds, options.text_tokens, ray)
        print(f"| {writers} | {direct:.0f} | {told:.0f} | {told / direct:.2f} |", flush=True)
    ray.shutdown()
    found = Measured(told, size, report_rate())
    print(f"\n{size / 1024:.1f} KiB an attempt on disk; a report reads {found.report:.0f} attempts a second")
    print_scale(found, options)


if __name__ == "__main__":
    main()
