"""Configuration: layers, refusals with a remedy, and every shipped file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic.fields import FieldInfo
from typer.testing import CliRunner

from tests.records import rollout
from ttsd.cli.commands import app
from ttsd.config import UNRECORDED, Config, Lora, load_config, recorded_config, sections, shipped_configs
from ttsd.config.setting import section
from ttsd.errors import UserError
from ttsd.loop import WHOLE_GROUPS, Rounds
from ttsd.methods import SDPO
from ttsd.record import store
from ttsd.record.resume import Job, as_begun, finished, unfinished
from ttsd.running.readings import rounds_of

JOB = Job("micro:numbers:2:3", "sdpo", 0)


def test_defaults_have_the_papers_loss_on_lora() -> None:
    config = load_config(None, ["model.path=Qwen/Qwen3-8B"])
    assert config.lora.lr == 1e-5
    assert (config.distillation.alpha, config.distillation.distillation_topk) == (1.0, 20)
    assert (config.teacher.teacher_regularization, config.teacher.teacher_update_rate) == ("ema", 0.01)
    assert (config.distillation.log_ratio_clip, config.distillation.rollout_is_threshold) == (5.0, 2.0)


def test_a_configuration_that_does_not_speak_of_the_method_gets_the_best_known(tmp_path: Path) -> None:
    """Attempts that read every verdict so far, in growing rounds, and a student that learns at what it read."""
    (tmp_path / "mine.toml").write_text(
        '[model]\npath = "some/model"\nmax_model_len = 4096\n[sampling]\nmax_tokens = 512\n'
    )
    for config in (load_config(str(tmp_path / "mine.toml")), load_config("qwen3-4b"), load_config("micro")):
        assert rounds_of(SDPO, config) == Rounds(8, 0.25, 1)
        assert (config.sampling.teacher_fraction, config.reprompt.student_reads) == (1.0, "reading")
        assert (config.reprompt.feedback_blocks, config.reprompt.feedback_from) == (6, "run")


def test_the_papers_preset_is_what_runs_did_before_the_defaults_changed() -> None:
    preset = load_config("paper").model_dump()
    assert preset.pop("budget") == {**Config().budget.model_dump(), "attempts": 2752}
    assert preset == {name: values for name, values in recorded_config({}).model_dump().items() if name != "budget"}
    assert rounds_of(SDPO, load_config("paper")) == rounds_of(SDPO, load_config("micro-paper")) == WHOLE_GROUPS


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
        ("budget.attempts=0", "greater than or equal to 1"),
        ("budget.attempts=many", "budget.attempts"),
        ("model.sampler=sglang", "'vllm' or 'transformers'"),
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


def test_a_setting_that_is_gone_is_refused_with_a_remedy_but_read_in_an_old_record(tmp_path: Path) -> None:
    file = tmp_path / "old.toml"
    file.write_text("[distillation]\nis_clip = 2.0\n")
    with pytest.raises(UserError, match=r"distillation\.is_clip no longer exists .*; remove it"):
        load_config(str(file))
    old = Config(lora=Lora(rank=7)).model_dump()
    old["distillation"]["is_clip"] = 2.0
    del old["budget"]["restart_after_collapse"]
    assert recorded_config(old) == Config(lora=Lora(rank=7))


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("distillation.rollout_is=none", "none"),
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
        ("reprompt.include_environment_feedback=False", False),
        ('lora.target_modules=["q_proj", "v_proj"]', ["q_proj", "v_proj"]),
    ],
)
def test_an_override_is_read_by_its_settings_type(override: str, value: object) -> None:
    table, _, key = override.partition("=")[0].partition(".")
    assert load_config(None, [override]).model_dump()[table][key] == value


def fields() -> list[tuple[str, FieldInfo]]:
    return [
        (f"{name}.{key}", field)
        for name in Config.model_fields
        if (kind := section(Config, name)) is not None
        for key, field in kind.model_fields.items()
    ]


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
    assert [entry["setting"] for entry in entries] == [name for name, _ in fields()]
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


def test_an_old_record_has_the_defaults_of_its_time_for_what_did_not_exist_then() -> None:
    paper = load_config("paper")
    recorded = paper.model_dump()
    del recorded["reprompt"]["feedback_blocks"], recorded["reprompt"]["student_reads"], recorded["store"]
    del recorded["sampling"]
    recorded["distillation"]["no_longer_there"] = 3
    recorded["gone"] = {"setting": 1}
    assert recorded_config(recorded) == paper


@pytest.fixture
def old(tmp_path: Path) -> Iterator[store.Store]:
    """A record in which an earlier version, whose defaults were the paper's, began a run of `JOB` at lr 2e-5."""
    recorded = recorded_config({"lora": {"lr": 2e-5}}).model_dump()
    del recorded["reprompt"]["feedback_blocks"], recorded["sampling"]["round_size"], recorded["store"]
    recorded["distillation"]["no_longer_there"] = 3
    with store.Store(tmp_path / "old.sqlite") as record:
        record.new_run(
            question=JOB.question, method="sdpo", seed=0, model="m", config=recorded, split={}, environment={}
        )
        record.add_attempt(1, rollout(1))
        yield record


def test_the_command_that_began_a_run_resumes_it_under_the_defaults_of_then(old: store.Store) -> None:
    asked = Config(lora=Lora(lr=2e-5))
    begun = as_begun(old, JOB, asked)
    row = unfinished(old, JOB, begun)
    assert row is not None
    assert row["run"] == 1
    assert (begun.sampling.teacher_fraction, begun.sampling.group_size) == (0.0, 16)
    assert rounds_of(SDPO, begun) == WHOLE_GROUPS
    old.finish(1, "attempts")
    spent = asked.model_copy(update={"budget": sections.Budget(attempts=1)})
    assert finished(old, JOB, spent) == 1


def test_settings_that_are_given_are_not_those_of_then(old: store.Store) -> None:
    given = Config(lora=Lora(lr=2e-5), sampling=sections.Sampling(teacher_fraction=1.0))
    assert as_begun(old, JOB, given) == given  # another arm, so another run
    assert unfinished(old, JOB, given) is None
    changed = Config(lora=Lora(lr=2e-5), **{name: UNRECORDED[name] for name in ("sampling", "reprompt")})  # type: ignore[arg-type]
    more = changed.model_copy(update={"reprompt": changed.reprompt.model_copy(update={"feedback_blocks": 3})})
    with pytest.raises(UserError, match=r"reprompt\.feedback_blocks \(1 before, now 3\)"):
        unfinished(old, JOB, more)


def test_a_run_of_the_new_defaults_is_the_one_that_is_resumed(old: store.Store) -> None:
    asked = Config(lora=Lora(lr=2e-5))
    old.new_run(
        question=JOB.question, method="sdpo", seed=0, model="m", config=asked.model_dump(), split={}, environment={}
    )
    assert as_begun(old, JOB, asked) == asked
