"""Configuration: layers, refusals with a remedy, and every shipped file."""

from __future__ import annotations

from pathlib import Path

import pytest

from ttsd.config import Config, Lora, load_config, recorded_config, shipped_configs
from ttsd.errors import UserError


def test_defaults_are_the_papers_test_time_run_on_lora() -> None:
    config = load_config(None, ["model.path=Qwen/Qwen3-8B"])
    assert config.lora.lr == 1e-5
    assert config.sampling.group_size == 16
    assert (config.distillation.alpha, config.distillation.distillation_topk) == (1.0, 20)
    assert (config.teacher.teacher_regularization, config.teacher.teacher_update_rate) == ("ema", 0.01)
    assert (config.distillation.log_ratio_clip, config.distillation.rollout_is_threshold) == (5.0, 2.0)


def test_file_beats_default_and_override_beats_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[budget]\nattempts = 7\n[lora]\nrank = 4\n")
    config = load_config(
        str(file), ["budget.attempts=9", "model.sampler=transformers", "distillation.log_ratio_clip=none"]
    )
    assert (config.budget.attempts, config.lora.rank) == (9, 4)
    assert config.model.sampler == "transformers"
    assert config.distillation.log_ratio_clip is None


def test_the_bundled_model_comes_with_its_own_settings() -> None:
    assert load_config() == load_config("micro-cpu")
    assert load_config(None, ["lora.rank=4"]) == load_config("micro-cpu", ["lora.rank=4"])


@pytest.mark.parametrize("name", shipped_configs())
def test_every_shipped_configuration_loads(name: str) -> None:
    assert load_config(name).model_dump() != Config().model_dump()


def test_there_are_shipped_configurations() -> None:
    assert {"micro-cpu", "qwen3-8b-80gb"} <= set(shipped_configs())


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("budget.atempts=3", "did you mean 'attempts'"),
        ("bugdet.attempts=3", "did you mean 'budget'"),
        ("attempts=3", "section.key=value"),
        ("budget.attempts=0", "greater than or equal to 1"),
        ("budget.attempts=many", "budget.attempts"),
        ("model.sampler=sglang", "'vllm' or 'transformers'"),
        ("reprompt.feedback_template=nothing", "{feedback_raw}"),
        ("model.max_model_len=100", "lower sampling.max_tokens"),
        ("lora.lr=nan", "lora.lr"),
    ],
)
def test_mistakes_are_one_sentence_with_the_remedy(override: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        load_config(None, [override])
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "said"),
    [("micro-cpo", "did you mean 'micro-cpu'"), ("missing/file.toml", "can't read"), ("broken.toml", "not valid TOML")],
)
def test_bad_files_are_named(tmp_path: Path, source: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.toml").write_text("[budget\n")
    with pytest.raises(UserError, match=said):
        load_config(source)


def test_a_setting_that_is_gone_is_refused_with_a_remedy_but_read_in_an_old_record(tmp_path: Path) -> None:
    file = tmp_path / "old.toml"
    file.write_text("[distillation]\nis_clip = 2.0\n")
    with pytest.raises(UserError, match=r"distillation\.is_clip no longer exists .*; remove it"):
        load_config(str(file))
    old = Config(lora=Lora(rank=7)).model_dump()
    old["distillation"]["is_clip"] = 2.0
    del old["budget"]["restart_after_collapse"]
    assert recorded_config(old) == Config(lora=Lora(rank=7))
