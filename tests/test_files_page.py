"""The page of files, variables and JSON: it names every key that a command prints, and every variable that is read."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from tests.commands import ROOT, ttsd
from ttsd.record.protocol import Answer
from ttsd.reporting.report.findings import Findings
from ttsd.running.batch import Failure

PAGE = (ROOT / "docs" / "files.md").read_text("utf-8")
OPEN = ("settings", "from", "metrics", "seconds", "busy", "at_once")  # whose keys are settings, metrics, phases
ANSWER = {field.name for field in fields(Answer)}
VARIABLE = re.compile(r"(TTSD|HF|OMP|GOMP|PYTORCH|XDG|OPENAI|CUDA|WANDB)_[A-Z_]+")
OURS = {"TTSD_ENGINE_OWNER", "TTSD_ENGINE_FOLDER"}  # what ttsd sets for a process of its own
QUESTION = "micro:lists:6:61"
# What the page says of a command -> the words of one that prints it.
PRINTED = {
    "solve --dry-run": ["solve", "micro:lists:6:62", "--dry-run"],
    "show RUN": ["show", "1"],
    "show RUN --attempt N": ["show", "1", "--attempt", "1", "--tokens"],
    "batch": ["batch", QUESTION, "--methods", "multi-turn", "--budget", "4"],
    "judge": ["judge", QUESTION, "program.py"],
    "config show": ["config", "show"],
    "config reference": ["config", "reference"],
    "methods": ["methods"],
    "doctor": ["doctor"],
    "problems check": ["problems", "check", QUESTION],
}
RARE = {"attempt_rows.score"}  # with a judge that gives scores


def tables() -> dict[str, set[str]]:
    """Returns the keys that each row of the last table names, by its command; `null` and commands are no keys."""
    rows = re.findall(r"^\| `([^`]+)` \| (.*) \|$", PAGE.partition("| command | keys |")[2], re.M)
    named = {command: set(re.findall(r"`([a-z_.0-9]+)`", cell)) for command, cell in rows}
    return {command: found - {"null", "solve", "show"} for command, found in named.items()}


def keys(value: Any, before: str = "") -> set[str]:
    """Returns the keys of an answer, those of inner objects after a dot; of a list, those of its entries."""
    if isinstance(value, list):
        return {key for one in value for key in keys(one, before)}
    if not isinstance(value, dict):
        return set()
    inner = {key for name, one in value.items() if name not in OPEN for key in keys(one, f"{before}{name}.")}
    return {before + name for name in value} | inner


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a program and a run of eight attempts that each read an earlier one."""
    made: Path = tmp_path_factory.mktemp("json")
    (made / "program.py").write_text("print(1)\n")
    ended = ttsd("solve", QUESTION, "--method", "search+sdpo", "--budget", "16", "--json", cwd=made)
    assert ended.returncode in (0, 1), ended.stderr
    assert set(json.loads(ended.stdout)) == ANSWER
    return made


@pytest.mark.slow
@pytest.mark.parametrize("command", PRINTED)
def test_a_command_prints_the_keys_that_are_documented(command: str, folder: Path) -> None:
    ended = ttsd(*PRINTED[command], "--json", cwd=folder)
    found = keys(json.loads(ended.stdout))
    documented = tables()[command]
    if command == "show RUN":
        documented |= ANSWER | {"status", "model", "started"}
    if command == "batch":
        entries = {field.name for field in fields(Failure)}
        documented = (documented - entries) | {f"runs.{key}" for key in ANSWER}
    assert found == documented - RARE


@pytest.mark.slow
def test_steps_and_differences_have_the_keys_of_attempts(folder: Path) -> None:
    step, rows = json.loads(ttsd("show", "1", "--step", "1", "--json", cwd=folder).stdout), tables()
    assert set(step) == rows["show RUN --step N"] - {"attempt_rows"}
    assert {f"attempt_rows.{key}" for key in keys(step["attempts"])} == {
        key for key in rows["show RUN"] if key.startswith("attempt_rows.") and key not in RARE
    }
    difference = json.loads(ttsd("show", "1", "--diff", "1", "2", "--json", cwd=folder).stdout)
    assert set(difference) == {"before", "after", "difference"}
    assert keys(difference["before"]) < rows["show RUN --attempt N"]
    listed = json.loads(ttsd("show", "--json", cwd=folder).stdout)
    assert keys(listed) == ANSWER | rows["show"]


def test_the_keys_of_an_answer_and_of_the_report_are_documented() -> None:
    table = PAGE.partition("| key | value |")[2].partition("\n\n")[0]
    first = {key for cell in re.findall(r"^\| (.*?) \|", table, re.M) for key in re.findall(r"`(\w+)`", cell)}
    assert first == ANSWER
    assert tables()["report"] == {field.name for field in fields(Findings)}
    assert {field.name for field in fields(Failure)} <= tables()["batch"]


def test_every_variable_that_is_read_is_documented() -> None:
    command = ["git", "ls-files", "ttsd/*.py", "problems/*.py", "sandbox/*.py"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    trees = [ast.parse((ROOT / name).read_text("utf-8")) for name in listed]
    texts = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    read = {text for text in texts if isinstance(text, str) and VARIABLE.fullmatch(text)} - OURS
    assert len(read) >= 10
    table = PAGE.partition("## Environment variables")[2].partition("\n## ")[0]
    assert read <= set(re.findall(r"`([A-Z_]+)`", table))
