"""Every hostile program of tests/attacks fails to do what it tries, in every set-up. How that is seen: runner.py."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox import landlock
from tests.attacks.runner import PROMISES
from tests.in_sandbox import CHECKOUT, NOBODY, interpreter_for_all

SETUPS = ["landlock", "no-landlock", "unprivileged", "container"]
ATTACKS = [
    f"{promise}: {name}"
    for promise in [*PROMISES, "availability"]
    for name in importlib.import_module(f"tests.attacks.{promise}").PROGRAMS
]

Complaints = dict[str, list[str]]


@pytest.fixture(scope="module")
def complaints() -> Iterator[dict[str, Complaints | str]]:
    """For each set-up the complaints by attack, or the reason why it can't be had here. They run side by side."""
    place = Path(tempfile.mkdtemp(prefix="sandbox-"))
    place.chmod(0o755)  # readable for a user who may not enter this checkout
    for package in ("sandbox", "tests/attacks"):
        shutil.copytree(CHECKOUT / package, place / package, ignore=shutil.ignore_patterns("__pycache__"))
    running = {setup: start(setup, place) for setup in SETUPS}
    yield {setup: run if isinstance(run, str) else finish(run) for setup, run in running.items()}
    shutil.rmtree(place)


def start(setup: str, place: Path) -> subprocess.Popen[bytes] | str:
    """The runner at work, or why it can't be."""
    kind = "landlock" if landlock.version() and setup != "no-landlock" else "no-landlock"
    python, who = sys.executable, list[str]()
    if setup == "landlock" and kind != setup:
        return "this kernel has no Landlock"
    if setup in ("container", "unprivileged"):
        if os.geteuid() != 0:
            return "these tests do not run as root: the other set-ups are unprivileged already"
        python, who = (python, ["container"]) if setup == "container" else (interpreter_for_all(), [str(NOBODY)])
        if not python:
            return "there is no interpreter that everybody may read"
    command = [python, str(place / "tests/attacks/runner.py"), str(place), kind, *who]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/")


def finish(run: subprocess.Popen[bytes]) -> Complaints:
    answer, errors = run.communicate(timeout=300)
    assert run.returncode == 0, errors.decode()
    found: Complaints = json.loads(answer)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["the set-up", *ATTACKS])
@pytest.mark.parametrize("setup", SETUPS)
def test_attack_fails(setup: str, name: str, complaints: dict[str, Complaints | str]) -> None:
    found = complaints[setup]
    if isinstance(found, str):
        pytest.skip(found)
    assert found[name] == []
