"""Trackers receive numbers only, once a step, through the clients' own interfaces."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.fakes import attempt
from ttsd.errors import UserError
from ttsd.nouns import Status, Step, Verdict
from ttsd.running.trackers import PACKAGES, open_tracker, step_values

pytestmark = pytest.mark.filterwarnings("ignore")  # the clients' own


def test_a_step_is_numbers() -> None:
    failed = attempt(1, "secret program", Verdict(Status.WRONG_ANSWER, 1, 2, 0, 0, feedback="secret"))
    values = step_values(Step(1, (failed,), 1, (), {"loss": 0.5}, {"group": 2.0}))
    assert values == {
        "loss": 0.5,
        "seconds/group": 2.0,
        "attempts": 1.0,
        "visible_fraction/mean": 0.5,
        "visible_fraction/best": 0.5,
        "discovered": 0.0,
    }


@pytest.mark.parametrize("kind", PACKAGES)
def test_clients_take_what_they_receive(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec(kind) is None:
        pytest.skip(f"{kind} is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    tracker = open_tracker(kind, "run-1", {"lora": {"rank": 4}}, tmp_path)
    for step in (1, 2):
        tracker.log({"loss": 1.0 / step}, step)
    tracker.close()
    assert any(path.is_file() for path in tmp_path.rglob("*"))


def test_a_missing_client_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGES, "wandb", "no_such_client")
    with pytest.raises(UserError, match="pip install wandb"):
        open_tracker("wandb", "run-1", {}, tmp_path)


def test_no_tracker_is_the_default(tmp_path: Path) -> None:
    tracker = open_tracker("none", "run-1", {}, tmp_path)
    tracker.log({"loss": 1.0}, 1)
    tracker.close()
    assert list(tmp_path.iterdir()) == []
