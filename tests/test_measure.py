"""Measurements of an engine on this machine, and the plan that is made of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands import refused, ttsd
from ttsd.config import Config, load_config
from ttsd.machine.measured import Measured
from ttsd.machine.plan_table import measured_table
from ttsd.machine.shape import KNOWN
from ttsd.running.measure import AT_ONCE, measure

SMALL = dict(KNOWN["Qwen/Qwen3-0.6B"]) | {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "intermediate_size": 64, "vocab_size": 700,
}  # fmt: skip


@pytest.fixture
def sizes(tmp_path: Path) -> Path:
    """A folder with nothing but a config.json."""
    (tmp_path / "sizes").mkdir()
    (tmp_path / "sizes" / "config.json").write_text(json.dumps(SMALL))
    return tmp_path / "sizes"


def settings(sizes: Path) -> list[str]:
    return [
        f"model.path={sizes}", "model.sampler=transformers", "model.device=cpu", "model.max_model_len=2048",
        "sampling.max_prompt_len=64", "sampling.max_tokens=64", "reprompt.max_reprompt_len=128",
    ]  # fmt: skip


async def measured(config: Config, said: list[str]) -> Measured:
    return await measure(config, random_weights=True, tokens=8, say=said.append)


async def test_a_shape_is_measured_without_weights_and_nothing_is_left(
    sizes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    found = await measured(load_config("micro-cpu", settings(sizes)), said)
    assert [(rate.at_once, rate.with_adapter) for rate in found.rates] == [
        (count, adapted) for count in AT_ONCE for adapted in (False, True)
    ]
    assert all(rate.tokens_per_second > 0 for rate in found.rates)
    short, long = found.learning
    group = load_config("micro-cpu").sampling.group_size
    assert short.tokens == 2 * group * (128 + 8)  # student and teacher, each attempt with a prompt of its own
    assert long.tokens - short.tokens == 2 * group * 3 * 8
    assert short.seconds > 0
    assert (found.model, found.is_cpu) == (str(sizes), True)
    assert found.peak_gib["trainer"] > 0.1
    assert min(found.load_seconds, found.export_seconds, found.swap_seconds, found.save_seconds) > 0
    assert len(measured_table(found)) == 2 + 6 + 2 + 4 + 1
    assert [file.name for file in tmp_path.iterdir()] == ["sizes"]
    assert any("64 at once, adapter" in line for line in said)


@pytest.mark.slow
def test_the_command_writes_what_plan_reads(sizes: Path, tmp_path: Path) -> None:
    chosen = [part for one in settings(sizes) for part in ("--set", one)]
    ended = ttsd("doctor", "--measure", "--random-weights", "--tokens", "8", "--out", "m.json", *chosen, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    planned = ttsd("doctor", "--plan", "m.json", "--tokens", "8", "--json", *chosen, cwd=tmp_path)
    rows = {row["what"]: row["amount"] for row in json.loads(planned.stdout)["rows"]}
    learning = json.loads((tmp_path / "m.json").read_text())["learning"]
    assert rows["swap"] == f"{json.loads((tmp_path / 'm.json').read_text())['swap_seconds']:.1f} s"
    assert float(rows["teacher and student"].removesuffix(" s")) == pytest.approx(learning[0]["seconds"], abs=0.06)
    assert "m2.json' is not a file of measurements" in refused(ttsd("doctor", "--plan", "m2.json", cwd=tmp_path))


@pytest.mark.slow
def test_a_kind_of_model_that_is_unknown_is_refused(sizes: Path, tmp_path: Path) -> None:
    (sizes / "config.json").write_text(json.dumps({name: SMALL[name] for name in SMALL if name != "model_type"}))
    chosen = [part for one in settings(sizes) for part in ("--set", one)]
    ended = ttsd("doctor", "--measure", "--random-weights", *chosen, cwd=tmp_path)
    assert "config.json" in refused(ended)
