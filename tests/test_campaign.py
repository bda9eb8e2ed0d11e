"""The scripts behind the evidence on real models: the questions they write, and the commands they run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import gpu_campaign
from tests.bench.changed_questions import changed_program
from tests.records import attempt, begin, failed, passed
from ttsd.nouns import Step
from ttsd.record.store import Store

SOURCE = """
def helper(x):
    return x

def f(x):
    def inside(y):
        return y
    for _ in x:
        return inside(x) if x else 0
    return helper(x)
"""


def test_a_changed_program_returns_changed_values_from_everywhere_but_inner_functions() -> None:
    program = changed_program(SOURCE, "f", "{} + 1")
    assert program is not None
    assert "return (inside(x) if x else 0) + 1" in program
    assert "return helper(x) + 1" in program
    assert program.count("+ 1") == 2


def test_a_program_that_calls_itself_is_not_changed() -> None:
    assert changed_program("def f(x):\n    return f(x - 1) if x else 0\n", "f", "{} + 1") is None


def test_the_campaign_is_five_commands_that_any_user_can_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training, testing = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    row = {"task_id": 1, "text": "Add one.", "code": "def add(x):\n    return x + 1", "test_setup_code": ""}
    training.write_text(json.dumps({**row, "test_list": ["assert add(1) == 2"], "challenge_test_list": []}) + "\n")
    testing.write_text(
        json.dumps({"question_id": "q", "question_title": "q", "question_content": "", "starter_code": ""})
    )
    words = [str(training), str(testing), "-m", "a/model", "--out", str(tmp_path / "out"), "--dry-run"]
    gpu_campaign.main(words)
    commands = [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("ttsd")]
    assert commands == ["batch", "warm-up", "batch", "report", "batch", "report"]


def test_the_control_runs_for_methods_that_found_more_than_independent_attempts(tmp_path: Path) -> None:
    database = tmp_path / "runs.sqlite"
    with Store(database, tmp_path / "state") as store:
        for method in ("best-of-k", "multi-turn", "sdpo"):
            run = begin(store, method=method)
            verdict = passed() if method == "sdpo" else failed()
            store.add_step(run, Step(1, (attempt(1, verdict=verdict),), 1), None, {})
    assert gpu_campaign.winners(database) == ["sdpo"]
