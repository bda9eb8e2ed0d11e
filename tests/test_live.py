"""The views: their numbers, their lines, and that the panel can be drawn at any moment."""

from __future__ import annotations

import pytest
from rich.console import Console

from tests.fakes import rollout
from ttsd.loop import Past
from ttsd.nouns import Status, Step, Verdict
from ttsd.reporting.live import PlainOverview, PlainView, RichOverview, RichView, print_table
from ttsd.running.batch import Failure
from ttsd.running.resume import Job

FAILED = Verdict(Status.WRONG_ANSWER, 1, 2, 0, 0, feedback="no")
PASSED = Verdict(Status.ACCEPTED, 2, 2, 0, 0)


def drawn(view: RichView | RichOverview) -> str:
    console = Console(width=100)
    with console.capture() as captured:
        console.print(view._render())
    return captured.get()


def test_plain_lines_say_what_a_step_did(capsys: pytest.CaptureFixture[str]) -> None:
    view = PlainView()
    view.begin("q", Past(steps=1, rollouts=(rollout(1, "x", FAILED),)), 8, 2)
    group = (rollout(2, "x", FAILED), rollout(3, "y", PASSED))
    for one in group:
        view.show(one)
    view.show(Step(2, group, 1, {"loss": 0.25}, {"draw": 2.0}))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "going on after 1 attempts and 1 steps"
    assert "step 2 | attempts 3/8 | wrong answer 1, accepted 1 | best 100% of visible cases | loss 0.2500" in lines[1]
    assert lines[1].endswith("discovered at attempt 3")


def test_an_alarm_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    view = PlainView()
    view.begin("q", Past(), 100, 1)
    for number in range(1, 9):
        one = rollout(number, "x", FAILED)
        view.show(one)
        view.show(Step(number, (one,), 0, {"updated": 0.0}, {"draw": 1.0}))
    assert capsys.readouterr().err.count("warning: the last steps had nothing to learn from") == 1


def test_the_panel_can_be_drawn_before_and_after_anything_happens() -> None:
    view = RichView()
    assert "none yet" in drawn(view)
    view.board.begin("my question", Past(), 4, 2)
    for number in (1, 2):
        view.board.add(rollout(number, "x", FAILED))
    assert "distilling" in drawn(view)
    view.board.add(Step(1, (rollout(1, "x", FAILED),), 1, {"loss": 0.5}, {"draw": 1.0}))
    text = drawn(view)
    for said in ("my question", "2 of 4", "wrong answer 2", "50% of the visible cases", "0.5000", "adapter v1"):
        assert said in text


def test_a_table_shows_each_run(capsys: pytest.CaptureFixture[str]) -> None:
    overview = RichOverview()
    overview.expect(2)
    view = overview.view("q sdpo seed 0")
    view.begin("q", Past(), 8, 2)
    group = (rollout(1, "x", FAILED), rollout(2, "y", PASSED))
    for one in group:
        view.show(one)
    view.show(Step(1, group, 1, {"loss": 0.25}, {"draw": 2.0}))
    text = drawn(overview)
    for said in ("q sdpo seed 0", "2/8", "100%", "discovery", "0.2500", "tokens/s", "0 of 2 runs ended"):
        assert said in text


def test_an_overview_counts_what_ends(capsys: pytest.CaptureFixture[str]) -> None:
    overview = PlainOverview()
    overview.view("q sdpo seed 0")
    overview.end("q sdpo seed 0", Failure(Job("q", "sdpo", 0), "OSError: gone"))
    assert capsys.readouterr().err.endswith("| q sdpo seed 0 | failed: OSError: gone\n")
    table = RichOverview()
    table.view("q sdpo seed 1").begin("q", Past(), 8, 2)
    assert "q sdpo seed 1" in drawn(table)


def test_tables_of_nothing_are_fine(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([])
    assert "nothing yet" in capsys.readouterr().out
