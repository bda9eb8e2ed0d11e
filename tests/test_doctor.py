"""What the doctor says of configurations, before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch  # noqa: TID253
from ttsd.machine.step_plan import plan

from tests.commands import refused, ttsd
from tests.tiny import write_model
from ttsd.config import Config, load_config, shipped_configs
from ttsd.machine.doctor import Finding, examine_model, plan_for
from ttsd.machine.gpus import CARDS
from ttsd.machine.shape import KNOWN

CARD_OF = {
    "qwen3-8b-80gb": "h100-80",
    "qwen3-8b-24gb": "l4-24",
    "qwen3-8b-2x24gb": "rtx4090-24",
    "qwen3-4b-24gb": "l4-24",
    "qwen3-4b": "l40s-48",
    "qwen3-0.6b-cpu": "laptop-cpu",
    "qwen2.5-coder-0.5b-cpu": "laptop-cpu",
}


def found(config: Config) -> dict[str, Finding]:
    return {finding.what: finding for finding in examine_model(config)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("name", list(CARD_OF))
def test_every_model_configuration_fits_the_card_that_it_names(name: str) -> None:
    config, card = load_config(name), CARDS[CARD_OF[name]]
    assert plan(config, KNOWN[config.model.path], card).fits
    rows, shared, fits = plan_for(config, CARD_OF[name], 1, 800)
    assert fits
    assert [row["questions"] for row in shared] == ["1", "8", "32"]
    assert {row["where"] for row in rows} == {"trainer", "sampler", "judge", "store"}
    context = found(config)["context length"]
    assert context.works, context.detail


def test_every_shipped_configuration_is_known_here() -> None:
    assert set(shipped_configs()) == {*CARD_OF, "micro", "micro-paper", "paper"}


def test_the_header_gives_the_memory_and_time_of_the_plan() -> None:
    """Rounded as in the files: seconds of a step of one question, at 800 tokens a completion."""
    for name, card in CARD_OF.items():
        seconds = plan_for(load_config(name), card, 1, 800)[1][0]["wall s, a step of all"]
        header = (Path(__file__).parents[1] / "configs" / f"{name}.toml").read_text("utf-8").partition("[model]")[0]
        assert f" {seconds} s " in header, (name, seconds)
        for word in ("Hardware", "Memory", "Time"):
            assert f"# {word}" in header


def test_a_local_model_is_seen_through(model: Path) -> None:
    config = load_config("micro", [f"model.path={model}", "model.max_model_len=2048", "reprompt.max_reprompt_len=1024"])
    config = config.model_copy(update={"sampling": config.sampling.model_copy(update={"max_prompt_len": 1024})})
    findings = found(config)
    for what in ("model", "chat template", "LoRA", "context length", "memory", "disk for store"):
        assert findings[what].works, findings[what]
    assert "Qwen3ForCausalLM" in findings["LoRA"].detail


def changed(model: Path, folder: Path, **sizes: object) -> Path:
    folder.mkdir()
    for file in model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((model / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | sizes))
    return folder


@pytest.mark.parametrize(
    ("settings", "what", "said"),
    [
        (["model.max_model_len=4096"], "context length", "2048 positions"),
        (["model.max_model_len=2048"], "context length", "lower sampling.max_tokens"),
        (["model.kv_cache_gib=100000"], "memory", "choose a smaller model"),
        (["model.path=./nowhere"], "model", "nowhere"),
        pytest.param(["model.path=no/such-model-at-all"], "model", "no/such-model-at-all", marks=pytest.mark.slow),
    ],
)
def test_what_can_not_be_is_found(
    model: Path, settings: list[str], what: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    finding = found(load_config("micro", [f"model.path={model}", *settings]))[what]
    assert not finding.works
    assert said in finding.detail
    assert "\n" not in finding.detail


def test_a_model_without_template_or_of_another_kind_is_found(model: Path, tmp_path: Path) -> None:
    other = changed(model, tmp_path / "other", architectures=["Qwen3MoeForCausalLM"])
    (other / "chat_template.jinja").unlink()
    findings = found(load_config("micro", [f"model.path={other}"]))
    assert not findings["chat template"].works
    assert not findings["LoRA"].works
    assert "--hot-swap" in findings["LoRA"].detail


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a card")
def test_a_card_that_is_not_here_is_found_and_the_rest_is_examined_too(model: Path) -> None:
    findings = found(load_config("micro", [f"model.path={model}", "model.device=auto", "model.trainer_device=cuda:1"]))
    assert not findings["memory"].works
    assert "cuda:1 is wanted in [model], but PyTorch finds no CUDA device here" in findings["memory"].detail
    assert findings["LoRA"].works
    assert "disk for store" in findings


def test_a_model_that_is_not_here_is_planned_without_a_network() -> None:
    findings = found(load_config("qwen3-8b-80gb"))
    assert findings["model"].works
    assert "disk for the download" in findings


@pytest.mark.slow
def test_the_command_refuses_an_unknown_card_and_prints_both_tables(tmp_path: Path) -> None:
    assert "laptop-cpu" in refused(ttsd("doctor", "--plan", "voodoo2", cwd=tmp_path))
    ended = ttsd("doctor", "--plan", "h100-80", "-c", "qwen3-8b-80gb", "--tokens", "800", "--json", cwd=tmp_path)
    answer = json.loads(ended.stdout)
    assert (ended.returncode, answer["fits"]) == (0, True)
    assert float(answer["shared"][1]["gain"]) > 1
    assert answer["shared"][2]["gain"] == "-"
