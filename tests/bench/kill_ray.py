"""Breaks a batch over Ray off again and again, in four ways, and checks the database after each time.

    python -m tests.bench.kill_ray [--times 20] [--budget 64] [--seed 0] [--folder DIR]

Two engines on this machine. A killed worker or keeper is one process less while the batch goes on. A killed or
interrupted driver ends it, and the same command resumes. What must hold: `scene.py`. Then the throughput of one worker
and of two.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from problems import micro
from tests.bench.scene import SETTINGS, Scene

WAYS = ("interrupt", "worker", "driver", "keeper")


def batch(folder: Path, budget: int, workers: int, questions: int = 4) -> Scene:
    """Returns a batch of sdpo and best-of-k whose length is known."""
    settings = ["--set", f"budget.attempts={budget}", "--set", "budget.continue_after_discovery=true"]
    ray = ["--ray", "local", "--ray-workers", str(workers), "--at-once", "2"]
    asked = [*micro.subset("micro-very-hard")[:questions], "--methods", "sdpo,best-of-k"]
    return Scene(folder, ["batch", *asked, *ray, *SETTINGS, *settings, "--set", "model.sampler=transformers"])


def actors(driver: int, name: str) -> list[psutil.Process]:
    """Returns Ray's processes under the driver that run an actor of the class `name`."""
    found = []
    for process in psutil.Process(driver).children(recursive=True):
        try:
            found += [process] if f"ray::{name}" in " ".join(process.cmdline()) else []
        except psutil.Error:  # it ended just now
            continue
    return found


def strike(scene: Scene, way: str, attempts: int) -> str:
    """Starts the batch, breaks it off in one way once it has `attempts` more, and looks at what it left."""
    process, before = scene._start(), len(scene.attempts)
    while process.poll() is None and len(scene.rows("select 1 from attempts")) < before + attempts:
        time.sleep(0.02)
    if process.poll() is not None:
        scene._check()
        return f"it had ended with {process.returncode}"
    if way in ("worker", "keeper"):
        victims = actors(process.pid, "Worker" if way == "worker" else "Keeper")
        if victims:
            victims[0].kill()
        time.sleep(3)
        way += f" ({len(victims)} there)"
    family = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGINT if way == "interrupt" else signal.SIGKILL)
    status = process.wait(timeout=180)
    settled(scene)
    _, left = psutil.wait_procs(family, timeout=30)
    names = []
    for one in left:
        names += [" ".join(one.cmdline()).strip()]
        one.kill()
    scene._check()
    return f"{way}: status {status}, {len(scene.attempts)} attempts, outlived by {names}"


def settled(scene: Scene) -> None:
    """Waits until nothing writes any more: the last rows of a killed driver's workers are on their way."""
    rows = -1
    while rows != (rows := len(scene.rows("select 1 from attempts"))):
        time.sleep(2)


def throughput(folder: Path, budget: int) -> None:
    """Prints attempts a second of one and of two workers, loading left out."""
    for workers in (1, 2):
        scene = batch(folder / f"workers-{workers}", budget, workers)
        scene.finish()
        ((seconds, count),) = scene.rows(
            "select (julianday(max(created)) - julianday(min(created))) * 86400, count(*) from attempts"
        )
        print(f"{workers} workers: {count / seconds:.2f} attempts a second ({count} in {seconds:.0f} s)", flush=True)


def main() -> None:
    """Runs the campaign."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--budget", type=int, default=64, help="attempts of each run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="ttsd-ray-"))
    chance, ways, scene = random.Random(options.seed), Counter[str](), batch(folder / "broken-off", options.budget, 2)
    print(f"in {folder}")
    for number in range(options.times):
        way = WAYS[number % len(WAYS)]
        print(f"{number + 1} {strike(scene, way, chance.randint(2, 16))}", flush=True)
        ways[way] += 1
    scene.finish()
    print(f"finished: {len(scene.attempts)} attempts, {dict(ways)}", flush=True)
    throughput(folder, options.budget)


if __name__ == "__main__":
    main()
