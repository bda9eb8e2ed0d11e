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
from ttsd.config import Config, flat, load_config, shipped_configs
from ttsd.config.setting import section
from ttsd.errors import UserError
from ttsd.record.run import binding
from ttsd.running.fitting import check_named
from ttsd.training.state import GRAD_CLIP
from ttsd.training.trainer import LOG_RATIO_CLIP

ROOT = Path(__file__).parents[1]


def test_defaults_are_the_papers_run_on_lora() -> None:
    """Table 12 of arXiv 2601.20802, column TTT; the learning rate is ten times the one for all weights."""
    config = Config()
    assert (config.method, config.sampling.group_size, config.sampling.temperature) == ("sdpo", 16, 1.0)
    assert (config.sampling.max_prompt_len, config.sampling.max_tokens) == (2048, 8192)
    assert (config.distillation.alpha, config.distillation.distillation_topk) == (1.0, 20)
    assert (LOG_RATIO_CLIP, config.distillation.rollout_is_threshold) == (5.0, 2.0)
    assert (config.teacher.teacher_regularization, config.teacher.teacher_update_rate) == ("ema", 0.01)
    assert (config.lora.lr, config.lora.weight_decay, GRAD_CLIP) == (1e-5, 0.01, 1.0)
    assert config.reprompt.max_reprompt_len == 10240
    assert config.extensions.feedback_items == 1


def test_the_bundled_models_configuration_names_the_method_that_wins_on_it() -> None:
    assert load_config("micro").method == "multi-turn+sdpo"
    assert load_config(model="some/model").method == "sdpo"


def test_file_beats_default_and_override_beats_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[budget]\nattempts = 7\n[lora]\nrank = 4\n")
    config = load_config(
        str(file), ["budget.attempts=9", "model.sampler=transformers", "distillation.distillation_topk=none"]
    )
    assert (config.budget.attempts, config.lora.rank) == (9, 4)
    assert config.model.sampler == "transformers"
    assert config.distillation.distillation_topk is None


def test_the_bundled_model_comes_with_its_own_settings() -> None:
    assert load_config() == load_config("micro")
    assert load_config(None, ["lora.rank=4"]) == load_config("micro", ["lora.rank=4"])


@pytest.mark.parametrize("name", shipped_configs())
def test_every_shipped_configuration_loads(name: str) -> None:
    assert load_config(name).model_dump() != Config().model_dump()


def test_there_are_shipped_configurations() -> None:
    assert shipped_configs() == ["micro"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("budget.atempts=3", "did you mean 'attempts'"),
        ("bugdet.attempts=3", "did you mean 'budget'"),
        ("attempts=3", "section.key=value"),
        ("sampling.reading_window=none", "unknown setting"),
        ("budget.attempts=0", "greater than or equal to 1"),
        ("budget.attempts=many", "budget.attempts"),
        ("model.device=tpu", "tpu is no device"),
        ("store.path=$TTSD_NO_SUCH/x", "$TTSD_NO_SUCH, and the environment has no such variable"),
        ("lora.lr=nan", "lora.lr"),
        ("model.quantization=int3", "'none', 'fp8', 'nf4' or 'fp8+nf4'"),
        ("store.path=", "store.path is empty"),
        ("judge.packages=numpy", """--set 'judge.packages=["numpy"]'"""),
        ("judge.packages=numpy, scipy", """write a list, as in --set 'judge.packages=["numpy", "scipy"]'"""),
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
        ("model.quantization=none", "none"),
        ("store.track=none", "none"),
        ("store.path=2024-01-01", "2024-01-01"),
        ("store.path=7", "7"),
        ("model.path=true", "true"),
        ('model.system_prompt="two\\nlines"', "two\nlines"),
        ("model.system_prompt=none", None),
        ("distillation.distillation_topk=None", None),
        ("budget.attempts=1_000", 1000),
        ("lora.lr=2", 2.0),
        ("extensions.return_to_best=True", True),
        ('judge.packages=["numpy", "scipy"]', ["numpy", "scipy"]),
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
    """With all that was fitted, and nothing is left to fit."""
    overrides = ['model.system_prompt=a "word" and\na line', "distillation.distillation_topk=none"]
    arguments = [*(["-c", source] if source else []), *(f"--set={override}" for override in overrides)]
    (tmp_path / "shown.toml").write_text(ttsd("config", "show", *arguments))
    shown, plain = load_config(str(tmp_path / "shown.toml")), load_config(source, overrides)
    assert binding(shown.model_dump()) == binding(plain.model_dump())
    again = json.loads(ttsd("config", "show", "--json", "-c", str(tmp_path / "shown.toml")))
    assert again["settings"] == shown.model_dump()
    assert "fit" not in again["from"].values()


def test_config_show_says_what_differs_from_the_defaults_and_where_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TTSD_CONFIG", "user.toml")
    Path("user.toml").write_text("[lora]\nrank = 5\n[sampling]\ntemperature = 0.5\n")
    Path("ttsd.toml").write_text("[lora]\nrank = 6\n")
    Path("mine.toml").write_text("[teacher]\nteacher_update_rate = 0.5\n")
    shown = ttsd("config", "show", "-c", "micro", "-c", "mine.toml", "--set", "budget.attempts=64")
    for line in (
        "attempts = 64  # --set; default: 512",
        "rank = 16  # -c micro; default: 32",
        "temperature = 0.5  # TTSD_CONFIG=user.toml; default: 1.0",
        "teacher_update_rate = 0.5  # -c mine.toml; default: 0.01",
        "tensor_parallel_size = 1  # fit",
        "memory_mib = 1024",
    ):
        assert f"\n{line}\n" in shown
    assert tomllib.loads(shown)["budget"]["attempts"] == 64
    origins = json.loads(ttsd("config", "show", "--json", "-m", "micro"))["from"]
    assert (origins["lora.rank"], origins["model.path"], origins["judge.split"]) == ("ttsd.toml", "-m", "default")


def test_the_last_of_several_layers_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TTSD_CONFIG", str(tmp_path / "user.toml"))
    files = {
        "user": "attempts = 1\ntokens = 1\nseconds = 1",
        "ttsd": "attempts = 2\ntokens = 2",
        "mine": "attempts = 3",
    }
    for name, text in files.items():
        Path(f"{name}.toml").write_text(f"[budget]\n{text}\n")
    budget = load_config("mine.toml").budget
    assert (budget.attempts, budget.tokens, budget.seconds) == (3, 2, 1)
    assert load_config(["mine.toml", "ttsd.toml"]).budget.attempts == 2
    assert load_config(["ttsd.toml", "mine.toml"], ["budget.attempts=4"]).budget.attempts == 4


def test_the_models_option_beats_files_and_the_bundled_settings_are_for_the_bundled_model(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[model]\npath = "one/model"\n')
    mine = str(tmp_path / "mine.toml")
    assert load_config(mine, model="other/model").model.path == "other/model"
    assert load_config(mine, ["model.path=third/model"], model="other/model").model.path == "third/model"
    assert load_config(mine).lora == Config().lora
    assert load_config(mine, model="micro").lora == load_config("micro").lora


def test_a_folders_own_settings_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ttsd.toml").write_text("[budget]\nattempts = 3\n[judge]\nslots = 1\n")
    assert load_config().budget.attempts == 3
    assert capsys.readouterr().err == f"ttsd: {tmp_path}/ttsd.toml sets budget.attempts, judge.slots\n"


@pytest.mark.parametrize(
    "setting",
    [
        *("judge.unsafe_no_sandbox = true", 'judge.python = "./python"'),
        *('model.path = "http://somebody/v1"', 'reprompt.hints = "https://somebody/v1"'),
    ],
)
def test_a_folders_own_settings_may_not_weaken_the_sandbox_or_ask_for_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ttsd.toml").write_text(setting)
    for sources in ([], ["micro"], ["ttsd.toml"]):
        with pytest.raises(UserError, match=r"ttsd\.toml sets \w+\.\w+, which a folder's own file may not"):
            load_config(sources)


@pytest.mark.parametrize("place", ["model.path", "store.path", "store.state_dir", "judge.python", "lora.init"])
def test_a_home_folder_and_variables_in_a_path_are_replaced(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("SCRATCH", "/scratch")
    for given, meant in (("~/a", "/home/somebody/a"), ("$SCRATCH/a", "/scratch/a"), ("${SCRATCH}/a", "/scratch/a")):
        assert flat(load_config(None, [f"{place}={given}"]).model_dump())[place] == meant


@pytest.mark.parametrize(("text", "said"), [(None, "No such file"), ("a = [", "is not valid TOML")])
def test_a_configuration_that_cant_be_read_is_named_in_full(
    text: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    if text is not None:
        (tmp_path / "a.toml").write_text(text)
    with pytest.raises(UserError, match=said) as refused:
        load_config("~/a.toml")
    assert str(tmp_path / "a.toml") in str(refused.value)


def test_a_real_question_asks_for_a_model() -> None:
    for config in (load_config(), load_config(None, ["budget.attempts=3"])):
        check_named(config, ["micro:numbers:5:7"])
        with pytest.raises(UserError, match="lcb:abc needs a model: name one with -m"):
            check_named(config, ["micro:numbers:5:7", "lcb:abc"])
    for named in (load_config("micro"), load_config(model="micro"), load_config(model="some/model")):
        check_named(named, ["lcb:abc"])
