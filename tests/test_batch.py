"""Many runs on one engine: nothing repeated, nothing lost, and a fault stays with its run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from problems.problem import ProblemError
from problems.subsets import questions
from tests.commands import GAPS, SETTINGS, attempts, finish, rows, start, wait_for, wait_until_gone
from ttsd.config import Config, load_config
from ttsd.methods import METHODS, methods_named
from ttsd.record.store import Store
from ttsd.running.batch import planned, sorted_out


def test_the_plan_goes_seed_by_seed() -> None:
    runs = planned(["micro:numbers:2:1", "micro:numbers:2:2"], methods_named("sdpo,best-of-k"), 2, Config())
    assert [str(run) for run in runs][:5] == [
        "micro:numbers:2:1 sdpo seed 0",
        "micro:numbers:2:1 best-of-k seed 0",
        "micro:numbers:2:2 sdpo seed 0",
        "micro:numbers:2:2 best-of-k seed 0",
        "micro:numbers:2:1 sdpo seed 1",
    ]
    assert [run.config.budget.continue_after_discovery for run in runs[:2]] == [False, True]
    assert len(planned(["micro:numbers:2:1"] * 2, methods_named("sdpo,sdpo"), 1, Config())) == 1


@pytest.mark.slow
def test_a_run_that_another_process_works_on_is_skipped(tmp_path: Path, impossible: str) -> None:
    command = ["batch", impossible, "--methods", "sdpo,best-of-k", *SETTINGS, "--set", "budget.attempts=4", "--json"]
    config = load_config("micro", [*SETTINGS[3::2], "budget.attempts=4", "store.path=" + str(tmp_path / "ttsd.sqlite")])
    with Store(tmp_path / "ttsd.sqlite") as store:
        run = planned([impossible], methods_named("sdpo"), 1, config)[0]
        with store.claim(store.new_run(run, {})):
            status, out, err = finish(*command, cwd=tmp_path)
        answer = json.loads(out)
        assert (status, answer["failed"]) == (0, []), err
        assert [(run["method"], run["attempts"]) for run in answer["runs"]] == [("best-of-k", 4)]
        assert "another process works on run 1" in answer["skipped"][0]["error"]
        assert [number for _, number in sorted_out([run], store)[1]] == [1]


@pytest.mark.slow
def test_commands_that_start_together_share_their_runs(tmp_path: Path, impossible: str) -> None:
    command = ["batch", impossible, "--methods", "best-of-k", "--seeds", "6", "--at-once", "1", *SETTINGS, "--json"]
    command += ["--set", "budget.attempts=8"]
    both = [start(*command, cwd=tmp_path) for _ in range(2)]
    answers = []
    for process in both:
        out, err = process.communicate()
        assert process.returncode == 0, err
        answers.append(json.loads(out))
    assert rows(tmp_path / "ttsd.sqlite", "select seed, count(*) from runs group by seed order by seed") == [
        (seed, 1) for seed in range(6)
    ]
    assert all(len(one["runs"]) + len(one["skipped"]) == 6 for one in answers)
    assert {run["seed"] for one in answers for run in one["runs"] if run["attempts"] == 8} == set(range(6))


@pytest.mark.slow
def test_a_killed_batch_goes_on_and_a_finished_one_is_not_repeated(tmp_path: Path, impossible: str) -> None:
    database = tmp_path / "ttsd.sqlite"
    methods = ["--methods", "all", "--seeds", "2"]
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
    assert [run["attempts"] for run in answer["runs"]] == [10] * 2 * len(METHODS)
    assert set(answer["usage"]["busy"]) == {"sample", "judge", "train"}
    assert "runs at once (" in err
    assert "busy of" in err
    assert rows(database, GAPS) == []
    assert set(before) <= set(rows(database, "select run, attempt, created from attempts"))

    status, out, err = finish(*command, cwd=tmp_path)
    assert (status, attempts(database)) == (0, 20 * len(METHODS)), err
    assert f"0 runs to do, {2 * len(METHODS)} done before" in err


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
