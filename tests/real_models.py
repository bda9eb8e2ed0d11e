"""Real pretrained models, where a script beside the checkout builds them: a fresh clone has none and its tests skip."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

FETCH = Path(__file__).parents[2] / "shared" / "models" / "fetch"


@cache
def smollm2() -> Path:
    """The folder of SmolLM2-135M-Instruct; beside it lies the GGUF file that it was made of. Built once a machine."""
    if not FETCH.is_file():
        pytest.skip(f"no real pretrained model: {FETCH} is not there")
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ttsd" / "tests" / "smollm2-135m"
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(FETCH), "smollm2-135m", str(folder), "--python", sys.executable]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        pytest.skip(f"{FETCH} made no model, but ended with {ended.stderr.strip().splitlines()[-1:]}")
    return folder
