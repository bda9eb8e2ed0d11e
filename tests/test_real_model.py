"""SmolLM2-135M, a real pretrained model, goes the way that the bundled one goes: as a folder and as a GGUF file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.commands import refused, rows, ttsd
from tests.real_models import smollm2
from ttsd.backbone import Tokenizer, resolve
from ttsd.backbone.processor import resolved_dtype

SETTINGS = ["--set", "model.max_model_len=512", "--set", "sampling.max_tokens=24", "--set", "lora.rank=8"]


@pytest.mark.slow
def test_a_gguf_file_that_is_missing_or_broken_is_one_sentence(tmp_path: Path) -> None:
    absent = refused(ttsd("solve", "micro:lists:3:1", "--set", f"model.path={tmp_path}/none.gguf"))
    assert "there is no GGUF file" in absent
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(100))
    broken = refused(ttsd("solve", "micro:lists:3:1", "--set", f"model.path={tmp_path}/broken.gguf", cwd=tmp_path))
    assert "broken.gguf" in broken


@pytest.mark.slow
def test_a_gguf_file_becomes_a_folder_that_is_kept_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = smollm2()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = resolve(f"{folder}.gguf")
    shutil.copy(f"{folder}.gguf", tmp_path / "renamed.gguf")
    before = (Path(made) / "model.safetensors").stat().st_mtime_ns
    assert resolve(str(tmp_path / "renamed.gguf")) == made
    assert (Path(made) / "model.safetensors").stat().st_mtime_ns == before
    ours, theirs = (load_file(Path(place) / "model.safetensors") for place in (made, folder))
    assert ours.keys() == theirs.keys()
    assert all(bool((ours[name] == theirs[name]).all()) for name in ours)
    assert json.loads((Path(made) / "config.json").read_text())["tie_word_embeddings"]
    tokenizers = [Tokenizer.load(place, enable_thinking=False, system_prompt=None) for place in (made, str(folder))]
    assert tokenizers[0].chat("two\nlines") == tokenizers[1].chat("two\nlines")


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["transformers", "vllm"])
def test_sampler_and_trainer_agree_on_a_real_model_in_the_processors_own_dtype(sampler: str) -> None:
    model = [
        "--set",
        f"model.path={smollm2()}",
        "--set",
        f"model.sampler={sampler}",
        "--set",
        "model.kv_cache_gib=0.25",
    ]
    ended = ttsd("doctor", "--hot-swap", "--json", *model, *SETTINGS)
    found = {row["what"]: row for row in json.loads(ended.stdout)}
    assert found["adapter hot-swap"]["works"], found["adapter hot-swap"]
    assert "trainer agree to" in found["adapter hot-swap"]["detail"]


@pytest.mark.slow
def test_a_real_model_takes_a_step_and_its_adapter_is_exported(tmp_path: Path) -> None:
    model = ["--set", f"model.path={smollm2()}", "--set", "model.sampler=transformers"]
    budget = ["--set", "sampling.group_size=2", "--set", "budget.attempts=2"]
    ended = ttsd("solve", "micro:lists:3:1", "--json", *model, *budget, *SETTINGS, cwd=tmp_path)
    assert ended.returncode == 1, ended.stderr
    answer = json.loads(ended.stdout)
    assert (answer["attempts"], answer["steps"], answer["discovered"]) == (2, 1, False)
    ((environment, metrics),) = rows(
        tmp_path / "ttsd.sqlite", "select environment, metrics from runs join steps on runs.run = steps.run"
    )
    assert json.loads(environment)["dtype"] == resolved_dtype("auto", "cpu")
    assert json.loads(metrics)["updated"] == 1
    exported = ttsd("export", "1", "adapter", *model, cwd=tmp_path)
    assert exported.returncode == 0, exported.stderr
    weights = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert any(float(weight.abs().max()) > 0 for name, weight in weights.items() if "lora_B" in name)
