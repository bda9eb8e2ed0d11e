"""Makes the sandbox and the limits that the `judge` section of a configuration asks for."""

from __future__ import annotations

import os

from problems.problem import Problem, ProblemError
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


def check_limits(problem: Problem, config: Config) -> None:
    """Checks what a question asks for. ProblemError: it is more than the settings let any question have."""
    settings = config.judge
    asked = {
        "time_limit_seconds": (problem.time_limit_seconds, "max_question_seconds", settings.max_question_seconds),
        "memory_limit_mib": (problem.memory_limit_mib, "max_question_mib", settings.max_question_mib),
    }
    for name, (value, setting, most) in asked.items():
        if value is not None and value > most:
            raise ProblemError(
                f"{problem.name} asks for {name} = {value:g}, and no question may have more than {most:g}: lower it, "
                f"or raise judge.{setting}"
            )
