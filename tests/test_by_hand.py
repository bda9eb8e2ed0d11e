"""Judging by hand: where the limits come from, and what happens before the sandbox starts."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from problems import ProblemError
from tests.commands import ttsd
from tests.folders import made
from tests.rows import row
from ttsd.config import load_config
from ttsd.judging.by_hand import judge_batch, judge_program, read_batch, read_program


@pytest.mark.slow
async def test_limits_come_from_the_question_and_are_told(tmp_path: Path) -> None:
    file, config = tmp_path / "rows.jsonl", load_config()
    file.write_text(json.dumps(row()) + "\n")
    cases = "[[case]]\ninput = ''\nexpected = '1'\n"
    own = made(tmp_path / "own", problem__toml="time_limit_seconds = 1.5\n", cases__toml=cases)
    seconds = {}
    for question in (f"{file}#{row()['question_id']}", "micro:numbers:2:1", str(own)):
        limits = (await judge_program(question, "print(1)", config))["limits"]
        seconds[question] = (limits["cpu_seconds"], limits["memory_mib"])
    assert list(seconds.values()) == [(6.0, 1024), (2.0, 256), (1.5, 1024)]


async def test_questions_are_read_before_the_sandbox_starts(tmp_path: Path) -> None:
    config = load_config(None, ["judge.python=/there/is/no/python"])
    with pytest.raises(ProblemError, match="no question"):
        await judge_program(str(tmp_path / "absent"), "print(1)", config)


@pytest.mark.slow
async def test_a_question_that_cant_be_used_costs_its_own_lines_only(tmp_path: Path) -> None:
    absurd = made(tmp_path / "q", cases__toml="[[case]]\ninput = ''\nexpected = '1'\n")
    made(absurd, problem__toml="time_limit_seconds = 100000")
    checked = made(
        tmp_path / "checked",
        cases__toml="[[case]]\ninput = ''\nexpected = '1'\n",
        problem__toml='checker = "check.py"\n',
        check__py="def check(input, output, expected):\n    return [][0]\n",
    )
    asked = [str(absurd), "micro:numbers:2:1", str(tmp_path / "absent"), str(checked)]
    found = [judged async for judged in judge_batch([(name, "print(1)") for name in asked], load_config())]
    assert [(one["question"], one["verdict"] == "refused") for one in found] == [
        *zip(asked, (True, False, True, True), strict=True)
    ]
    assert "time_limit_seconds" in found[0]["feedback"]
    assert all(word in found[3]["feedback"] for word in ("checker", "out of range"))
    lines = [json.dumps({"question": question, "program": "print(1)"}) for question in asked]
    (tmp_path / "batch.jsonl").write_text("\n".join(lines))
    ended = ttsd("judge", "--batch", str(tmp_path / "batch.jsonl"))
    assert (ended.returncode, ended.stdout.count("\n")) == (2, 4)
    assert "3 programs are refused" in ended.stderr


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x0c", "\x1c", "\u2029"])
def test_a_batch_is_split_at_newlines_alone(tmp_path: Path, separator: str) -> None:
    text = json.dumps({"question": "q", "program": f"# a{separator}b\nprint(1)"}, ensure_ascii=False) + "\n"
    (tmp_path / "batch.jsonl").write_text(text, "utf-8")
    stdin = io.TextIOWrapper(io.BytesIO(text.encode()))
    asked = [("q", f"# a{separator}b\nprint(1)")]
    assert read_batch(str(tmp_path / "batch.jsonl"), stdin) == asked == read_batch("-", stdin)
    (tmp_path / "program.py").write_text(f"x = '{separator}'\r\n", "utf-8", newline="")
    assert read_program(str(tmp_path / "program.py"), stdin) == f"x = '{separator}'\r\n"


@pytest.mark.slow
async def test_a_program_that_sleeps_does_so_once_and_not_in_every_case(tmp_path: Path) -> None:
    cases = "".join(f"[[case]]\ninput = '{n}'\nexpected = '{n}'\n" for n in range(8))
    sleeper = "import time; time.sleep(1.4); print(input())"
    config = load_config(None, ["judge.wall_seconds=2"])
    judged = await judge_program(str(made(tmp_path, cases__toml=cases)), sleeper, config)
    assert judged["verdict"] == "time_limit"
    assert judged["passed"] <= 2
