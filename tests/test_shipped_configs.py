"""Every shipped configuration goes round the whole ring on a CPU, with a tiny random model of its architecture."""

from __future__ import annotations

from pathlib import Path

import pytest

from problems import load
from tests.tiny import write_model
from ttsd.config import Config, load_config, shipped_configs
from ttsd.record.run import Run
from ttsd.record.store import Store
from ttsd.reporting.board import QuietView
from ttsd.running.solve import solve


class SilentView(QuietView):
    """A view that may be talked to."""

    def say(self, text: str) -> None: ...


def family(config: Config) -> str:
    """The architecture of the published model that a configuration names."""
    path = config.model.path
    return "llama" if "SmolLM2" in path else "qwen2" if "Qwen2.5" in path else "qwen3"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in shipped_configs() if load_config(name).model.path != "micro"])
async def test_a_shipped_configuration_goes_round_the_ring(name: str, tmp_path: Path) -> None:
    """Its own but for what a tiny model and a CPU change: path, device, sampler, quantisation, how much is sampled."""
    published = load_config(name)
    positions = published.model.max_model_len or 32768
    folder = write_model(tmp_path / "model", family=family(published), positions=positions)
    sections = published.model_dump()
    sections["model"] |= {"path": str(folder), "sampler": "transformers"}
    sections["model"] |= {"device": "cpu", "sampler_device": "auto", "trainer_device": "auto"}
    sections["model"] |= {"quantize_base": "none", "sampler_quantization": "none"}
    sections["sampling"] |= {"group_size": 2, "max_tokens": 24}
    sections["budget"] |= {"attempts": 4, "continue_after_discovery": True}
    sections["store"] |= {"path": str(tmp_path / "ttsd.sqlite")}
    config = Config.model_validate(sections)
    answer = await solve(Run(load("micro:lists:3:1"), config, 0), view=SilentView())
    with Store(config.store.path) as store:
        steps = list(store.steps(answer.run))
    assert [step["metrics"]["updated"] for step in steps] == [1, 1]
