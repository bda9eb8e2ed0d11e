"""Kills `ttsd solve`, `batch` and `probe` in every phase, starts them again, and checks the database after each death.

    python -m tests.bench.kill_many [--times 30] [--vllm-times 15] [--budget 64] [--seed 0] [--folder DIR]

What must hold then, and how a phase is seen from outside: `scene.py`.
"""

from __future__ import annotations

import signal
from subprocess import Popen

from tests.bench.scene import Broken, Scene, campaign


def kill(scene: Scene, phase: str, seconds: float = 0.0, number: int = 0) -> Broken:
    broken = scene.break_off(phase, Popen.kill, seconds)
    assert broken.status in (-signal.SIGKILL, 0, 1), f"it had ended by itself with {broken.status}: {scene.said}"
    return broken


if __name__ == "__main__":
    campaign("Kills commands in every phase.", kill)
