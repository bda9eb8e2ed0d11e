"""What the doctor says of configurations, before anything is loaded."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
import torch  # noqa: TID253

from tests.commands import refused, ttsd
from tests.tiny import write_model
from ttsd.config import Config, load_config, shipped_configs
from ttsd.machine.doctor import Finding, conclusion, examine, examine_model, plan_for
from ttsd.machine.memory import NF4_BYTES
from ttsd.machine.shape import KNOWN, Shape

GPU_OF = {
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


def gib(rows: list[dict[str, str]], where: str, what: str = "all") -> float:
    """Returns one cell of a plan."""
    (cell,) = (row["memory"] for row in rows if (row["where"], row["what"]) == (where, what))
    return float(cell.removesuffix(" GiB"))


@pytest.mark.parametrize("method", ["sdpo", "multi-turn+sdpo"])
@pytest.mark.parametrize("name", list(GPU_OF))
def test_every_model_configuration_fits_the_gpu_that_it_names(name: str, method: str) -> None:
    config = load_config(name, [f"method={method}"])
    rows, fits = plan_for(config, GPU_OF[name], 1)
    assert fits
    assert {row["where"] for row in rows} == {"trainer", "sampler"}
    parts = [row for row in rows if row["what"] != "all"]
    assert sum(gib(parts, row["where"], row["what"]) for row in parts) == pytest.approx(
        gib(rows, "trainer") + gib(rows, "sampler"), abs=0.06
    )
    context = found(config)["context length"]
    assert context.works, context.detail


def test_every_shipped_configuration_is_known_here() -> None:
    assert set(shipped_configs()) == {*GPU_OF, "micro"}


@pytest.mark.parametrize("name", list(GPU_OF))
def test_the_header_gives_the_memory_of_the_plan(name: str) -> None:
    header = (Path(__file__).parents[1] / "configs" / f"{name}.toml").read_text("utf-8").partition("[model]")[0]
    assert "# Hardware" in header
    assert "# Time" not in header
    rows, _ = plan_for(load_config(name), GPU_OF[name], 1)
    planned = {"trainer": gib(rows, "trainer"), "sampler": gib(rows, "sampler")}
    (memory,) = (line for line in header.splitlines() if line.startswith("# Memory"))
    stated = dict(re.findall(r"(trainer|sampler) ([\d.]+)", memory.partition(":")[0]))
    if total := re.search(r"([\d.]+) GiB in all", memory):
        stated["all"], planned["all"] = total[1], sum(planned.values())
    assert stated
    for process, amount in stated.items():
        decimals = len(amount.partition(".")[2])
        assert amount == f"{planned[process]:.{decimals}f}", (process, planned)


def test_a_plan_counts_every_question_and_the_base_once() -> None:
    config = load_config("qwen3-8b-24gb")
    (one, fits), (many, too_many) = (plan_for(config, "l4-24", count) for count in (1, 16))
    assert (fits, too_many) == (True, False)
    weights = Shape.read(KNOWN[config.model.path])
    assert gib(many, "trainer", "base weights") == gib(one, "trainer", "base weights")
    nf4 = (weights.linear * NF4_BYTES + weights.embedding * 2) / 2**30
    assert gib(one, "trainer", "base weights") == pytest.approx(nf4, abs=0.01)
    own = "adapters and optimizer"
    assert gib(many, "trainer", own) == pytest.approx(16 * gib(one, "trainer", own), rel=0.02)


def test_a_laptops_processor_is_planned_without_bfloat16() -> None:
    """Whatever the processor of this machine computes in."""
    auto, float32 = (
        plan_for(load_config("qwen3-0.6b-cpu", [f"model.dtype={dtype}"]), "laptop-cpu", 1)
        for dtype in ("auto", "float32")
    )
    assert auto == float32


def test_a_missing_sampler_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    lacks, has = (
        {one.what: one for one in examine(load_config("micro", [f"model.sampler={name}"]))}["sampler"]
        for name in ("vllm", "transformers")
    )
    assert (lacks.works, has.works) == (False, True)
    assert "--set model.sampler=transformers" in lacks.detail
    assert has.detail.startswith("transformers ")


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
    assert findings["chat template"].works is False
    assert findings["LoRA"].works is False
    assert "--hot-swap" in findings["LoRA"].detail
    unknown = changed(model, tmp_path / "unknown", architectures=["GraniteForCausalLM"])
    assert found(load_config("micro", [f"model.path={unknown}"]))["LoRA"].works is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_here_is_found_and_the_rest_is_examined_too(model: Path) -> None:
    findings = found(load_config("micro", [f"model.path={model}", "model.device=auto", "model.trainer_device=cuda:1"]))
    assert not findings["memory"].works
    assert "cuda:1 is wanted in [model], but PyTorch finds no CUDA device here" in findings["memory"].detail
    assert findings["LoRA"].works
    assert "disk for store" in findings


def test_a_model_that_is_not_here_is_planned_without_a_network() -> None:
    findings = found(load_config("qwen3-8b-80gb"))
    assert [findings[what].works for what in ("model", "chat template", "LoRA")] == [None] * 3
    assert "disk for the download" in findings


def test_the_last_line_says_whether_this_machine_is_ready_and_why() -> None:
    good, bad, unseen = Finding("a", True, "1"), Finding("b", False, "missing"), Finding("c", None, "not here")
    assert conclusion([good]) == "ready"
    assert conclusion([good, unseen]) == "ready; not checked: c"
    assert conclusion([good, bad, unseen, bad]) == "not ready: b: missing; b: missing"


@pytest.mark.slow
def test_the_command_says_what_it_has_seen_and_ends_with_one_line(tmp_path: Path) -> None:
    ended = ttsd("doctor", "--set", "model.sampler=transformers", cwd=tmp_path)
    *rows, empty, last = ended.stdout.splitlines()
    assert (ended.returncode, empty, last) == (0, "", "ready; not checked: adapter hot-swap")
    (sandbox,) = (row for row in rows if "sandbox" in row)
    assert " promises hold" in sandbox
    broken = ttsd("doctor", "--sandbox", "--set", "model.path=./nowhere", cwd=tmp_path)
    assert broken.returncode == 3
    assert broken.stdout.count("sandbox: ") > 20
    assert broken.stdout.splitlines()[-1].startswith("not ready: model: ")


@pytest.mark.slow
def test_the_command_refuses_an_unknown_gpu_and_plans_memory(tmp_path: Path) -> None:
    assert "laptop-cpu" in refused(ttsd("doctor", "--plan", "voodoo2", cwd=tmp_path))
    asked = ["doctor", "--plan", "h100-80", "-c", "qwen3-8b-80gb"]
    ended = ttsd(*asked, "--json", cwd=tmp_path)
    answer = json.loads(ended.stdout)
    assert (ended.returncode, answer["fits"], set(answer)) == (0, True, {"fits", "rows"})
    assert set(answer["rows"][0]) == {"where", "what", "memory", "note"}
    ended = ttsd(*asked, "--questions", "32", cwd=tmp_path)
    assert ended.returncode == 3
    assert "adapters and optimizer" in ended.stdout
