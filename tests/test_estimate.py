"""What is said before a run: the memory of its method, and the pace of earlier runs of its kind."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import ttsd
from tests.records import attempt, run_of
from ttsd.config import Config, load_config
from ttsd.nouns import Step
from ttsd.record.run import Run
from ttsd.record.store import Store
from ttsd.running.estimate import announcement, earlier_pace

QUESTION = "micro:numbers:5:7"
CORES = str(len(os.sched_getaffinity(0)))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "t.sqlite") as opened:
        yield opened


def micro(*settings: str) -> Config:
    return load_config("micro", ["model.sampler=transformers", *settings])


def add(store: Store, run: Run, seconds: list[float], cores: str = CORES) -> None:
    """Stores a run with a step of two attempts at each of `seconds` since its start."""
    number = store.new_run(run, {"cores": cores})
    for step, at in enumerate(seconds, 1):
        group = tuple(attempt(2 * step - 1 + member, step) for member in (0, 1))
        store.add_step(number, Step(step, group, step, seconds={"group": 0.1, "run": at}), None, {})


async def test_memory_is_said_and_no_pace_that_nobody_measured(store: Store) -> None:
    line = await announcement([run_of(config=micro())], store)
    assert line.startswith("memory: trainer ")
    assert "\n" not in line
    assert "of free memory" in line
    many = await announcement([run_of(config=micro())], store, at_once=64)
    assert many.startswith("memory: trainer ")
    assert float(many.split()[2]) > float(line.split()[2])


async def test_the_largest_of_several_methods_is_said(store: Store) -> None:
    config = micro("model.sampler=vllm")
    frozen, learning = run_of(method="best-of-k", config=config), run_of(method="sdpo", config=config)
    assert (await announcement([frozen], store)).startswith("memory: sampler ")
    assert await announcement([frozen, learning], store) == await announcement([learning], store)


async def test_memory_that_is_not_there_is_a_plain_warning(store: Store) -> None:
    line = await announcement([run_of(config=micro("lora.rank=10000000"))], store)
    assert "this DOES NOT FIT" in line
    assert "lora.rank" in line


async def test_a_model_whose_memory_is_unknown_is_no_reason_not_to_start(store: Store, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    strange = run_of(config=micro(f"model.path={tmp_path}"))
    assert (await announcement([strange], store)).startswith("memory: unknown (the model's config.json has no")


async def test_the_pace_is_that_of_earlier_runs(store: Store) -> None:
    """Their attempts over their seconds, which are those of the last step: six in a minute."""
    run = run_of(config=micro())
    add(store, run, [10.0, 30.0])
    add(store, run_of("other", seed=7, config=micro()), [30.0])
    assert earlier_pace(store, run) == "6 attempts a minute"
    other = run_of(method="grpo", config=micro())
    said = await announcement([run, other], store)
    assert said.endswith("\npace in this run database: sdpo 6 attempts a minute")
    add(store, other, [400.0])
    assert (await announcement([run, other], store)).endswith("sdpo 6 attempts a minute, grpo 18 attempts an hour")


@pytest.mark.parametrize("change", ["sampling.max_tokens=64", "sampling.group_size=4", "model.sampler=vllm"])
def test_runs_under_other_limits_say_nothing(store: Store, change: str) -> None:
    add(store, run_of(config=micro()), [10.0])
    assert earlier_pace(store, run_of(config=micro("lora.lr=0.5")))
    assert earlier_pace(store, run_of(config=micro(change))) == ""


def test_runs_on_another_machine_say_nothing(store: Store) -> None:
    add(store, run_of(config=micro()), [10.0], cores="4096")
    assert earlier_pace(store, run_of(config=micro())) == ""


@pytest.mark.slow
@pytest.mark.parametrize("command", ["solve", "batch"])
def test_a_dry_run_starts_and_writes_nothing(tmp_path: Path, command: str) -> None:
    asked = [command, QUESTION, "--config", "micro", "--dry-run"]
    ended = ttsd(*asked, "--json", cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    answer = json.loads(ended.stdout)
    assert answer["memory"].startswith("memory: trainer ")
    assert "Print what the rule" in answer["prompts"][0]["text"]
    assert list(tmp_path.iterdir()) == []
    with Store(tmp_path / "ttsd.sqlite"):
        pass
    before = hashlib.sha256((tmp_path / "ttsd.sqlite").read_bytes()).digest()
    ended = ttsd(*asked, cwd=tmp_path)
    assert ended.stderr.startswith("memory: trainer ")
    assert "Print what the rule" in ended.stdout
    assert hashlib.sha256((tmp_path / "ttsd.sqlite").read_bytes()).digest() == before
