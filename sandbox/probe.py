"""What holds on this machine, row by row, for people to read."""

from __future__ import annotations

import asyncio

from sandbox import canaries
from sandbox.canaries import Row
from sandbox.interface import SandboxFault
from sandbox.pool import Sandbox


def probe(python: str | None = None) -> list[Row]:
    """Starts a sandbox of one slot and tries to break out of it. Must not be called inside a running event loop."""
    return asyncio.run(_probe(python))


async def _probe(python: str | None) -> list[Row]:
    sandbox = Sandbox(slots=1, python=python)
    try:
        await sandbox.start()
        return [Row("confined by", True, sandbox.tier), *await canaries.rows(sandbox.once)]
    except SandboxFault as fault:
        return [Row("confined by", False, str(fault))]
    finally:
        sandbox.stop()
