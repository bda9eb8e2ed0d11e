"""Questions that several test modules ask."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ttsd.cli.start import yield_cores_soon

yield_cores_soon()  # before any test imports torch
# Commands that compute side by side share the cores: with all cores each, the same work takes 1.7 times as long.
if side_by_side := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // int(side_by_side))))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A question of the user's own: print the sum of two numbers."""
    problem = tmp_path / "sum"
    problem.mkdir()
    (problem / "statement.md").write_text("# Sum\n\nPrint the sum of the two numbers.\n")
    (problem / "cases.toml").write_text(
        '[[case]]\ninput = "1 2\\n"\nexpected = "3\\n"\n[[case]]\ninput = "5 6\\n"\nexpected = "11\\n"\n'
    )
    return problem


@pytest.fixture
def impossible(tmp_path: Path) -> str:
    """A question without an answer: equal inputs, different outputs."""
    folder = tmp_path / "impossible"
    folder.mkdir()
    (folder / "statement.md").write_text("# Impossible\n\nRead a name and a number n, one on each line.\nred: grow\n")
    cases = '[[case]]\ninput = "red\\n1\\n"\nexpected = "{}\\n"\n'
    (folder / "cases.toml").write_text(cases.format("no") + cases.format("never"))
    return str(folder)
