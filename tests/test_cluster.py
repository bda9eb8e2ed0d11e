"""A batch over Ray: two engines on this machine, one of them killed on the way; every attempt is there once."""

from __future__ import annotations

import json
import os
import signal
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.commands import GAPS, SETTINGS, attempts, finish, rows, start

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason='ray is not installed: pip install "ttsd[ray]"')
METHODS = ["--methods", "sdpo,best-of-k", "--seeds", "2"]
QUESTION = "micro:numbers:8:1"


def workers(folder: Path) -> list[int]:
    """Processes of ours that are engines: an actor works in the folder of its driver."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if "ray::Worker" in (process / "cmdline").read_text() and (process / "cwd").readlink() == folder:
                found.append(int(process.name))
        except OSError:
            continue
    return sorted(found)


@needs_ray
@pytest.mark.slow
def test_a_batch_survives_a_lost_worker(tmp_path: Path) -> None:
    database, budget = tmp_path / "ttsd.sqlite", 24
    wanted = ["--set", f"budget.attempts={budget}", "--set", "budget.continue_after_discovery=true"]
    command = ["batch", QUESTION, *METHODS, *SETTINGS, *wanted, "--at-once", "2", "--json"]
    process = start(*command, "--ray", "local", "--ray-workers", "2", cwd=tmp_path)
    while attempts(database) < 12 or len({row[0] for row in rows(database, "select run from attempts")}) < 4:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    engines = workers(tmp_path)
    assert len(engines) == 2
    os.kill(engines[0], signal.SIGKILL)
    before = rows(database, "select run, attempt, created from attempts")
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "is lost" in err
    assert [run["attempts"] for run in json.loads(out)["runs"]] == [budget] * 4
    assert rows(database, GAPS) == []
    assert len(rows(database, "select run from runs")) == 4
    assert set(before) <= set(rows(database, "select run, attempt, created from attempts"))
    assert workers(tmp_path) == []

    status, _, err = finish(*command, cwd=tmp_path)  # the same batch, without Ray
    assert status == 0, err
    assert "0 runs to do, 4 done before" in err


@needs_ray
def test_an_address_without_a_cluster_is_the_users_mistake(tmp_path: Path) -> None:
    status, out, err = finish("batch", QUESTION, *SETTINGS, "--ray", "nowhere", cwd=tmp_path)
    assert (status, out) == (2, ""), err
    assert "'nowhere'" in err.splitlines()[-1]
    assert "--ray local" in err


def test_workers_without_ray_are_the_users_mistake(tmp_path: Path) -> None:
    status, _, err = finish("batch", QUESTION, *SETTINGS, "--ray-workers", "2", cwd=tmp_path)
    assert status == 2
    assert "needs --ray" in err
