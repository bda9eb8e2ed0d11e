"""The command line: exit codes, one-sentence errors, what goes to stdout, and how fast help is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import ROOT, refused, ttsd


def test_help_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'vllm', 'transformers', 'peft', 'numpy'}"
    check = f"import sys; from ttsd.cli import commands; print({heavy} & {{*sys.modules}})"
    ended = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "set()"


@pytest.mark.parametrize("command", [[], ["solve"], ["batch"], ["judge"], ["show"], ["problems"], ["doctor"]])
def test_help_of_every_command(command: list[str]) -> None:
    ended = ttsd(*command, "--help")
    assert ended.returncode == 0
    assert "Usage: " in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["solve", "micro:nosuch:5:7"], "nosuch"),
        (["solve", "nowhere"], "nowhere"),
        (["solve", "missing.jsonl#1"], "missing.jsonl"),
        (["solve", "lcb:abc374_c"], "FILE.jsonl#abc374_c"),
        (["solve", "micro:numbers:5:7", "--set", "budget.atempts=3"], "did you mean 'attempts'"),
        (["solve", "micro:numbers:5:7", "--config", "nosuch"], "shipped ones"),
        (["solve", "micro:numbers:5:7", "--method", "ppo"], "best-of-k"),
        pytest.param(
            ["solve", "micro:numbers:5:7", "--set", "model.path=./no/such/model"],
            "no/such/model",
            marks=pytest.mark.slow,
        ),
        (["judge", "micro:numbers:5:7", "nofile.py"], "nofile.py"),
        (["judge"], "needs a question"),
        (["show", "--set", "store.path=none.sqlite"], "none.sqlite"),
        (["batch", "nosubset"], "micro-hard"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_2(arguments: list[str], said: str, tmp_path: Path) -> None:
    assert said in refused(ttsd(*arguments, cwd=tmp_path))


def test_a_question_without_tests_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "cases.toml").write_text("")
    assert "case" in refused(ttsd("solve", str(folder), cwd=tmp_path))


def test_an_unwritable_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    said = refused(ttsd("solve", "micro:numbers:2:1", "--set", "store.path=plain/x.sqlite", cwd=tmp_path))
    assert "store.path" in said


@pytest.mark.slow  # loads the trainer
def test_without_vllm_the_way_round_is_said(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['vllm'] = None\n")
    ended = ttsd(
        "solve", "micro:numbers:2:1", "-s", "model.sampler=vllm", cwd=tmp_path, PYTHONPATH=f"{tmp_path}:{ROOT}"
    )
    assert "model.sampler=transformers" in refused(ended)
    assert not list(tmp_path.glob("**/run-*"))


@pytest.mark.slow
def test_judging_by_hand(folder: Path, tmp_path: Path) -> None:
    right = ttsd(
        "judge", str(folder), "-", "--json", stdin="a, b = map(int, input().split())\nprint(a + b)\n", cwd=tmp_path
    )
    verdict = json.loads(right.stdout)
    assert right.returncode == 0
    assert (verdict["verdict"], verdict["accepted"], verdict["passed"], verdict["total"]) == ("accepted", True, 2, 2)
    assert (verdict["first_failure"], verdict["feedback"]) == (None, "")
    wrong = ttsd("judge", str(folder), "-", stdin="print(3)\n", cwd=tmp_path)
    assert wrong.returncode == 1
    assert "wrong answer: 1 of 2" in wrong.stdout
    assert "Expected:\n11" in wrong.stdout


@pytest.mark.slow
def test_judging_many_keeps_the_order(folder: Path, tmp_path: Path) -> None:
    programs = ["import time; time.sleep(1); print(3)", "print(", "a, b = map(int, input().split()); print(a + b)"]
    lines = "".join(json.dumps({"question": str(folder), "program": program}) + "\n" for program in programs)
    ended = ttsd("judge", "--batch", "-", stdin=lines, cwd=tmp_path)
    verdicts = [json.loads(line)["verdict"] for line in ended.stdout.splitlines()]
    assert verdicts == ["wrong_answer", "runtime_error", "accepted"]
    assert ended.returncode == 0


def test_a_broken_batch_line_is_named(tmp_path: Path) -> None:
    assert "line 2" in refused(ttsd("judge", "--batch", "-", stdin='\n{"question": 3}\n', cwd=tmp_path))


def test_an_error_cannot_steer_the_terminal(tmp_path: Path) -> None:
    ended = ttsd("judge", "\x1b[2J.jsonl", "-", cwd=tmp_path)
    assert "\x1b" not in refused(ended)
