"""A database that an earlier version wrote is read, resumed and reported.

`golden/record-before-rounds.sql` is a dump of three runs as the first version of the schema's third migration left
them: an sdpo run at its end, and a best-of-k and a multi-turn run that were killed in the middle of their eight
attempts.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.commands import finish, rows
from ttsd.config import recorded_config
from ttsd.config.setting import written
from ttsd.record.store import Store
from ttsd.reporting.report import build_report

DUMP = Path(__file__).parent / "golden" / "record-before-rounds.sql"
QUESTION = "micro:numbers:5:7"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "old.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(DUMP.read_text("utf-8"))
    return path


@pytest.mark.slow
def test_an_old_record_is_read_and_reported(database: Path, tmp_path: Path) -> None:
    with Store(database) as store:
        states = {row["method"]: (row["status"], row["attempts"]) for row in store.overview()}
        assert states == {
            "sdpo": ("attempts spent", 8),
            "best-of-k": ("interrupted", 3),
            "multi-turn": ("interrupted", 3),
        }
        assert [rollout.round for rollout in store.rollouts(1)] == [rollout.step for rollout in store.rollouts(1)]
        assert store.spent(1).seconds > 0
        build_report(store, tmp_path / "report")
    summary = json.loads((tmp_path / "report" / "report.json").read_text())
    assert {"sdpo", "best-of-k", "multi-turn"} <= set(json.dumps(summary).replace('"', " ").split())


@pytest.mark.slow
@pytest.mark.parametrize(("run", "method"), [(2, "best-of-k"), (3, "multi-turn")])
def test_an_old_run_is_resumed_with_every_attempt_once(database: Path, tmp_path: Path, run: int, method: str) -> None:
    with Store(database) as store:
        settings = recorded_config(store.run(run)["config"]).model_dump()
    tables = [
        f"[{section}]\n" + "".join(f"{name} = {written(value)}\n" for name, value in table.items())
        for section, table in settings.items()
    ]
    (tmp_path / "mine.toml").write_text("\n".join(tables), "utf-8")
    before = set(rows(database, "select run, attempt, program, created from attempts"))
    status, out, err = finish(
        "solve", QUESTION, "--method", method, "--seed", "1", "-c", "mine.toml", "--json", cwd=tmp_path
    )
    assert status in (0, 1), err
    answer = json.loads(out)
    assert (answer["run"], rows(database, "select count(*) from runs")) == (run, [(3,)])
    assert answer["discovered"] or answer["attempts"] == 8
    numbers = rows(database, f"select attempt from attempts where run = {run} order by attempt")
    assert numbers == [(n,) for n in range(1, answer["attempts"] + 1)]
    assert before <= set(rows(database, "select run, attempt, program, created from attempts"))
