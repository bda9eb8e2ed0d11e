"""Makes the sandbox and the limits that the `judge` section of a configuration asks for."""

from __future__ import annotations

import os

from sandbox import Limits, Sandbox
from ttsd.config import Config


def open_sandbox(config: Config, *, spare: int = 0) -> Sandbox:
    """Returns the sandbox that the configuration asks for, not yet started; by default `spare` cores are left free."""
    settings = config.judge
    slots = settings.slots or max(1, len(os.sched_getaffinity(0)) - spare)
    return Sandbox(slots=slots, python=settings.python, packages=settings.packages, unsafe=settings.unsafe_no_sandbox)


def limits_of(config: Config) -> Limits:
    """Returns the limits of a program whose question has none of its own."""
    settings = config.judge
    return Limits(
        cpu_seconds=settings.cpu_seconds,
        wall_seconds=settings.wall_seconds,
        program_wall_seconds=settings.wall_seconds,
        memory_bytes=settings.memory_mib << 20,
        output_bytes=settings.output_mib << 20,
    )
