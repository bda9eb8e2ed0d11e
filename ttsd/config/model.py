"""The section [model]: which weights, and where sampler and trainer hold them and compute."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import field_validator, model_validator

from ttsd.config.setting import Section, expanded, setting

BUNDLED_MODEL = "micro"

_DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,3})?|cuda:\d{1,3}\+cuda:\d{1,3}")


class Model(Section):
    """Says which weights, and where and how sampler and trainer hold them."""

    path: str = setting(
        BUNDLED_MODEL,
        "`micro` (bundled), a folder, a GGUF file, a name on the Hugging Face hub, or the URL of an OpenAI-compatible "
        "endpoint, as in http://127.0.0.1:8000/v1",
        code="model.path",
        min_length=1,
    )
    revision: str | None = setting(
        None,
        "branch, tag or commit of a model on the hub, for its weights, settings and tokenizer; none: its main branch",
        min_length=1,
    )
    name: str | None = setting(None, "what the endpoint that `path` names calls its model", min_length=1)
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = setting(
        "auto",
        "type of the weights; auto: bfloat16 where the device computes it, else float32",
        code="rollout.dtype",
    )
    device: str = setting(
        "auto",
        "auto: a GPU where there is one; cpu; a GPU, as in cuda:1; or two, as in cuda:0+cuda:1: the sampler's (its "
        "first), and the trainer's",
    )
    sampler: str = setting(
        "auto",
        "what samples completions: vllm, or transformers, which shares the trainer's weights, or endpoint, whatever "
        "answers at the URL `path`; auto: vllm on a GPU, transformers on a CPU",
        code="rollout.name",
        min_length=1,
    )
    max_model_len: int | None = setting(
        None, "tokens of prompt + completion; none: the model's own limit", code="rollout.max_model_len", ge=16
    )
    threads: int | None = setting(
        None, "CPU threads of sampler and of trainer; none: all cores for one question, half where several train", ge=1
    )
    kv_cache_gib: float | None = setting(
        None,
        "vLLM's cache of keys and values, in GiB; none: what the trainer leaves, as far as groups can use it",
        gt=0,
    )
    tensor_parallel_size: int = setting(
        1, "GPUs that share one sampler", code="rollout.tensor_model_parallel_size", ge=1
    )
    quantization: Literal["none", "fp8", "nf4", "fp8+nf4"] = setting(
        "none",
        "fp8: vLLM holds the linear layers in 8 bits (GPUs of Ada, Hopper or newer); nf4: the trainer holds them in 4 "
        "(bitsandbytes), and so does a sampler that shares its weights",
    )
    enable_thinking: bool = setting(
        False,
        "let a thinking model think; the same for student and teacher",
        paper="thinking off",
        code="data.apply_chat_template_kwargs.enable_thinking",
    )
    chat_template_kwargs: dict[str, str | int | bool] = setting(
        {},
        'more variables of the chat template, as in {reasoning_effort = "low"}',
        code="data.apply_chat_template_kwargs",
    )
    thinking_end: str | None = setting(
        None, "text that ends the model's thinking; none: the marks of the known families"
    )
    system_prompt: str | None = setting(None, "system message of student and teacher; none: the chat template's own")

    @property
    def label(self) -> str:
        """Returns what tables and the run database call the model."""
        return self.path if self.name is None else f"{self.name} at {self.path}"

    @property
    def template_settings(self) -> dict[str, Any]:
        """Returns what decides how the model is talked to and its answers are read, by the tokenizer's names."""
        names = ("enable_thinking", "system_prompt", "chat_template_kwargs", "thinking_end")
        return {name: getattr(self, name) for name in names}

    @property
    def sampler_on(self) -> list[str]:
        """Returns the sampler's devices, its first one first; one without a number where vLLM may choose."""
        first = self.device.partition("+")[0]
        named = [f"cuda:{gpu_number(first) + at}" for at in range(self.tensor_parallel_size)]
        return named if ":" in first else [first]

    @property
    def trainer_on(self) -> str:
        """Returns the trainer's device."""
        return self.device.rpartition("+")[2]

    @property
    def gpus(self) -> int:
        """Returns how many GPUs an engine needs to see, from number 0 on."""
        return max(gpu_number(self.sampler_on[0]) + self.tensor_parallel_size, gpu_number(self.trainer_on) + 1)

    @property
    def apart(self) -> bool:
        """Tells whether the trainer has a GPU that the sampler does not use."""
        first = gpu_number(self.sampler_on[0])
        return not first <= gpu_number(self.trainer_on) < first + self.tensor_parallel_size

    @property
    def base_bits(self) -> Literal["none", "nf4"]:
        """Returns how the trainer's base is quantized."""
        return "nf4" if "nf4" in self.quantization else "none"

    @property
    def local(self) -> bool:
        """Tells whether the model is on this machine; one behind an endpoint can only be asked."""
        return not is_url(self.path)

    @property
    def sampler_bits(self) -> Literal["none", "fp8"]:
        """Returns how a sampler that has weights of its own quantizes them."""
        return "fp8" if "fp8" in self.quantization else "none"

    @model_validator(mode="before")
    @classmethod
    def _a_url_is_an_endpoint(cls, values: Any) -> Any:
        if isinstance(values, dict) and is_url(values.get("path")):
            return {**values, "sampler": "endpoint"}
        return values

    @model_validator(mode="after")
    def _an_endpoint_has_a_url(self) -> Model:
        if self.sampler == "endpoint":
            check_url("path", self.path)
        return self

    @field_validator("device")
    @classmethod
    def _names_devices(cls, device: str) -> str:
        if not _DEVICE.fullmatch(device):
            raise ValueError(
                f"{device} is no device; choose auto, cpu, a GPU, as in cuda:1, or two, as in cuda:0+cuda:1"
            )
        return device

    @field_validator("path")
    @classmethod
    def _expand(cls, path: str) -> str:
        return expanded(path)


def is_url(value: object) -> bool:
    """Tells whether a setting names an endpoint."""
    return isinstance(value, str) and value.startswith(("http://", "https://"))


def check_url(name: str, url: str) -> None:
    """Checks an endpoint's URL. ValueError: it is none, or it has a secret, which would be recorded with the run."""
    if not is_url(url):
        raise ValueError(f"{name}={url} is no URL of an endpoint; give one, as in http://127.0.0.1:8000/v1")
    if any(mark in url for mark in "@?#"):
        raise ValueError(
            f"the URL in {name} has a user, a query or a fragment, and settings are recorded; leave that out and give "
            "the key in the environment (endpoint.key_variable)"
        )


def gpu_number(device: str) -> int:
    """Returns the number of the GPU that `device` names; 0 where the choice is left open."""
    return int(device.partition(":")[2] or 0)
