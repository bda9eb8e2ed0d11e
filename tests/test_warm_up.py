"""`ttsd warm-up`: what is divided, what is resumed, and that later runs start from what was learned."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch  # noqa: TID253
from safetensors.torch import load_file

import problems
from problems.alike import Traits
from tests.commands import attempts, finish, refused, rows, start, ttsd
from tests.real_models import smollm2
from tests.tiny import write_model
from ttsd.config import Config
from ttsd.errors import UserError
from ttsd.record.protocol import Answer
from ttsd.running.batch import Failure
from ttsd.running.warm_up import (
    BATCH,
    NAME,
    RECORD,
    SAVED_EVERY,
    Options,
    cross_entropy_trainer,
    divided,
    take_steps,
)
from ttsd.running.writer import View

QUESTIONS = [f"micro:{family}:2:{number}" for family in ("numbers", "lists", "mixed") for number in range(1, 7)]
SETTINGS = ["-c", "micro", "--set", "model.sampler=transformers"]
SMALL = ["--pairs", "24", "--lr", "1e-3", "--held-out", "3", "--check", "2", "--attempts", "6"]


def test_no_question_is_alike_to_one_on_the_other_side() -> None:
    excluded = QUESTIONS[:1]
    training, held_out = divided(QUESTIONS, excluded, 5)
    learned = [Traits.of(problem) for problem in training]
    kept = [Traits.of(problems.load(name)) for name in [*held_out, *excluded]]
    assert 0 < len(held_out) <= 5
    assert not any(one.alike(other) for one in learned for other in kept)
    assert divided(QUESTIONS, excluded, 5) == (training, held_out)


def test_too_few_questions_are_one_sentence() -> None:
    with pytest.raises(UserError, match="3 questions to learn from and 0 to check with are too few"):
        divided(QUESTIONS[:3], [], 5)
    with pytest.raises(UserError, match="too few"):
        divided(QUESTIONS, QUESTIONS, 5)


def weights(folder: Path) -> torch.Tensor:
    tensors = load_file(folder / "adapter_model.safetensors")
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)])


class Quiet:
    """An overview that nobody reads."""

    def say(self, text: str) -> None: ...

    def expect(self, runs: int) -> None: ...

    def view(self, name: str) -> View:
        raise NotImplementedError

    def end(self, name: str, answer: Answer | Failure) -> None: ...


async def test_steps_go_on_from_what_was_saved_and_end_when_the_time_is_spent(tmp_path: Path) -> None:
    path = str(write_model(tmp_path / "model"))
    config = Config.model_validate({"model": {"path": path, "dtype": "float32", "device": "cpu"}})
    pairs = [((3, 4, number), (5, number, 2)) for number in range(6, 6 + 7 * BATCH)]
    options = Options(lr=1e-2)

    async def learned(work: Path, options: Options) -> tuple[torch.Tensor, tuple[int, float | None]]:
        trainer = cross_entropy_trainer(path, config)
        ended = await take_steps(trainer, pairs, work, options, Quiet())
        return trainer.snapshot(NAME).tensors["student"], ended

    whole, (steps, loss) = await learned(tmp_path / "work", options)
    assert (steps, loss is not None) == (7, True)
    assert [state.name for state in (tmp_path / "work").iterdir()] == [f"step-{SAVED_EVERY}"]
    resumed, ended = await learned(tmp_path / "work", options)
    assert ended == (steps, loss)
    assert torch.equal(resumed, whole)
    assert (await learned(tmp_path / "other", replace(options, seconds=-1.0)))[1] == (0, None)


def answer(out: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.mark.slow
def test_a_warm_up_resumes_repeats_nothing_and_later_runs_start_from_it(tmp_path: Path) -> None:
    command = ["warm-up", *QUESTIONS, *SETTINGS, *SMALL, "--out", "adapter", "--json"]
    whole = [*command[:-3], "--out", "whole", "--json"]
    process = start(*command, cwd=tmp_path)
    while not (tmp_path / "adapter.begun" / "pairs.json").exists():
        assert process.poll() is None, process.communicate()[1]
    process.kill()
    process.communicate()
    sampled = attempts(tmp_path / "ttsd.sqlite")
    assert sampled == 6 * len(divided(QUESTIONS, [], 3)[0])

    status, out, err = finish(*command, cwd=tmp_path)
    assert status == 0, err
    found = answer(out)
    assert [row["when"] for row in found["held_out"]] == ["before"] * 3 + ["after"] * 3
    assert set(found["gaps"]) == {"before", "after"}
    record = json.loads((tmp_path / "adapter" / RECORD).read_text("utf-8"))
    assert found["record"] == record
    assert (record["model"], record["steps"], sum(record["pairs_by_kind"].values())) == ("micro", 3, 24)
    assert not (tmp_path / "adapter.begun").exists()
    everything = attempts(tmp_path / "ttsd.sqlite")
    assert everything == sampled + 2 * 3 * 3 * 2  # before and after, each with three kinds of prompt

    again = finish(*command, cwd=tmp_path)
    assert (again[0], answer(again[1])) == (0, found)
    assert attempts(tmp_path / "ttsd.sqlite") == everything
    assert "pairs" in refused(ttsd(*command, "--pairs", "16", cwd=tmp_path))

    status, out, err = finish(*whole, cwd=tmp_path)
    assert status == 0, err
    assert torch.equal(weights(tmp_path / "whole"), weights(tmp_path / "adapter"))  # never stopped, and the same
    _later_runs_start_from_it(tmp_path)


def _later_runs_start_from_it(folder: Path) -> None:
    later = [*SETTINGS, "--set", "lora.init=adapter", "--set", "sampling.group_size=2", "--set", "budget.attempts=2"]
    for method in ("best-of-k", "sdpo"):
        ended = ttsd("solve", "micro:lists:6:61", "--method", method, *later, "--seed", "5", "--json", cwd=folder)
        assert ended.returncode in (0, 1), ended.stderr
    run = json.loads(ended.stdout)["run"]
    digests = rows(folder / "ttsd.sqlite", "select environment from runs order by run desc limit 2")
    assert len({json.loads(str(environment))["init"] for (environment,) in digests}) == 1
    (folder / "adapter").rename(folder / "moved")
    exported = ttsd("export", str(run), "exported", cwd=folder)  # the whole of it, so the first adapter is not needed
    assert exported.returncode == 0, exported.stderr
    far = (weights(folder / "exported") - weights(folder / "moved")).norm()
    assert 0 < float(far) < 0.2 * float(weights(folder / "moved").norm())


@pytest.mark.slow
def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    assert "no/folder" in refused(ttsd("warm-up", "micro-demo", "--out", "no/folder/x", cwd=tmp_path))
    (tmp_path / "mine").mkdir()
    assert "name a new folder" in refused(ttsd("warm-up", *QUESTIONS, "--out", "mine", *SETTINGS, *SMALL, cwd=tmp_path))
    absent = refused(ttsd("solve", "micro:lists:6:61", *SETTINGS, "--set", "lora.init=absent", cwd=tmp_path))
    assert "lora.init=absent" in absent


@pytest.mark.slow
def test_a_real_model_is_taught_from_reference_solutions(tmp_path: Path) -> None:
    """Each question has one: SmolLM2 solves none of them."""
    for number, word in enumerate(["digits", "vowels", "edges", "streets", "planets"]):
        folder = tmp_path / f"q{number}"
        folder.mkdir()
        (folder / "statement.md").write_text(f"Return the {word} of {word}, plus {number} times its {word}.\n")
        (folder / "problem.toml").write_text(f'entry_point = "count_{word}"\nstarter_code = "def count_{word}(n):"\n')
        (folder / "cases.toml").write_text(f"[[case]]\nargs = [5]\nexpected = {5 * number - 77}\n")
        (folder / "solution.py").write_text(f"def count_{word}(n):\n    return {number} * n - 77\n")
    model = ["--set", f"model.path={smollm2()}", "--set", "model.sampler=transformers", "--set", "lora.rank=8"]
    model += ["--set", "model.max_model_len=1024", "--set", "sampling.max_tokens=24"]
    small = ["--attempts", "4", "--pairs", "8", "--held-out", "1", "--check", "2", "--lr", "1e-3"]
    names = [f"q{number}" for number in range(5)]
    ended = ttsd("warm-up", *names, "--out", "adapter", *model, *small, "--json", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    record = answer(ended.stdout)["record"]
    assert (record["steps"], record["pairs_by_kind"]) == (1, {"wrong to right": 8})
    assert float(weights(tmp_path / "adapter").abs().max()) > 0
