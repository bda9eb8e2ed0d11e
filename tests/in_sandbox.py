"""What tests of the sandbox share."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from sandbox import Limits, Outcome, Program, Sandbox
from tests.attacks.world import descendants

CHECKOUT = Path(__file__).parents[1]
NOBODY = 65534
SMALL = Limits(cpu_seconds=5.0, wall_seconds=30.0, memory_bytes=1 << 28, output_bytes=1 << 20)


async def outcomes(box: Sandbox, program: Program, inputs: list[bytes], limits: Limits = SMALL) -> list[Outcome]:
    return [outcome async for outcome in box.run(program, inputs, limits)]


async def settled(box: Sandbox) -> None:
    """Until no process but the zygotes is left."""
    async with asyncio.timeout(10):
        while any(map(descendants, box.zygotes)):
            await asyncio.sleep(0.01)


def lives(pid: int) -> bool:
    """A zombie, which only waits for somebody to ask how it ended, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def interpreter_for_all() -> str:
    """One of at least Python 3.11 that nobody in particular can start."""
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        check = [python, "-c", "import asyncio, sys; sys.exit(sys.version_info < (3, 11))"]
        try:
            if subprocess.run(check, user=NOBODY, group=NOBODY, capture_output=True, cwd="/").returncode == 0:
                return python
        except OSError:
            continue
    return ""
