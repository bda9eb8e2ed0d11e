"""Trackers receive steps through the clients' own interfaces; a resumed run goes on with its curves."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.commands import ROOT, rows, ttsd
from tests.endpoint_server import Scripted, answer
from tests.fakes import attempt
from ttsd.config import load_config
from ttsd.errors import UserError
from ttsd.nouns import Status, Step, Verdict
from ttsd.running.trackers import PACKAGES, attempt_rows, open_tracker, step_values

pytestmark = pytest.mark.filterwarnings("ignore")  # the clients' own


FAILED = Verdict(Status.WRONG_ANSWER, 1, 2, 0, 0, feedback="secret")


def step_of(number: int) -> Step:
    return Step(number, (attempt(number, "answer", FAILED),), 1, (), {"loss": 0.5}, {"group": 2.0})


def test_a_step_is_numbers() -> None:
    assert step_values(step_of(1)) == {
        "loss": 0.5,
        "seconds/group": 2.0,
        "attempts": 1.0,
        "visible_fraction/mean": 0.5,
        "visible_fraction/best": 0.5,
        "discovered": 0.0,
    }


def test_a_table_has_answers_on_request_only() -> None:
    (row,) = attempt_rows(step_of(1), text=False)
    assert (row["attempt"], row["verdict"], row["share"]) == (1, "wrong_answer", 0.5)
    assert "secret" not in str(row)
    (longer,) = attempt_rows(step_of(1), text=True)
    assert longer == row | {"answer": step_of(1).attempts[0].completion.text}


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    return tmp_path


def twice(kind: str, folder: Path) -> None:
    """Shows a step, stops, and goes on with another step."""
    if find_spec(kind) is None:
        pytest.skip(f"{kind} is not installed")
    settings = load_config(None, [f"store.track={kind}", "store.track_text=true"]).store
    for number in (1, 2):
        tracker = open_tracker(settings, "run-1", "0123456789abcdef", {"lora": {"rank": 4}}, folder)
        tracker.log(step_of(number))
        tracker.close()


def test_tensorboard_has_every_step(offline: Path) -> None:
    twice("tensorboard", offline)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(offline / "tensorboard"))
    events.Reload()
    assert [(one.step, one.value) for one in events.Scalars("loss")] == [(1, 0.5), (2, 0.5)]


def test_a_resumed_run_is_the_same_run_of_wandb(offline: Path) -> None:
    twice("wandb", offline)
    files = list(offline.rglob("run-0123456789abcdef.wandb"))
    assert len(files) == 2
    assert len(list(offline.rglob("*.table.json"))) == 2


@pytest.mark.slow
def test_a_run_that_a_larger_budget_extends_goes_on_in_wandb(tmp_path: Path, impossible: str) -> None:
    if find_spec("wandb") is None:
        pytest.skip("wandb is not installed")
    with Scripted(answer("```python\nprint(0)\n```")).running() as server:
        settings = [f"model.path={server.url}", "model.name=m", "sampling.group_size=2", "store.track=wandb"]
        command = ["solve", impossible, "--method", "best-of-k", *(part for one in settings for part in ("--set", one))]
        for budget in ("4", "6"):
            ended = ttsd(*command, "--budget", budget, cwd=tmp_path, WANDB_MODE="offline")
            assert ended.returncode == 1, ended.stderr
    ((tracker_id,),) = rows(tmp_path / "ttsd.sqlite", "select tracker_id from runs")
    starts = [file.parent for file in tmp_path.rglob(f"run-{tracker_id}.wandb")]
    tables = [[json.loads(table.read_text()) for table in start.rglob("*.table.json")] for start in starts]
    numbers = [sorted(row[one["columns"].index("attempt")] for one in ones for row in one["data"]) for ones in tables]
    assert sorted(numbers) == [[1, 2, 3, 4], [5, 6]]  # each start sends its own attempts
    assert {row[one["columns"].index("tokens")] for ones in tables for one in ones for row in one["data"]} == {40}
    assert len(list(tmp_path.rglob("*.wandb"))) == 2


def test_a_resumed_run_is_the_same_run_of_trackio(offline: Path) -> None:
    import subprocess

    if find_spec("trackio") is None:
        pytest.skip("trackio is not installed")
    code = "from tests.test_trackers import twice; from pathlib import Path; twice('trackio', Path())"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    ((name,),) = rows_of(offline, "select distinct run_name from metrics")
    assert name == "run-1 0123456789abcdef"
    metrics = [json.loads(text) for (text,) in rows_of(offline, "select metrics from metrics order by step")]
    assert [one["loss"] for one in metrics] == [0.5, 0.5]
    assert [one["attempt_table"]["_value"][0]["attempt"] for one in metrics] == [1, 2]
    assert all(one["attempt_table"]["_value"][0]["answer"] for one in metrics)


def rows_of(folder: Path, sql: str) -> list[tuple[str, ...]]:
    (file,) = (folder / "trackio").glob("*.db")
    with closing(sqlite3.connect(file)) as db:
        return db.execute(sql).fetchall()


def test_a_missing_client_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGES, "wandb", "no_such_client")
    with pytest.raises(UserError, match="pip install wandb"):
        open_tracker(load_config(None, ["store.track=wandb"]).store, "run-1", "id", {}, tmp_path)


def test_no_tracker_is_the_default(tmp_path: Path) -> None:
    tracker = open_tracker(load_config(None, []).store, "run-1", "id", {}, tmp_path)
    tracker.log(step_of(1))
    tracker.close()
    assert list(tmp_path.iterdir()) == []
