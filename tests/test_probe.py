"""`ttsd probe`: its arithmetic on counts, and the bundled suite, whose pass rates are known."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from problems import micro
from tests.commands import attempts, finish, refused, rows, ttsd
from ttsd.running.probe import Measured, Probe, costs, write_subsets
from ttsd.running.probe import rows as rows_of

SETTINGS = ["--config", "micro-cpu", "--set", "model.sampler=transformers"]


def test_bands_gap_and_interval() -> None:
    none, some, most = Measured("a", 64, 0, 100.0, 16, 2), Measured("b", 3000, 3, 100.0), Measured("c", 64, 32, 50.0, 4)
    rare = Measured("d", 6400, 1, 100.0)
    assert [one.band for one in (none, some, most, rare)] == ["very-hard", "hard", "easy", "very-hard"]
    assert (none.accuracy, none.teacher_accuracy, none.gap) == (0, 0.125, 0.125)
    assert (some.teacher_accuracy, some.gap) == (None, None)
    assert some.pass_at_64 == pytest.approx(1 - (1 - 64 / 3000) ** 3, rel=0.02)
    for one in (none, some, most, rare):
        assert one.interval().low <= one.pass_at_64 <= one.interval().high
    assert [one.certain for one in (none, rare, Measured("e", 99_999, 1, 1.0))] == [False, False, True]
    assert rows_of([some])[0]["pass@64"] == pytest.approx(some.pass_at_64, abs=5e-4)


def test_costs_count_what_chance_would_need() -> None:
    found = Probe([Measured("a", 64, 0, 100.0), Measured("b", 64, 32, 10.0)], [], seconds_per_attempt=3.6)
    lucky, spent = costs(found, 1000)
    assert lucky.attempts == pytest.approx(1002)
    assert lucky.tokens == pytest.approx(100_020)
    assert (spent.attempts, spent.hours) == (2000, pytest.approx(2.0))
    assert costs(Probe(found.measured, []), 10)[0].hours is None


def test_subset_files_are_what_batch_takes(tmp_path: Path) -> None:
    measured = [Measured('FILE"é.jsonl#1', 64, 0, 1.0), Measured("b", 6400, 200, 1.0), Measured("c", 3000, 3, 1.0)]
    files = write_subsets(measured, tmp_path / "mine.toml")
    listed = {file.name: tomllib.loads(file.read_text("utf-8"))["questions"] for file in files}
    assert listed == {
        "mine-easy.toml": ["b"],
        "mine-hard.toml": ['FILE"é.jsonl#1', "c"],
        "mine-very-hard.toml": ['FILE"é.jsonl#1'],
    }
    assert [file.name for file in write_subsets(measured[1:2], tmp_path / "other.toml")] == ["other-easy.toml"]


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    assert "nosubset" in refused(ttsd("probe", "nosubset", cwd=tmp_path))
    assert "no/folder" in refused(ttsd("probe", "micro-demo", "--out", "no/folder/x.toml", cwd=tmp_path))


@pytest.mark.slow
def test_known_pass_rates_are_within_the_interval_and_nothing_is_drawn_twice(tmp_path: Path) -> None:
    recorded = {name: micro.p_solve(name) or 0.0 for name in micro.subset("micro-hard")}
    questions = sorted(recorded, key=recorded.__getitem__)[-2:]
    command = ["probe", *questions, *SETTINGS, "--teacher-samples", "4", "--json"]
    status, out, err = finish(*command, "--samples", "128", "--out", "mine.toml", cwd=tmp_path)
    assert status == 0, err
    answer = json.loads(out)
    assert [row["question"] for row in answer["questions"]] == questions
    for row in answer["questions"]:
        wide = Measured(row["question"], row["attempts"], row["successes"], row["tokens"]).interval(1, level=0.999)
        assert wide.low <= recorded[row["question"]] <= wide.high
    assert answer["seconds_per_attempt"] > 0
    assert attempts(tmp_path / "ttsd.sqlite") == 256
    assert {name for file in answer["files"] for name in tomllib.loads((tmp_path / file).read_text())["questions"]}

    status, out, err = finish(*command, "--samples", "64", "--teacher-samples", "0", cwd=tmp_path)
    again = json.loads(out)
    assert (status, again["seconds_per_attempt"]) == (0, None), err
    assert [row["successes"] for row in again["questions"]] == [row["successes"] for row in answer["questions"]]
    assert rows(tmp_path / "ttsd.sqlite", "select count(*) from attempts where role != 'student'") == [(0,)]
