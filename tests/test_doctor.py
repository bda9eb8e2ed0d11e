"""What the doctor says of configurations, before anything is loaded."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch  # noqa: TID253

from tests.commands import ttsd
from tests.tiny import write_model
from ttsd.config import Config, load_config
from ttsd.errors import UserError
from ttsd.machine.doctor import Finding, conclusion, examine, examine_model
from ttsd.machine.shape import model_facts
from ttsd.running import fitting


def found(config: Config) -> dict[str, Finding]:
    return {one.what: one for one in examine_model(config, *model_facts(config.model.path, None))}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


def test_a_missing_sampler_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    lacks, has = (
        {one.what: one for one in examine(load_config("micro", [f"model.sampler={name}"]), None)}["sampler"]
        for name in ("vllm", "transformers")
    )
    assert (lacks.works, has.works) == (False, True)
    assert "--set model.sampler=transformers" in lacks.detail
    assert has.detail.startswith("transformers ")


def test_a_local_model_is_seen_through(model: Path) -> None:
    config = load_config("micro", [f"model.path={model}", "model.max_model_len=2048", "reprompt.max_reprompt_len=1024"])
    config = config.model_copy(update={"sampling": config.sampling.model_copy(update={"max_prompt_len": 1024})})
    findings = found(config)
    for what in ("model", "chat template", "context length", "memory", "disk for store"):
        assert findings[what].works, findings[what]


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
        (["model.max_model_len=2048"], "context length", "lower sampling.max_tokens"),
        (["model.sampler=vllm", "model.kv_cache_gib=100000"], "memory", "choose a smaller model"),
    ],
)
def test_what_can_not_be_is_found(model: Path, settings: list[str], what: str, said: str) -> None:
    finding = found(load_config("micro", [f"model.path={model}", *settings]))[what]
    assert not finding.works
    assert said in finding.detail
    assert "\n" not in finding.detail


@pytest.mark.parametrize(
    "path", ["./nowhere", f"./{Path(__file__).name}", pytest.param("no/such-model-at-all", marks=pytest.mark.slow)]
)
def test_a_model_that_is_nowhere_is_looked_for_once(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network that takes half a minute."""
    asked = []

    def facts(*place: str | None) -> object:
        asked.append(place)
        return model_facts(*place)  # type: ignore[arg-type]

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # the variable was read when it was imported
    monkeypatch.setattr(fitting, "model_facts", facts)
    monkeypatch.chdir(Path(__file__).parent)
    findings = fitting.examined(load_config("micro", [f"model.path={path}"]))[0]
    (said,) = [one.detail for one in findings if one.what == "model" and one.works is False]
    assert path.strip("./") in said
    assert "\n" not in said
    assert asked == [(path, None)]


def test_a_length_beyond_the_models_own_is_found(model: Path) -> None:
    config = load_config("micro", [f"model.path={model}", "model.max_model_len=4096"])
    with pytest.raises(UserError, match=r"model.max_model_len=4096 is more than the 2048 tokens that the model takes"):
        fitting.fit_for(config, fitting.this_machine())
    (settings,) = [one for one in fitting.examined(config)[0] if one.what == "settings"]
    assert not settings.works
    assert "max_model_len=4096" in settings.detail


def test_the_template_is_tried_with_the_settings_of_the_run(model: Path, tmp_path: Path) -> None:
    other = changed(model, tmp_path / "other")
    template = (other / "chat_template.jinja").read_text("utf-8")
    refusal = "{% if effort is not defined %}{{ raise_exception('no effort') }}{% endif %}"
    (other / "chat_template.jinja").write_text(refusal + template, "utf-8")
    without, extra = [f"model.path={other}"], ['model.chat_template_kwargs={effort = "low"}']
    assert "no effort" in found(load_config("micro", without))["chat template"].detail
    assert found(load_config("micro", [*without, *extra]))["chat template"].works
    unknown = found(load_config("micro", [*without, "model.chat_template_kwargs={effort = 1, depth = 2}"]))
    assert "knows no depth" in unknown["chat template"].detail


def test_a_model_without_template_is_found(model: Path, tmp_path: Path) -> None:
    other = changed(model, tmp_path / "other")
    (other / "chat_template.jinja").unlink()
    assert found(load_config("micro", [f"model.path={other}"]))["chat template"].works is False


def test_a_model_whose_experts_get_no_adapter_is_no_fault(model: Path, tmp_path: Path) -> None:
    """Qwen3-30B-A3B is a family that is proved right."""
    other = changed(model, tmp_path / "other", architectures=["Qwen3MoeForCausalLM"])
    findings = found(load_config("micro", [f"model.path={other}"]))
    assert [what for what, one in findings.items() if one.works is False] == ["context length"]


@pytest.mark.parametrize("fault", ["none", "cut", "part"])
def test_a_model_without_all_of_its_weights_is_not_ready(fault: str, model: Path, tmp_path: Path) -> None:
    other = changed(model, tmp_path / "other")
    weights = other / "model.safetensors"
    if fault == "none":
        weights.unlink()
    elif fault == "cut":
        weights.write_bytes(weights.read_bytes()[:-8])
    else:
        index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
        (other / "model.safetensors.index.json").write_text(json.dumps(index))
    finding = found(load_config("micro", [f"model.path={other}"]))["model"]
    assert finding.works is False
    assert str(other) in finding.detail  # in full
    said = {"none": "has no weights", "cut": "fetch them again", "part": "lacks model-2.safetensors"}
    assert said[fault] in finding.detail


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_here_is_found_and_the_rest_is_examined_too(model: Path) -> None:
    findings = found(load_config("micro", [f"model.path={model}", "model.device=cuda:0+cuda:1", "model.sampler=vllm"]))
    assert not findings["memory"].works
    assert (
        "cuda:0+cuda:1 names a GPU, but the machine has no GPU; name another, cpu or auto" in findings["memory"].detail
    )
    assert "disk for store" in findings


def test_a_model_that_is_not_here_is_examined_without_a_network() -> None:
    findings = found(load_config(model="Qwen/Qwen3-8B", overrides=["model.sampler=transformers"]))
    assert [findings[what].works for what in ("model", "chat template")] == [None] * 2
    assert "disk for the download" in findings


@pytest.mark.slow
def test_a_model_of_which_only_the_configuration_was_fetched_is_not_here(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "models--org--small"
    for name, text in {"refs/main": "abc", "snapshots/abc/config.json": (model / "config.json").read_text()}.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(text)
    ended = ttsd("doctor", "-m", "org/small", "--json", cwd=tmp_path, HF_HOME=str(tmp_path), HF_HUB_OFFLINE="1")
    findings = {row["what"]: row for row in json.loads(ended.stdout)}
    assert findings["model"]["works"] is None
    assert "disk for the download" in findings


def test_the_last_line_says_whether_this_machine_is_ready_and_why() -> None:
    good, bad, unseen = Finding("a", True, "1"), Finding("b", False, "missing"), Finding("c", None, "not here")
    assert conclusion([good]) == "ready"
    assert conclusion([good, unseen]) == "ready; not checked: c"
    worse = Finding("d", False, "broken")
    assert conclusion([good, bad, unseen, worse]) == "not ready: b: missing; d: broken"
    assert conclusion([bad, Finding("d", False, "missing")]) == "not ready: b: missing"  # a fault is said once


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
def test_the_command_fits_the_settings_and_says_so(model: Path, tmp_path: Path) -> None:
    ended = ttsd("doctor", "-m", str(model), "--json", cwd=tmp_path)
    settings = {row["what"]: row for row in json.loads(ended.stdout)}["settings"]
    assert settings["works"]
    assert settings["detail"].startswith(f"{model}: transformers on cpu, ")
