"""The whole ring as a user runs it: real sampler, real sandbox, real gradient steps, real SQLite."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EASY = "micro:numbers:2:3"
FAST = ["--config", "micro-cpu", "--set", "model.sampler=transformers", "--set", "sampling.group_size=4"]


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ttsd", *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )


def finish(*arguments: str, cwd: Path) -> tuple[int, str, str]:
    process = start(*arguments, cwd=cwd)
    out, err = process.communicate()
    return process.returncode, out, err


def rows(database: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        return db.execute(sql).fetchall()


def attempts(database: Path) -> int:
    try:
        return int(str(rows(database, "select count(*) from attempts")[0][0]))
    except sqlite3.OperationalError:
        return 0


def wait_for(process: subprocess.Popen[str], database: Path, count: int) -> None:
    """Until `count` attempts are on disk."""
    while attempts(database) < count:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


def group(process: subprocess.Popen[str]) -> list[str]:
    """What is alive in the session that `process` leads."""
    listed = subprocess.run(
        ["ps", "-o", "stat=,cmd=", "-s", str(process.pid)], capture_output=True, text=True, check=False
    )
    return [line for line in listed.stdout.splitlines() if not line.startswith("Z")]


@pytest.fixture
def impossible(tmp_path: Path) -> str:
    """A question without an answer: equal inputs, different outputs."""
    folder = tmp_path / "impossible"
    folder.mkdir()
    (folder / "statement.md").write_text("# Impossible\n\nRead a name and a number n, one on each line.\nred: grow\n")
    cases = '[[case]]\ninput = "red\\n1\\n"\nexpected = "{}\\n"\n'
    (folder / "cases.toml").write_text(cases.format("no") + cases.format("never"))
    return str(folder)


def test_the_bundled_model_learns_on_vllm_and_the_program_is_right(tmp_path: Path) -> None:
    settings = ["--config", "micro-cpu", "--set", "sampling.group_size=4", "--set", "budget.attempts=400"]
    status, out, err = finish("solve", EASY, *settings, "--json", cwd=tmp_path)
    assert status == 0, err
    answer = json.loads(out.splitlines()[-1])
    assert (answer["question"], answer["method"], answer["seed"], answer["discovered"]) == (EASY, "sdpo", 0, True)
    numbers = rows(tmp_path / "ttsd.sqlite", "select attempt, discovered, verdict from attempts order by attempt")
    assert [row[0] for row in numbers] == list(range(1, answer["attempts"] + 1))
    assert answer["discovery_attempt"] == min(int(str(row[0])) for row in numbers if row[1])
    (tmp_path / "found.py").write_text(answer["program"])
    status, out, _ = finish("judge", EASY, "found.py", "--json", cwd=tmp_path)
    assert (status, json.loads(out)["accepted"]) == (0, True)


def test_a_spent_budget_leaves_every_attempt_its_feedback_and_the_steps(tmp_path: Path, impossible: str) -> None:
    status, out, err = finish("solve", impossible, *FAST, "--set", "budget.attempts=8", cwd=tmp_path)
    assert (status, out) == (1, ""), err
    database = tmp_path / "ttsd.sqlite"
    assert rows(database, "select attempt from attempts order by attempt") == [(n,) for n in range(1, 9)]
    assert rows(database, "select count(*) from attempts where feedback = '' or verdict = 'accepted'") == [(0,)]
    assert rows(database, "select step, adapter_version, loss > 0 from steps") == [(1, 1, 1), (2, 2, 1)]
    assert rows(database, "select status from runs") == [("exhausted",)]


def test_interrupted_and_killed_runs_go_on_with_every_attempt_once(tmp_path: Path, impossible: str) -> None:
    database = tmp_path / "ttsd.sqlite"
    command = ["solve", impossible, *FAST, "--set"]
    process = start(*command, "budget.attempts=100000", cwd=tmp_path)
    wait_for(process, database, 6)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert group(process) == []
    before = rows(database, "select attempt, program, created from attempts order by attempt")

    process = start(*command, "budget.attempts=100000", cwd=tmp_path)
    wait_for(process, database, len(before) + 9)
    process.kill()
    process.communicate()
    wait_until_gone(process)

    budget = attempts(database) + 10
    status, _, err = finish(*command, f"budget.attempts={budget}", cwd=tmp_path)
    assert status == 1, err
    assert "going on after" in err
    after = rows(database, "select attempt, program, created from attempts order by attempt")
    assert [row[0] for row in after] == list(range(1, budget + 1))
    assert set(before) <= set(after)
    assert rows(database, "select count(*) from runs") == [(1,)]
    steps = rows(database, "select step, attempts, adapter_version from steps order by step")
    assert [row[0] for row in steps] == list(range(1, len(steps) + 1)) == [row[2] for row in steps]
    assert sum(int(str(row[1])) for row in steps) == budget


def test_other_settings_are_refused_for_a_run_that_was_broken_off(tmp_path: Path, impossible: str) -> None:
    command = ["solve", impossible, *FAST, "--set", "budget.attempts=100000"]
    process = start(*command, cwd=tmp_path)
    wait_for(process, tmp_path / "ttsd.sqlite", 1)
    process.kill()
    process.communicate()
    status, _, err = finish(*command, "--set", "lora.lr=0.5", cwd=tmp_path)
    assert status == 2
    assert "lora.lr (0.003 before, now 0.5)" in err
    assert "--fresh" in err


def wait_until_gone(process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 20
    while left := group(process):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
