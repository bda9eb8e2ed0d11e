"""What an attempt costs through an endpoint, and with the built-in vLLM, on the same model: wall time and CPU seconds.

    python -m tests.bench.bench_endpoint [--model FOLDER] [--attempts 64] [--rounds 2] [--max-tokens 64]

`vllm serve` of the installed vLLM on 127.0.0.1, then best-of-k on a bundled question with either sampler in turn. The
wall time runs from the first attempt's end to the last one's, so loading and most of the first group are left out. CPU
seconds are those of the command, its children and the server, less those of the same command with one group.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil

from tests.bench.scene import ROOT
from tests.endpoint_server import answers
from ttsd.backbone import resolve

GROUP = 16
QUESTION = "micro:lists:6:61"
SERVE = "vllm.entrypoints.openai.api_server"


@contextmanager
def serving(model: str, length: int, log: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Gives address and process of a server of `model`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    options = ["--served-model-name", "m", "--host", "127.0.0.1", "--port", port, "--max-model-len", str(length)]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_TARGET_DEVICE": "cpu"}
    with log.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, "-m", SERVE, "--model", model, *options],
            env=environment, stdout=file, stderr=file, start_new_session=True,
        )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}/v1"
        while not answers(f"{url}/models"):
            assert server.poll() is None, log.read_text()[-2000:]
            time.sleep(0.5)
        yield url, psutil.Process(server.pid)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def cpu_seconds(server: psutil.Process) -> float:
    """Returns those of the server's processes so far."""
    times = [one.cpu_times() for one in (server, *server.children(recursive=True))]
    return float(sum(one.user + one.system for one in times))


def solve(folder: Path, attempts: int, settings: list[str], server: psutil.Process) -> tuple[float, float, int]:
    """Returns wall seconds of sampling and judging, CPU seconds of everything, and tokens, of one run."""
    folder.mkdir()
    chosen = [f"budget.attempts={attempts}", f"sampling.group_size={GROUP}", *settings]
    chosen += ["budget.continue_after_discovery=true"]
    command = [sys.executable, "-m", "ttsd", "solve", QUESTION, "--method", "best-of-k"]
    served, before = cpu_seconds(server), os.times()
    ended = subprocess.run(
        [*command, *(part for one in chosen for part in ("--set", one))],
        cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert ended.returncode in (0, 1), ended.stderr
    after = os.times()
    own = after.children_user + after.children_system - before.children_user - before.children_system
    with closing(sqlite3.connect(folder / "ttsd.sqlite")) as db:
        seconds = "(julianday(max(created)) - julianday(min(created))) * 86400"
        sql = f"select {seconds}, count(*), sum(completion_tokens) from attempts"
        wall, made, tokens = db.execute(sql).fetchone()
    assert made == attempts, f"{made} attempts"
    return wall, own + cpu_seconds(server) - served, tokens


def main() -> None:
    """Prints a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="micro")
    parser.add_argument("--attempts", type=int, default=64, help="of each run, in whole groups of 16")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--max-tokens", type=int, default=64)
    options = parser.parse_args()
    folder, model = Path(tempfile.mkdtemp(prefix="ttsd-endpoint-")), resolve(options.model)
    common = [f"sampling.max_tokens={options.max_tokens}", "model.max_model_len=2048"]
    with serving(model, 2048, folder / "served.txt") as (url, server):
        ways = {
            "endpoint": [f"model.path={url}", "model.name=m", *common],
            "built-in": [f"model.path={options.model}", "model.sampler=vllm", "model.kv_cache_gib=1", *common],
        }
        for number in range(options.rounds):
            for name, settings in ways.items():
                _, least, _ = solve(folder / f"{name}-{number}-least", GROUP, settings, server)
                wall, cpu, tokens = solve(folder / f"{name}-{number}", options.attempts + GROUP, settings, server)
                each = 1000 * (cpu - least) / options.attempts
                print(
                    f"{name}: {1000 * wall / options.attempts:.0f} ms wall, {each:.0f} ms CPU an attempt, "
                    f"{tokens / (options.attempts + GROUP):.1f} tokens; start and {GROUP} attempts {least:.1f} s CPU",
                    flush=True,
                )


if __name__ == "__main__":
    main()
