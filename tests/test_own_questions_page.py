"""The page on questions of one's own: what it shows works as it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import problems
from problems.checker import Checker
from tests.commands import ROOT, ttsd
from tests.folders import made
from ttsd.config import load_config
from ttsd.judging.by_hand import judge_program
from ttsd.judging.check_questions import check_questions

PAGE = (ROOT / "docs" / "own-questions.md").read_text("utf-8")
CASES = '[[case]]\ninput = "6\\n"\nexpected = "2\\n"\n\n[[case]]\ninput = "35\\n"\nexpected = "5\\n"\n'


def shown(file: str) -> str:
    """Returns the block that the page shows as the content of `file`."""
    found = re.search(rf"^`{re.escape(file)}`:\n\n```\w+\n(.*?)^```", PAGE, re.M | re.S)
    assert found, file
    return found[1]


def section(heading: str) -> str:
    return PAGE.partition(f"## {heading}")[2].partition("\n## ")[0]


async def findings(path: Path) -> list[str]:
    return [finding.wrong async for finding in check_questions([str(path)], load_config())]


@pytest.mark.slow
async def test_the_checker_of_the_page_judges_divisors(tmp_path: Path) -> None:
    files = {f"{name}__{end}": shown(f"divisor/{name}.{end}") for name, end in (("problem", "toml"), ("check", "py"))}
    path = made(tmp_path, cases__toml=CASES, **files)
    assert await findings(path) == [""]
    config = load_config()
    largest = "n = int(input())\nprint(max(d for d in range(2, n) if n % d == 0))"
    assert (await judge_program(str(path), largest, config))["accepted"]
    wrong = await judge_program(str(path), "print('two')", config)
    assert (wrong["verdict"], wrong["score"]) == ("wrong_answer", 0.0)
    assert "Print one number." in wrong["feedback"]


@pytest.mark.slow
async def test_the_checker_of_the_page_must_accept_the_expected_outputs(tmp_path: Path) -> None:
    files = {"problem__toml": 'checker = "check.py"', "check__py": shown("divisor/check.py")}
    path = made(tmp_path, cases__toml=CASES.replace('"5', '"6'), **files)
    assert await findings(path) == ["its checker does not accept the expected output of case 1: correct one of them"]


@pytest.mark.slow
async def test_the_judge_of_the_page_scores_short_answers(tmp_path: Path) -> None:
    files = {f"{name}__{end}": shown(f"short/{name}.{end}") for name, end in (("problem", "toml"), ("judge", "py"))}
    path = made(tmp_path, **files)
    assert await findings(path) == [""]
    assert (await judge_program(str(path), "x" * 40, load_config()))["accepted"]
    assert (await judge_program(str(path), "x" * 80, load_config()))["score"] == 0.5
    assert (await judge_program(str(path), "", load_config()))["accepted"]  # models give empty answers, too


def test_the_tolerance_of_the_page_is_read(tmp_path: Path) -> None:
    block = re.search(r"```toml\n(.*?)```", section("How outputs are compared"), re.S)
    assert block
    path = made(tmp_path, problem__toml=block[1], cases__toml=CASES)
    assert problems.load(str(path)).checker == Checker("floats", 1e-6, 1e-6)


def test_the_points_of_the_page_are_read(tmp_path: Path) -> None:
    block = re.search(r"```toml\n(.*?)```", section("Points"), re.S)
    assert block
    files = {f"cases___{name}__{end}": "1" for name in ("large-1", "small-1", "small-2") for end in ("in", "out")}
    points = problems.load(str(made(tmp_path, problem__toml=block[1], **files))).points
    assert [(group.cases, group.points) for group in points] == [((1, 2), 30.0), ((0,), 70.0)]


def test_every_checker_of_the_page_is_one() -> None:
    rows = re.findall(r"^\| `([a-z-]+)`", section("How outputs are compared"), re.M)
    assert sorted(rows) == ["case-insensitive", "exact", "floats", "tokens", "unordered"]


@pytest.mark.parametrize("heading", ["How outputs are compared", "Several right answers", "A judge of your own"])
def test_each_fits_on_one_screen(heading: str) -> None:
    assert len(section(heading).splitlines()) <= 42


@pytest.mark.slow
def test_show_says_how_outputs_are_compared(tmp_path: Path) -> None:
    path = made(tmp_path, problem__toml="tolerance = 1e-6", cases__toml=CASES)
    assert "Outputs are compared by numbers within 1e-06." in ttsd("problems", "show", str(path)).stdout
