"""The whole loop as a user runs it: real sampler, real sandbox, real gradient steps, real SQLite."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.commands import ROOT, attempts, finish, group, refused, rows, start, ttsd, wait_for, wait_until_gone

pytestmark = pytest.mark.slow  # each starts an engine
EASY = "micro:numbers:2:3"
FAST = ["--config", "micro", "--set", "model.sampler=transformers", "--set", "sampling.group_size=4"]


def test_the_bundled_model_learns_on_vllm_and_the_program_is_right(tmp_path: Path) -> None:
    settings = ["--config", "micro", "--set", "sampling.group_size=4", "--budget", "400", "--set", "model.sampler=vllm"]
    status, out, err = finish("solve", EASY, *settings, "--json", cwd=tmp_path)
    assert status == 0, err
    answer = json.loads(out.splitlines()[-1])
    assert (answer["question"], answer["method"], answer["seed"], answer["discovered"]) == (
        EASY,
        "multi-turn+sdpo",
        0,
        True,
    )
    numbers = rows(tmp_path / "ttsd.sqlite", "select attempt, discovered, verdict from attempts order by attempt")
    assert [row[0] for row in numbers] == list(range(1, answer["attempts"] + 1))
    assert answer["discovery_attempt"] == min(int(str(row[0])) for row in numbers if row[1])
    (tmp_path / "found.py").write_text(answer["program"])
    status, out, _ = finish("judge", EASY, "found.py", "--json", cwd=tmp_path)
    assert (status, json.loads(out)["accepted"]) == (0, True)


def test_a_spent_budget_leaves_every_attempt_its_feedback_and_the_steps(tmp_path: Path, impossible: str) -> None:
    budget = ["--set", "budget.attempts=8"]
    status, out, err = finish("solve", impossible, *FAST, *budget, cwd=tmp_path)
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
    assert "resumed after" in err
    after = rows(database, "select attempt, program, created from attempts order by attempt")
    assert [row[0] for row in after] == list(range(1, budget + 1))
    assert set(before) <= set(after)
    assert rows(database, "select count(*) from runs") == [(1,)]
    steps = rows(database, "select step, attempts, adapter_version from steps order by step")
    assert [row[0] for row in steps] == [row[2] for row in steps] == list(range(1, len(steps) + 1))
    assert sum(int(str(row[1])) for row in steps) == budget


def test_other_settings_are_another_run(tmp_path: Path, impossible: str) -> None:
    command = ["solve", impossible, *FAST, "--set", "budget.attempts=100000"]
    process = start(*command, cwd=tmp_path)
    wait_for(process, tmp_path / "ttsd.sqlite", 1)
    process.kill()
    process.communicate()
    status, _, err = finish(*command[:-1], "budget.attempts=2", "--set", "lora.lr=0.5", cwd=tmp_path)
    assert status == 1, err
    assert rows(tmp_path / "ttsd.sqlite", "select count(*) from runs") == [(2,)]


def test_the_end_is_a_sentence_and_a_finished_command_is_not_repeated(tmp_path: Path, impossible: str) -> None:
    command = ["solve", impossible, *FAST, "--method", "best-of-k", "--json", "--set"]
    status, out, err = finish(*command, "budget.attempts=4", cwd=tmp_path)
    assert (status, json.loads(out)["ended"]) == (1, "attempts")
    assert err.splitlines()[-1] == (
        f"budget spent: 4 attempts, best 0% of the visible cases, run 1 of {tmp_path / 'ttsd.sqlite'}; "
        "look closer: ttsd show 1"
    )
    assert f"run 1: {impossible} best-of-k seed 0" in err.splitlines()
    again, repeated, err = finish(*command, "budget.attempts=4", cwd=tmp_path)
    assert (again, repeated) == (1, out)
    assert "nothing is left to do; --set budget.attempts=N extends it, --fresh starts another run" in err
    status, out, _ = finish(*command, "budget.attempts=64", "--set", "budget.tokens=1", cwd=tmp_path)
    answer = json.loads(out)
    assert (status, answer["run"], answer["attempts"], answer["ended"]) == (1, 1, 4, "tokens")


def test_a_tracker_that_cant_start_leaves_no_run(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['wandb'] = None\n")
    ended = ttsd("solve", EASY, *FAST, "--set", "store.track=wandb", cwd=tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert "pip install wandb" in refused(ended)
    assert not list(tmp_path.glob("*.sqlite"))


def test_a_judge_that_fails_on_one_attempt_loses_no_other_and_can_be_corrected(tmp_path: Path) -> None:
    folder = tmp_path / "short"
    folder.mkdir()
    (folder / "statement.md").write_text("Write a short program.")
    (folder / "problem.toml").write_text('judge = "judge.py:score"\n')
    judge = folder / "judge.py"
    body = "    if count == 7:\n        raise KeyError('colour')\n    return 0.25, f'{count} attempts'\n"
    judge.write_text(f"count = 0\ndef score(answer):\n    global count\n    count += 1\n{body}")
    command = ["solve", "./short", *FAST, "--method", "multi-turn", "--budget", "16", "--set", "judge.slots=1"]
    status, out, err = finish(*command, cwd=tmp_path)
    assert (status, out) == (2, ""), err
    assert "KeyError: 'colour') on the answer '" in err
    database = tmp_path / "ttsd.sqlite"
    before = rows(database, "select attempt, program, created from attempts order by attempt")
    assert len(before) == 6
    judge.write_text("def score(answer):\n    return 0.25, 'shorter'\n")
    status, out, err = finish(*command, cwd=tmp_path)
    assert (status, out) == (1, ""), err
    after = rows(database, "select attempt, program, created from attempts order by attempt")
    assert after[:6] == before
    assert [row[0] for row in after] == list(range(1, 17))
