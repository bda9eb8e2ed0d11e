"""The section [model]: which weights, and where sampler and trainer hold them and compute."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import model_validator

from ttsd.config.setting import Section, setting

BUNDLED_MODEL = "micro"

_DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,3})?")


class Model(Section):
    """Says which weights, and where and how sampler and trainer hold them."""

    path: str = setting(
        BUNDLED_MODEL,
        "`micro` (bundled), a folder, a GGUF file, a name on the Hugging Face hub, or the URL of an OpenAI-compatible "
        "endpoint, as in http://127.0.0.1:8000/v1",
        code="model.path",
        min_length=1,
    )
    name: str | None = setting(None, "what the endpoint that `path` names calls its model", min_length=1)
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = setting(
        "auto",
        "type of the weights; auto: bfloat16 where the device computes it, else float32",
        code="rollout.dtype",
    )
    device: Literal["auto", "cpu", "cuda"] = setting("auto", "auto: a GPU where there is one")
    sampler_device: str = setting(
        "auto", "where vLLM samples: auto (as `device`), or the first of its GPUs, as in cuda:0", min_length=1
    )
    trainer_device: str = setting(
        "auto",
        "where weights are trained: auto (as `device`), or a GPU; on one that vLLM does not use, nothing is shared",
        min_length=1,
    )
    sampler: Literal["vllm", "transformers", "endpoint"] = setting(
        "vllm",
        "what samples completions; transformers shares the trainer's weights and is slower; endpoint: whatever answers "
        "at the URL `path`",
        code="rollout.name",
    )
    max_model_len: int | None = setting(
        None, "tokens of prompt + completion; none: the model's own limit", code="rollout.max_model_len", ge=16
    )
    gpu_memory_utilization: float = setting(
        0.45, "share of the GPU that vLLM may take", code="rollout.gpu_memory_utilization", gt=0, le=1
    )
    threads: int | None = setting(
        None, "CPU threads of sampler and of trainer; none: all cores for one question, half where several train", ge=1
    )
    kv_cache_gib: float = setting(1.0, "vLLM's key/value cache on a CPU, in GiB", gt=0)
    tensor_parallel_size: int = setting(
        1, "GPUs that share one sampler", code="rollout.tensor_model_parallel_size", ge=1
    )
    quantize_base: Literal["none", "nf4"] = setting("none", "nf4: a 4-bit base in the trainer (bitsandbytes)")
    sampler_quantization: Literal["none", "fp8"] = setting(
        "none", "fp8: vLLM holds the linear layers in 8 bits, on GPUs of Ada, Hopper or newer"
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
    def sampler_on(self) -> list[str]:
        """Returns the sampler's devices, its first one first; one without a number where vLLM may choose."""
        first = self._place(self.sampler_device)
        named = [f"cuda:{gpu_number(first) + at}" for at in range(self.tensor_parallel_size)]
        return named if ":" in first else [first]

    @property
    def trainer_on(self) -> str:
        """Returns the trainer's device."""
        return self._place(self.trainer_device)

    @property
    def gpus(self) -> int:
        """Returns how many GPUs an engine needs to see, from number 0 on."""
        return max(gpu_number(self.sampler_on[0]) + self.tensor_parallel_size, gpu_number(self.trainer_on) + 1)

    @property
    def apart(self) -> bool:
        """Tells whether the trainer has a GPU that the sampler does not use."""
        first = gpu_number(self.sampler_on[0])
        return not first <= gpu_number(self.trainer_on) < first + self.tensor_parallel_size

    def _place(self, own: str) -> str:
        return self.device if own == "auto" else own

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

    @model_validator(mode="after")
    def _quantized_by_vllm(self) -> Model:
        on_gpu = self.sampler == "vllm" and self._place(self.sampler_device) != "cpu"
        if self.sampler_quantization != "none" and not on_gpu:
            raise ValueError(
                f"sampler_quantization={self.sampler_quantization} is for vLLM on a GPU; use sampler=vllm there, or "
                "sampler_quantization=none"
            )
        return self

    @model_validator(mode="after")
    def _devices_go_together(self) -> Model:
        for name, device in (("sampler_device", self.sampler_device), ("trainer_device", self.trainer_device)):
            if not _DEVICE.fullmatch(device):
                raise ValueError(f"{name}={device} is no device; choose auto, cpu, cuda, or a GPU, as in cuda:1")
        sampler, trainer = self._place(self.sampler_device), self._place(self.trainer_device)
        if (sampler == "cpu") != (trainer == "cpu"):
            raise ValueError(
                f"the sampler on {sampler} and the trainer on {trainer} can't go together; put both on the CPU with "
                "device=cpu, or both on GPUs"
            )
        if self.sampler == "transformers" and gpu_number(sampler) != gpu_number(trainer):
            raise ValueError(
                f"sampler=transformers samples with the trainer's weights, so sampler_device={self.sampler_device} and "
                f"trainer_device={self.trainer_device} must name the same GPU; or use sampler=vllm"
            )
        return self


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
