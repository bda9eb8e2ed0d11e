"""Configuration: layers, refusals with a remedy, and every shipped file."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic.fields import FieldInfo
from typer.testing import CliRunner

from ttsd.cli.commands import app
from ttsd.config import Config, load_config, shipped_configs
from ttsd.config.setting import section
from ttsd.errors import UserError

ROOT = Path(__file__).parents[1]


def test_defaults_are_the_papers_run_on_lora() -> None:
    """Table 12 of arXiv 2601.20802, column TTT; the learning rate is ten times the one for all weights."""
    config = Config()
    assert (config.method, config.sampling.group_size, config.sampling.temperature) == ("sdpo", 16, 1.0)
    assert (config.sampling.max_prompt_len, config.sampling.max_tokens) == (2048, 8192)
    assert (config.distillation.alpha, config.distillation.distillation_topk) == (1.0, 20)
    assert (config.distillation.log_ratio_clip, config.distillation.rollout_is_threshold) == (5.0, 2.0)
    assert (config.teacher.teacher_regularization, config.teacher.teacher_update_rate) == ("ema", 0.01)
    assert (config.lora.lr, config.lora.weight_decay, config.lora.grad_clip) == (1e-5, 0.01, 1.0)
    assert config.reprompt.max_reprompt_len == 10240
    assert config.extensions.feedback_items == 1


def test_the_bundled_models_configuration_names_the_method_that_wins_on_it() -> None:
    assert load_config("micro").method == "multi-turn+sdpo"
    assert {load_config(name).method for name in shipped_configs()} == {"multi-turn+sdpo", "sdpo"}


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
    assert load_config() == load_config("micro")
    assert load_config(None, ["lora.rank=4"]) == load_config("micro", ["lora.rank=4"])


@pytest.mark.parametrize("name", shipped_configs())
def test_every_shipped_configuration_loads(name: str) -> None:
    assert load_config(name).model_dump() != Config().model_dump()


def test_there_are_shipped_configurations() -> None:
    assert {"micro", "qwen3-8b-80gb"} <= set(shipped_configs())


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("budget.atempts=3", "did you mean 'attempts'"),
        ("bugdet.attempts=3", "did you mean 'budget'"),
        ("attempts=3", "section.key=value"),
        ("sampling.reading_window=none", "unknown setting"),
        ("budget.attempts=0", "greater than or equal to 1"),
        ("budget.attempts=many", "budget.attempts"),
        ("model.sampler=sglang", "'vllm', 'transformers' or 'endpoint'"),
        ("reprompt.feedback_template=nothing", "{feedback_raw}"),
        ("model.max_model_len=100", "lower sampling.max_tokens"),
        ("lora.lr=nan", "lora.lr"),
        ("model.sampler_quantization=int3", "'none' or 'fp8'"),
        ("store.path=", "store.path is empty"),
        ("lora.target_modules=q_proj", """--set 'lora.target_modules=["q_proj"]'"""),
        (
            "lora.target_modules=q_proj, k_proj",
            """write all-linear, or a list, as in --set 'lora.target_modules=["q_pr""",
        ),
    ],
)
def test_mistakes_are_one_sentence_with_the_remedy(override: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        load_config(None, [override])
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "said"),
    [("micro-cpo", "did you mean 'micro'"), ("missing/file.toml", "can't read"), ("broken.toml", "not valid TOML")],
)
def test_bad_files_are_named(tmp_path: Path, source: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.toml").write_text("[budget\n")
    with pytest.raises(UserError, match=said):
        load_config(source)


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("distillation.rollout_is_threshold=none", None),
        ("model.quantize_base=none", "none"),
        ("store.track=none", "none"),
        ("store.path=2024-01-01", "2024-01-01"),
        ("store.path=7", "7"),
        ("model.path=true", "true"),
        ('model.system_prompt="two\\nlines"', "two\nlines"),
        ("model.system_prompt=none", None),
        ("distillation.distillation_topk=None", None),
        ("budget.attempts=1_000", 1000),
        ("lora.lr=2", 2.0),
        ("extensions.history_shows_attempts=True", True),
        ('lora.target_modules=["q_proj", "v_proj"]', ["q_proj", "v_proj"]),
    ],
)
def test_an_override_is_read_by_its_settings_type(override: str, value: object) -> None:
    table, _, key = override.partition("=")[0].partition(".")
    assert load_config(None, [override]).model_dump()[table][key] == value


def test_the_method_is_a_setting_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('method = "grpo"\n')
    assert load_config(str(tmp_path / "mine.toml")).method == "grpo"
    assert load_config(str(tmp_path / "mine.toml"), ["method=best-of-k"]).method == "best-of-k"


def fields() -> list[tuple[str, FieldInfo]]:
    return [
        (f"{name}.{key}", field)
        for name in Config.model_fields
        if (kind := section(Config, name)) is not None
        for key, field in kind.model_fields.items()
    ]


def test_every_setting_is_used_by_a_test() -> None:
    """By its name, or (as `settings(name=...)`, `changed(section, name=...)`) as a keyword."""
    text = "\n".join(file.read_text("utf-8") for file in (ROOT / "tests").rglob("*.py"))
    unused = [name for name, _ in fields() if not re.search(rf"\b{name.partition('.')[2]}\b", text)]
    assert unused == []


@pytest.mark.parametrize(("name", "field"), fields())
def test_every_setting_has_a_meaning(name: str, field: FieldInfo) -> None:
    assert field.description, name


def ttsd(*arguments: str) -> str:
    ended = CliRunner().invoke(app, arguments)
    assert ended.exit_code == 0, ended.output
    return ended.stdout


def test_the_reference_in_the_documentation_is_the_one_that_the_settings_give() -> None:
    page = Path(__file__).parents[1] / "docs" / "settings.md"
    assert page.read_text("utf-8") == ttsd("config", "reference"), "run: ttsd config reference > docs/settings.md"


def test_the_reference_names_the_keys_of_the_papers_code() -> None:
    entries: list[dict[str, Any]] = json.loads(ttsd("config", "reference", "--json"))
    assert [entry["setting"] for entry in entries] == ["method", *(name for name, _ in fields())]
    alpha = next(entry for entry in entries if entry["setting"] == "distillation.alpha")
    assert (alpha["paper"], alpha["code"]) == ("divergence", "self_distillation.alpha")
    assert (alpha["default"], alpha["values"]) == (1.0, "number, at least 0, at most 1")


@pytest.mark.parametrize("source", [*shipped_configs(), None])
def test_what_config_show_prints_is_a_configuration_file(source: str | None, tmp_path: Path) -> None:
    overrides = ['model.system_prompt=a "word" and\na line', "distillation.distillation_topk=none"]
    arguments = [*(["-c", source] if source else []), *(f"--set={override}" for override in overrides)]
    (tmp_path / "shown.toml").write_text(ttsd("config", "show", *arguments))
    assert load_config(str(tmp_path / "shown.toml")) == load_config(source, overrides)
    assert json.loads(ttsd("config", "show", "--json", *arguments)) == load_config(source, overrides).model_dump()


def test_config_show_says_what_differs_from_the_defaults() -> None:
    shown = ttsd("config", "show", "--set", "budget.attempts=64")
    assert "attempts = 64  # default: 512\n" in shown
    assert tomllib.loads(shown)["budget"]["attempts"] == 64
