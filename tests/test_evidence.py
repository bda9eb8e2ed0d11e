"""Evidence: what is announced, what the table says, and a small one for real."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from problems import micro
from tests.synthetic import World, populate
from ttsd.config import load_config
from ttsd.record.store import Store
from ttsd.reporting.evidence import Study, gather
from ttsd.reporting.evidence_table import TITLES, figures, table
from ttsd.reporting.live import PlainOverview
from ttsd.reporting.milestones import Gain, gain, milestone
from ttsd.reporting.report.book import Book
from ttsd.reporting.report.record import read
from ttsd.running.batch import Failure
from ttsd.running.estimate import LUCKY, chance, expected
from ttsd.statistics import Resamples

HARD = micro.subset("micro-hard")[0]


class Quiet(PlainOverview):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def study(out: Path, subset: str = "micro-hard", seeds: int = 2, budget: int = 512) -> Study:
    settings = [f"budget.attempts={budget}", "model.sampler=transformers", "sampling.group_size=4"]
    return Study(
        (subset,),
        load_config("micro-cpu", settings),
        out,
        seeds=seeds,
        windows=(2,),
        fractions=(0.0, 1.0),
        runs_at_once=4,
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    hazards = {f"micro:q{n}": {"sdpo": 0.1, "best-of-k": 0.01} for n in range(8)}
    with Store(tmp_path / "known.sqlite") as opened:
        populate(opened, hazards, World(seeds=6, budget=200))
        yield opened


def test_a_run_is_expected_to_end_at_its_discovery_unless_it_is_best_of_k(tmp_path: Path) -> None:
    p = micro.p_solve(HARD)
    assert p is not None
    wanted = [one for one in study(tmp_path).wanted("micro-hard") if one.job.question == HARD]
    runs = {one.job.method: expected(one.config, 512, p) for one in wanted}
    guessing = sum((1 - p) ** k for k in range(512))
    assert runs["best-of-k"] == (512, 512)
    assert runs["sdpo"] == pytest.approx((LUCKY * guessing, guessing))


def test_of_a_question_that_nobody_tried_little_is_expected(tmp_path: Path) -> None:
    (one,) = (wanted for wanted in study(tmp_path, seeds=1).wanted(HARD) if wanted.job.method == "grpo")
    assert expected(one.config, 512, None) == (4, 512)


def test_the_cost_is_announced_as_a_range_and_nothing_is_run_for_it(tmp_path: Path) -> None:
    said = Quiet()
    assert asyncio.run(gather(study(tmp_path / "out", seeds=1), said, dry_run=True)) == []
    (cost,) = said.said
    runs = len(micro.subset("micro-hard")) * 5  # two arms of sdpo
    assert re.match(
        rf"to do: {runs} runs, \d+ to \d+ attempts, .+ to .+, .+ to .+ tokens \(computed for \d+ cores\)", cost
    )
    assert not (tmp_path / "out").exists()


def test_the_chance_of_any_question_is_what_best_of_k_found(store: Store) -> None:
    assert chance(store, "micro:q1", "model") == pytest.approx(0.01, abs=0.01)
    assert chance(store, "micro:q1", "another model") is None
    assert chance(store, "nothing:known", "model") is None


def test_what_is_published_is_the_bundled_models_chance(store: Store) -> None:
    assert chance(store, HARD, "micro") == micro.p_solve(HARD)
    assert chance(store, HARD, "model") is None


def gained(book: Book, level: float, method: str) -> Gain:
    resamples = Resamples(len(book.record.questions))
    mine, theirs = (
        milestone(level, book.across(book.record.questions, name), resamples) for name in (method, "best-of-k")
    )
    return gain(mine, theirs, resamples)


def test_the_table_tells_how_many_times_fewer_attempts(store: Store) -> None:
    book = Book(read(store))
    found = gained(book, 0.5, "sdpo")
    assert found.interval.low < found.times < found.interval.high
    assert 6 < found.times < 16
    assert not found.over
    assert gained(book, 0.5, "best-of-k").times == 1
    rows = table("known", figures(store, 200))
    assert [row[:2] for row in rows] == [["known, 8 questions x 6", "sdpo"], ["known, 8 questions x 6", "best-of-k"]]
    assert {len(row) for row in rows} == {len(TITLES)}


def test_what_the_method_does_not_reach_is_said(tmp_path: Path) -> None:
    with Store(tmp_path / "hard.sqlite") as opened:
        populate(opened, {f"q{n}": {"sdpo": 0.001, "best-of-k": 0.0} for n in range(4)}, World(budget=50))
        book = Book(read(opened))
        assert math.isnan(gained(book, 0.8, "sdpo").times)
        assert "not reached" in table("hard", figures(opened, 50))[0]


def test_what_only_the_reference_does_not_reach_is_a_lower_bound(tmp_path: Path) -> None:
    with Store(tmp_path / "hard.sqlite") as opened:
        populate(opened, {f"q{n}": {"sdpo": 0.2, "best-of-k": 0.0} for n in range(4)}, World(seeds=3, budget=50))
        book = Book(read(opened))
        found = gained(book, 0.8, "sdpo")
        assert found.over
        assert 2 <= 150 / found.times <= 20  # three seeds of 50 attempts are one pool; 0.8 is reached at about 7
        assert 150 / found.times == pytest.approx(round(150 / found.times))
        assert found.interval.low <= found.times
        assert math.isinf(found.interval.high)
        assert f"over {found.times:.1f} ({found.interval.low:.1f} to more)" in table("hard", figures(opened, 50))[0]


def test_without_the_reference_no_ratio_is_claimed(tmp_path: Path) -> None:
    with Store(tmp_path / "alone.sqlite") as opened:
        populate(opened, {f"q{n}": {"sdpo": 0.2} for n in range(4)}, World(budget=50))
        (cells,) = table("alone", figures(opened, 50))
    ratios = [cell for title, cell in zip(TITLES, cells, strict=True) if title.startswith("times fewer")]
    assert ratios == ["–", "–"]


def test_rounds_are_waits_for_verdicts(tmp_path: Path) -> None:
    with Store(tmp_path / "rounds.sqlite") as opened:
        populate(opened, {"q": {"sdpo": 0.0, "multi-turn": 0.0}}, World(seeds=2, budget=64, group_size=8))
        rounds = {row["method"]: row["mean_rounds"] for row in figures(opened, 64)}
    assert rounds == {"sdpo": 8, "multi-turn": 64}


@pytest.mark.slow
def test_evidence_is_gathered_written_and_not_repeated(tmp_path: Path) -> None:
    small = study(tmp_path / "out", "micro:numbers:2:3", seeds=1, budget=24)
    first, second = Quiet(), Quiet()
    failures: list[Failure] = asyncio.run(gather(small, first))
    assert not failures
    assert any(text.startswith("to do: ") for text in first.said)
    text = (tmp_path / "out" / "evidence.md").read_text()
    for method in ("sdpo", "grpo", "best-of-k", "multi-turn (window 2)"):
        assert f"| {method} |" in text
    assert (tmp_path / "out" / "micro-numbers-2-3" / "report.html").exists()
    assert asyncio.run(gather(small, second)) == []
    assert second.said[0] == "all runs are done"
    assert (tmp_path / "out" / "evidence.md").read_text() == text
