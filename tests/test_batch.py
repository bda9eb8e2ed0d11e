"""Many runs on one engine: nothing repeated, nothing lost, and a fault stays with its run."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from problems.problem import ProblemError
from problems.subsets import questions
from tests.commands import GAPS, SETTINGS, attempts, finish, rows, start, wait_for, wait_until_gone
from ttsd.config import Config
from ttsd.record.resume import Job, unfinished
from ttsd.record.store import Store
from ttsd.running.tasks import plan


def test_the_plan_goes_seed_by_seed() -> None:
    assert [one.job for one in plan(["a", "b"], ["sdpo", "best-of-k"], 2, Config())][:5] == [
        Job("a", "sdpo", 0),
        Job("a", "best-of-k", 0),
        Job("b", "sdpo", 0),
        Job("b", "best-of-k", 0),
        Job("a", "sdpo", 1),
    ]


def test_each_window_is_a_baseline_of_its_own_and_best_of_k_spends_its_budget() -> None:
    planned = plan(["a"], ["multi-turn", "best-of-k"], 1, Config(), [1, 4])
    assert [str(one) for one in planned] == [
        "a multi-turn (window 1) seed 0",
        "a multi-turn (window 4) seed 0",
        "a best-of-k seed 0",
    ]
    assert [one.config.reprompt.multi_turn_window for one in planned] == [1, 4, None]
    assert [one.config.budget.continue_after_discovery for one in planned] == [False, False, True]


def test_what_the_teacher_draws_makes_another_arm_of_sdpo_alone(tmp_path: Path) -> None:
    planned = plan(["a"], ["sdpo", "grpo"], 1, Config(), fractions=[0.0, 0.25])
    assert [str(one) for one in planned] == ["a sdpo seed 0", "a sdpo (teacher draws 25%) seed 0", "a grpo seed 0"]
    with Store(tmp_path / "a.sqlite") as store:
        for one in planned[:2]:
            number = store.new_run(
                **asdict(one.job), model="m", config=one.config.model_dump(), split={}, environment={}
            )
            store.finish(number, "attempts")
        arms = [unfinished(store, one.job, one.config) for one in planned]
        assert [arm and arm["run"] for arm in arms] == [1, 2, None]


@pytest.mark.slow
def test_a_killed_batch_goes_on_and_a_finished_one_is_not_repeated(tmp_path: Path, impossible: str) -> None:
    database = tmp_path / "ttsd.sqlite"
    methods = ["--methods", "sdpo,best-of-k,multi-turn,grpo", "--seeds", "2"]
    command = ["batch", impossible, *methods, *SETTINGS, "--set", "budget.attempts=10", "--json"]
    process = start(*command, cwd=tmp_path)
    wait_for(process, database, 30)
    process.kill()
    process.communicate()
    wait_until_gone(process)
    before = rows(database, "select run, attempt, created from attempts")

    status, out, err = finish(*command, cwd=tmp_path)
    assert status == 0, err
    answer = json.loads(out)
    assert [run["attempts"] for run in answer["runs"]] == [10] * 8
    assert set(answer["usage"]["busy"]) == {"sample", "judge", "train"}
    assert "runs at once (limit: there are no more)" in err
    assert "busy of" in err
    assert rows(database, GAPS) == []
    assert set(before) <= set(rows(database, "select run, attempt, created from attempts"))

    status, out, err = finish(*command, cwd=tmp_path)
    assert (status, attempts(database)) == (0, 80), err
    assert "0 runs to do, 8 done before" in err


@pytest.mark.slow
def test_a_run_that_fails_harms_no_other_and_a_larger_budget_goes_on(tmp_path: Path, impossible: str) -> None:
    database = tmp_path / "ttsd.sqlite"
    command = ["batch", impossible, "--methods", "sdpo,best-of-k", *SETTINGS, "--json"]
    assert finish(*command, "--set", "budget.attempts=4", cwd=tmp_path)[0] == 0
    shutil.rmtree(next((tmp_path / "ttsd.sqlite.state").glob("run-*/step-1")))
    status, out, _ = finish(*command, "--set", "budget.attempts=8", cwd=tmp_path)
    assert status == 3
    answer = json.loads(out)
    assert "--fresh" in answer["failed"][0]["error"]
    assert [(run["method"], run["attempts"]) for run in answer["runs"]] == [("best-of-k", 8)]
    assert rows(database, GAPS) == []


def test_subsets_are_names_files_or_questions(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('questions = ["micro:numbers:2:1", "micro:numbers:2:2"]\n')
    assert questions([str(file), "micro:numbers:2:1"]) == ["micro:numbers:2:1", "micro:numbers:2:2"]
    assert questions(["micro-demo"])
    file.write_text('names = ["x"]\n')
    for wrong in ("micro-hardd", str(file), str(tmp_path / "none.toml")):
        with pytest.raises(ProblemError):
            questions([wrong])
