"""Settings: defaults < TOML file < `--set section.key=value`. The defaults are the paper's test-time run, on LoRA.

Names and meanings follow the paper's own code where it has them, so that both can be read side by side. An unknown
key is an error; settings that contradict each other are refused with a sentence.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ttsd.errors import UserError
from ttsd.prompts import FEEDBACK_TEMPLATE, REPROMPT_TEMPLATE, SOLUTION_TEMPLATE

BUNDLED_MODEL, BUNDLED_CONFIG = "micro", "micro-cpu"

RETIRED = {
    ("distillation", "is_clip"): "each group is used for one update, so there is no ratio of new to old policy to cap",
}

Method = Literal["sdpo", "grpo", "best-of-k", "multi-turn"]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


class Model(Section):
    """Which weights, and how the sampler holds them."""

    path: str = Field(BUNDLED_MODEL, description="`micro` (bundled), a folder, or a name on the Hugging Face hub")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    sampler: Literal["vllm", "transformers"] = "vllm"
    max_model_len: int | None = Field(None, ge=16, description="tokens of prompt + completion; None: the model's own")
    gpu_memory_utilization: float = Field(0.45, gt=0, le=1, description="share of the card that vLLM may take")
    kv_cache_gib: float = Field(1.0, gt=0, description="vLLM's key/value cache on a CPU")
    tensor_parallel_size: int = Field(1, ge=1)
    quantize_base: Literal["none", "nf4"] = Field("none", description="4-bit base in the trainer (bitsandbytes)")
    enable_thinking: bool = False
    system_prompt: str | None = None


class Sampling(Section):
    group_size: int = Field(16, ge=1, description="attempts of one step")
    max_tokens: int = Field(8192, ge=1)
    max_prompt_len: int = Field(2048, ge=1)
    temperature: float = Field(1.0, gt=0)
    top_p: float = Field(1.0, gt=0, le=1)
    teacher_fraction: float = Field(0.0, ge=0, le=1, description="share of a group that is drawn under a reprompt")
    pipeline: Literal["on-policy", "one-step-off"] = Field(
        "on-policy", description="one-step-off: the next group is drawn, with the old adapter, while a step is taken"
    )


class Distillation(Section):
    """The loss (SDPO, sections 2 and 5; `self_distillation.*` of the paper's code)."""

    full_logit_distillation: bool = Field(True, description="False: only the sampled token's log-probabilities")
    alpha: float = Field(1.0, ge=0, le=1, description="0 forward KL, 1 reverse KL, between: generalised JSD")
    distillation_topk: int | None = Field(20, ge=1, description="the student's top K tokens; None: the vocabulary")
    distillation_add_tail: bool = True
    rollout_is: Literal["token", "none"] = "token"
    rollout_is_threshold: float = Field(2.0, gt=0, description="cap on trainer/sampler probability ratio")
    log_ratio_clip: float | None = Field(5.0, gt=0, description="bound on |log teacher - log student| per token")
    loss_agg_mode: Literal["token-mean", "seq-mean-token-sum", "seq-mean-token-mean"] = "token-mean"
    grpo_weight: float = Field(0.0, ge=0, le=1, description="lambda of lambda * GRPO + (1 - lambda) * SDPO")
    kl_to_base: float = Field(0.0, ge=0, description="weight of the penalty KL(student || base)")
    token_budget: int = Field(16384, ge=1, description="tokens of one micro-batch")
    chunk_tokens: int = Field(256, ge=1, description="tokens whose vocabulary logits exist at once")
    gradient_checkpointing: bool = False

    @model_validator(mode="after")
    def _sampled_token_is_reverse(self) -> Distillation:
        if not self.full_logit_distillation and self.alpha != 1.0:
            raise ValueError(
                f"alpha={self.alpha} needs whole distributions; use full_logit_distillation=true, or alpha=1"
            )
        return self


class Lora(Section):
    rank: int = Field(32, ge=1)
    alpha: float = Field(64.0, gt=0)
    target_modules: Literal["all-linear"] | list[str] = "all-linear"
    lr: float = Field(1e-5, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    grad_clip: float = Field(1.0, gt=0)


class Teacher(Section):
    teacher_regularization: Literal["ema", "trust-region", "frozen", "live"] = "ema"
    teacher_update_rate: float = Field(
        0.01, ge=0, le=1, description="ema: step towards the student; trust-region: the student's share of the mix"
    )


class Reprompt(Section):
    max_reprompt_len: int = Field(10240, ge=1)
    reprompt_truncation: Literal["left", "right", "error"] = Field(
        "right", description="which end of demonstration and feedback goes when they are too long; never the question"
    )
    success_reward_threshold: float = Field(1.0, ge=0, le=1)
    dont_reprompt_on_self_success: bool = False
    remove_thinking_from_demonstration: bool = True
    include_environment_feedback: bool = True
    feedback_blocks: int = Field(
        1, ge=1, description="feedback texts that a teacher reads: its own attempt's, and those that add most to it"
    )
    feedback_from: Literal["run", "group"] = Field(
        "group", description="whose texts those others are: run: any earlier attempt's of this run too"
    )
    environment_feedback_only_without_solution: bool = True
    demonstrations_from: Literal["run", "group"] = Field("run", description="run: any earlier success of this run")
    reprompt_template: str = REPROMPT_TEMPLATE
    solution_template: str = SOLUTION_TEMPLATE
    feedback_template: str = FEEDBACK_TEMPLATE
    multi_turn_history: Literal["feedback", "attempt_and_feedback"] = "feedback"
    multi_turn_max_prompt_len: int = Field(32000, ge=1)
    multi_turn_window: int | None = Field(None, ge=1, description="earlier attempts spoken of at most; None: all")

    @model_validator(mode="after")
    def _placeholders(self) -> Reprompt:
        wanted = {
            "reprompt_template": ("{prompt}", "{solution}", "{feedback}"),
            "solution_template": ("{successful_previous_attempt}",),
            "feedback_template": ("{feedback_raw}",),
        }
        for name, placeholders in wanted.items():
            for placeholder in placeholders:
                if placeholder not in getattr(self, name):
                    raise ValueError(f"{name} lacks the placeholder {placeholder}; add it")
        return self


class JudgeSection(Section):
    split: Literal["auto", "all", "half", "public"] = Field(
        "auto", description="which cases drive training; auto: half for LiveCodeBench, all elsewhere"
    )
    split_seed: int = 0
    cpu_seconds: float = Field(6.0, gt=0)
    wall_seconds: float = Field(24.0, gt=0)
    memory_mib: int = Field(1024, ge=64)
    output_mib: int = Field(16, ge=1)
    slots: int | None = Field(
        None, ge=1, description="programs judged at once; None: a core each, less one if several runs train"
    )
    python: str | None = Field(None, description="interpreter for solutions; None: the one that runs ttsd")
    unsafe_no_sandbox: bool = False


class Budget(Section):
    attempts: int = Field(512, ge=1)
    continue_after_discovery: bool = False
    restart_after_collapse: bool = Field(
        False,
        description="sdpo begins anew once four steps pass less than half of what its best four passed",
    )


class Store(Section):
    path: str = "ttsd.sqlite"
    state_dir: str | None = Field(None, description="adapters and optimizer states; None: beside the database")
    track: Literal["none", "wandb", "tensorboard", "trackio"] = Field("none", description="also send metrics there")


class Config(Section):
    model: Model = Model()
    sampling: Sampling = Sampling()
    distillation: Distillation = Distillation()
    lora: Lora = Lora()
    teacher: Teacher = Teacher()
    reprompt: Reprompt = Reprompt()
    judge: JudgeSection = JudgeSection()
    budget: Budget = Budget()
    store: Store = Store()

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        length = self.model.max_model_len
        if length is not None and length <= self.sampling.max_tokens:
            raise ValueError(
                f"model.max_model_len={length} leaves no room for a prompt beside "
                f"sampling.max_tokens={self.sampling.max_tokens}; lower sampling.max_tokens"
            )
        if self.sampling.teacher_fraction and length is not None:
            room = length - self.sampling.max_tokens
            if self.reprompt.max_reprompt_len > room:
                raise ValueError(
                    f"sampling.teacher_fraction={self.sampling.teacher_fraction} has reprompts answered, but "
                    f"reprompt.max_reprompt_len={self.reprompt.max_reprompt_len} is more than the {room} tokens that "
                    "model.max_model_len leaves beside sampling.max_tokens; lower it"
                )
        return self


def recorded_config(data: Mapping[str, Mapping[str, Any]]) -> Config:
    """The settings of a recorded run: those that no longer exist are left out, new ones have their default."""
    return Config.model_validate(
        {
            section: {name: value for name, value in settings.items() if (section, name) not in RETIRED}
            for section, settings in data.items()
        }
    )


def load_config(source: str | None = None, overrides: Sequence[str] = ()) -> Config:
    """The configuration named or lying at `source`, with `section.key=value` overrides applied.

    Without a source: the bundled model's own configuration while that model is meant, else the defaults.
    """
    changes = _applied({}, overrides)
    if source is None and changes.get("model", {}).get("path", BUNDLED_MODEL) == BUNDLED_MODEL:
        source = BUNDLED_CONFIG
    data = _applied(_read(source), overrides) if source is not None else changes
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise UserError(_explain(error)) from None


def shipped_configs() -> list[str]:
    """Names that `--config` takes without a path."""
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in resources.files("configs").iterdir()
        if entry.name.endswith(".toml")
    )


def _read(source: str) -> dict[str, Any]:
    path = Path(source)
    if path.suffix != ".toml" and os.sep not in source:
        if source not in shipped_configs():
            raise UserError(
                f"there is no configuration {source!r}{_suggest(source, shipped_configs())}; "
                f"shipped ones: {', '.join(shipped_configs())}, or give the path of a .toml file"
            )
        text = (resources.files("configs") / f"{source}.toml").read_text("utf-8")
    else:
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"can't read the configuration {source!r} ({error}); give the path of a TOML file"
            ) from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{source!r} is not valid TOML: {error}; mend that line") from None


def _applied(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    for override in overrides:
        _apply(data, override)
    return data


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    section, dot, name = key.strip().partition(".")
    if not equals or not dot or not name:
        raise UserError(f"--set {override!r} is not of the form section.key=value, as in budget.attempts=64")
    table = data.setdefault(section, {})
    if not isinstance(table, dict):
        raise UserError(f"--set {override!r}: {section!r} is not a section; use section.key=value")
    table[name] = _value(value.strip())


def _value(text: str) -> Any:
    if text.lower() in {"none", "null"}:
        return None
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word is a string: --set model.sampler=transformers


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden" and first["loc"] in RETIRED:
        return f"the setting {where} no longer exists ({RETIRED[first['loc']]}); remove it"
    if first["type"] == "extra_forbidden":
        known = _siblings(first["loc"])
        return f"unknown setting {where!r}{_suggest(str(first['loc'][-1]), known)}; known here: {', '.join(known)}"
    if first["type"] == "value_error":
        return f"{where + ': ' if where else ''}{first['msg'].removeprefix('Value error, ')}"
    return f"setting {where} = {json.dumps(first['input'], default=str)}: {first['msg'][0].lower()}{first['msg'][1:]}"


def _siblings(location: tuple[int | str, ...]) -> list[str]:
    fields: Mapping[str, Any] = Config.model_fields
    if len(location) > 1:
        section = fields[str(location[0])].annotation
        fields = section.model_fields if section is not None else {}
    return sorted(fields)


def _suggest(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
