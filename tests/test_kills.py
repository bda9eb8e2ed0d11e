"""Killed in any phase, `solve` and `batch` lose no attempt, repeat none and go on from the weights they had.

`python -m tests.bench.scene kill` does the same 30 times, with vLLM too.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.scene import kill, scenes


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1], ids=["solve", "batch"])
def test_a_killed_command_goes_on(tmp_path: Path, which: int) -> None:
    scene = scenes(tmp_path, "transformers", 24)[which]
    for phase in ("loading", ("learning", "saving")[which]):
        kill(scene, phase)
    scene.finish()
    assert len(scene.attempts) == 24 * len(scene.rows("select run from runs"))
