"""Asks `ttsd solve`, `batch` and `probe` to stop in every phase, starts them again, and checks the database each time.

    python -m tests.bench.stop_many [--times 30] [--vllm-times 15] [--budget 64] [--seed 0] [--folder DIR]

SIGTERM goes to the whole process group, as `timeout`, schedulers and `docker stop` send it (each fifth time SIGINT, as
Ctrl-C). Each time the command must say one sentence and end with 143 (130), and the database must be as `scene.py`
demands it; at the end the commands run to their end, with every attempt once.
"""

from __future__ import annotations

import os
import signal
from subprocess import Popen

from tests.bench.scene import Broken, Scene, campaign


def stop(scene: Scene, phase: str, seconds: float = 0.0, number: int = 0) -> Broken:
    wanted = signal.SIGINT if number % 5 == 4 else signal.SIGTERM

    def ask(process: Popen[bytes]) -> None:
        os.killpg(process.pid, wanted)

    broken = scene.break_off(phase, ask, seconds)
    assert broken.status == 128 + wanted, f"exit status {broken.status}: {scene.said}"
    (*_, last) = scene.said.read_text().splitlines()
    assert last in ("ttsd: stopped", "ttsd: stopped; everything is on disk, and the same command resumes"), last
    return broken


if __name__ == "__main__":
    campaign("Asks commands to stop in every phase.", stop)
