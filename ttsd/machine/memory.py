"""How much memory sampler and trainer take: the one place that `capacity`, the doctor and the engine ask.

Memory is the worst case of the settings: every prompt and completion at its limit. vLLM takes a fixed share of a GPU,
or nearly all of one that it need not share; on a CPU, and with the transformers sampler, each process may have what
the other one leaves.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttsd.config import Config, Model
from ttsd.errors import UserError
from ttsd.machine.gpus import GIB, Gpu
from ttsd.machine.lengths import Lengths, longest_lengths
from ttsd.machine.shape import Shape
from ttsd.training import LOGITS_AT_ONCE

RAM_SHARE = 0.8  # of a machine's memory that may be planned with: the rest is the system's
NF4_BYTES = 0.516  # 4 bits and doubly quantised scales
FP8_BYTES = 1.001  # a scale for each row
OWN_GPU_SHARE = 0.9  # of a GPU that vLLM need not share

_PROCESS = 0.6 * GIB  # Python, torch, CUDA context and library workspaces of one process
_SERVING = 2.0 * GIB  # what vLLM needs on a GPU while it computes, CUDA graphs included
_SERVING_ON_CPU = 0.6 * GIB  # measured on two cores with Qwen2.5-Coder-0.5B in float32
_SLACK = 1.1  # allocator fragmentation on what comes and goes


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that a process needs, and what for."""

    where: str
    what: str
    bytes: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Memory:
    """What sampler and trainer need, part by part, and what each may have, in bytes. Of several GPUs: of each."""

    parts: tuple[Need, ...]
    limits: Mapping[str, float]

    @property
    def needs(self) -> dict[str, float]:
        return {name: sum(part.bytes for part in self.parts if part.where == name) for name in ("trainer", "sampler")}

    def in_words(self, found: Found) -> str:
        """Says what both need and what this machine was `found` to have."""
        parts = ", ".join(f"{process} {need / GIB:.1f} GiB" for process, need in self.needs.items() if need)
        gpu = found.as_gpu()
        if gpu.trainer_gib is not None:
            return f"{parts}; GPUs of {gpu.trainer_gib:.1f} GiB and {gpu.gib:.1f} GiB"
        return f"{parts}; of {gpu.gib:.1f} GiB {'of free memory' if found.is_cpu else 'of the GPU'}"

    @property
    def fits(self) -> bool:
        return all(need <= self.limits[process] for process, need in self.needs.items())

    @property
    def cache(self) -> float:
        """Returns bytes for keys and values once all else has its place; below 0 where there is no room for them."""
        return self.limits["sampler"] - self.needs["sampler"] + self._part(KV_CACHE)

    def _part(self, what: str) -> float:
        return sum(part.bytes for part in self.parts if part.what == what)


KV_CACHE = "KV cache, at least"


def number_bytes(config: Config, *, on_cpu: bool) -> int:
    """Returns the bytes of a number of the base model, in sampler and trainer."""
    from ttsd.backbone.processor import resolved_dtype

    wanted, path = config.model.dtype, config.model.path
    dtype = resolved_dtype(wanted, "cpu", path) if on_cpu else "bfloat16" if wanted == "auto" else wanted
    return 4 if dtype == "float32" else 2


def memory_of(config: Config, shape: Shape, gpu: Gpu, *, questions: int) -> Memory:
    """Returns what `questions` questions need that share an engine on `gpu`, every length at its limit."""
    width, lengths = number_bytes(config, on_cpu=gpu.is_cpu), longest_lengths(config)
    parts = (
        *_trainer(config, shape, width, lengths, questions),
        *_sampler(config, shape, width, lengths, questions, gpu),
    )
    return Memory(parts, _limits(config, gpu, Memory(parts, {}).needs))


def cache_bytes_of_run(config: Config, shape: Shape, group: int, *, on_cpu: bool) -> float:
    """Returns what a run takes of the sampler: an adapter slot, its prompt, half of each of `group` completions."""
    width = number_bytes(config, on_cpu=on_cpu)
    tokens = config.sampling.max_prompt_len + group * config.sampling.max_tokens // 2
    return (shape.kv_bytes(tokens, width) + width * shape.adapter(config.lora.rank)) / _gpus(config)


def learner_bytes(config: Config, shape: Shape) -> float:
    """Returns what a run takes of the trainer: weights, gradient, two moments and the teacher, in float32."""
    return (4 + _averaged(config)) * 4.0 * shape.adapter(config.lora.rank)


def adapters_bytes(config: Config, model: Mapping[str, Any], questions: int) -> float:
    """Returns the bytes of adapter files while `questions` questions learn: the old and the new version of each."""
    return 2 * questions * 4.0 * Shape.read(model).adapter(config.lora.rank)


def scratch_parent(least_bytes: float) -> Path:
    """Returns where short-lived files go: in memory if so many bytes have room there, else on the disk.

    A container's /dev/shm has 64 MB unless somebody asks for more.
    """
    memory = Path("/dev/shm")
    usable = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free >= least_bytes
    return memory if usable else Path(tempfile.gettempdir())


def vllm_cache_bytes(config: Config, model: Mapping[str, Any], found: Found, questions: int) -> int:
    """Returns what vLLM takes for keys and values, on each GPU, for the model whose config.json is `model`.

    UserError: that is less than one text of full length.
    """
    if found.is_cpu:
        return int(config.model.kv_cache_gib * GIB)
    shape, width = Shape.read(model), number_bytes(config, on_cpu=False)
    memory = memory_of(config, shape, found.as_gpu(), questions=questions)
    tokens = config.model.max_model_len or config.sampling.max_prompt_len + config.sampling.max_tokens
    least = shape.kv_bytes(tokens, width) / _gpus(config)
    if memory.cache < least:
        share = sampler_share(config)
        what = "the sampler's share" if config.model.apart else "model.gpu_memory_utilization"
        raise UserError(
            f"{what}={share} of a GPU of {found.gpu / GIB:.1f} GiB leaves {max(0.0, memory.cache) / GIB:.1f} GiB for "
            f"keys and values, and one text of {tokens} tokens takes {least / GIB:.1f}; "
            f"{'' if config.model.apart else 'raise it, '}lower model.max_model_len and sampling.max_tokens, or share "
            "the engine among fewer questions"
        )
    return int(memory.cache)


def sampler_share(config: Config) -> float:
    """Returns the share of each of its GPUs that vLLM may take."""
    wanted = config.model.gpu_memory_utilization
    return max(wanted, OWN_GPU_SHARE) if config.model.apart else wanted


def _averaged(config: Config) -> bool:
    return config.teacher.teacher_regularization == "ema"


def _gpus(config: Config) -> int:
    """Returns among how many GPUs the sampler is divided."""
    return config.model.tensor_parallel_size


def _limits(config: Config, gpu: Gpu, needs: Mapping[str, float]) -> dict[str, float]:
    if config.model.sampler == "vllm" and not gpu.is_cpu:
        share = sampler_share(config) * gpu.gib * GIB
        whole = (gpu.trainer_gib or gpu.gib) * GIB
        return {"trainer": whole if config.model.apart else whole - share, "sampler": share}
    whole = gpu.gib * GIB * (RAM_SHARE if gpu.is_cpu else 1.0)
    return {"trainer": whole - needs["sampler"], "sampler": whole - needs["trainer"]}


def _trainer(config: Config, shape: Shape, width: int, lengths: Lengths, questions: int) -> list[Need]:
    distillation, numbers = config.distillation, shape.adapter(config.lora.rank)
    linear = NF4_BYTES if config.model.quantize_base == "nf4" else width
    row = max(lengths.prompt + lengths.completion, min(distillation.token_budget, lengths.student))
    layer = shape.layer_bytes(config.lora.rank) * width / 2
    keeps = min(1.0, distillation.checkpoint_over / row) if distillation.gradient_checkpointing else 1.0
    again = (1 - keeps) * row * shape.layers * shape.hidden * width + (keeps < 1) * row * layer
    kept = keeps * row * shape.layers * layer + again
    passing = max(lengths.teacher_prompt + lengths.completion, min(distillation.token_budget, lengths.teacher))
    logits = 3 * width + 3 * 4  # student, teacher, gradient; their float32 log-softmaxes
    chunk = f"{LOGITS_AT_ONCE // shape.vocab} tokens at a time"
    return [
        Need("trainer", "base weights", shape.linear * linear + shape.embedding * width, config.model.quantize_base),
        Need(
            "trainer",
            "adapters and optimizer",
            questions * learner_bytes(config, shape),
            f"{numbers / 1e6:.0f} M numbers",
        ),
        Need("trainer", "student activations", kept * _SLACK, f"{row} tokens{', checkpointed' * (keeps < 1)}"),
        Need("trainer", "teacher activations", passing * layer / 2 * _SLACK, f"{passing} tokens, one layer at a time"),
        Need("trainer", "hidden states", 3.0 * row * shape.hidden * width, "student, its gradient, teacher"),
        Need("trainer", "logits", float(LOGITS_AT_ONCE * logits), chunk),
        Need("trainer", "process", _PROCESS),
    ]


def _sampler(config: Config, shape: Shape, width: int, lengths: Lengths, questions: int, gpu: Gpu) -> list[Need]:
    if config.model.sampler == "transformers":  # reads the trainer's weights, and decodes a group without paging
        cache = shape.kv_bytes(lengths.group * (lengths.prompt + lengths.completion), width)
        needs = [Need("sampler", KV_CACHE, cache, "of one group, all at full length")]
        if gpu.is_cpu:  # `Base.prepared`
            copied = shape.embedding if width == 2 else shape.linear
            needs.append(Need("sampler", "weights to decode with", copied * width, "a copy"))
        return needs
    gpus, slots = _gpus(config), questions + 1  # the version in use and the one that replaces it
    least = shape.kv_bytes(lengths.prompt + lengths.completion, width) / gpus
    whole = shape.kv_bytes(questions * lengths.student, width) / gpus / GIB
    if gpu.is_cpu:
        least = max(least, config.model.kv_cache_gib * GIB)
    serving = _PROCESS + (_SERVING_ON_CPU if gpu.is_cpu else _SERVING)
    linear = FP8_BYTES if config.model.sampler_quantization == "fp8" else width
    weights = shape.linear * linear + shape.embedding * width
    return [
        Need("sampler", "base weights", weights / gpus, config.model.sampler_quantization),
        Need("sampler", "adapter slots", slots * shape.adapter(config.lora.rank) * width / gpus, f"{slots} slots"),
        Need("sampler", KV_CACHE, least, f"of one completion; {whole:.1f} GiB hold all at once"),
        Need("sampler", "serving", serving),
    ]


@dataclass(frozen=True, slots=True)
class Found:
    """Bytes of the sampler's GPU (0: there is none), of free main memory, and of the trainer's GPU if it is another."""

    gpu: float
    free: float
    trainer_gpu: float | None = None

    @property
    def is_cpu(self) -> bool:
        """Tells whether everything runs on the CPU."""
        return not self.gpu

    def as_gpu(self) -> Gpu:
        """Returns it as something to plan memory with."""
        trainer = None if self.trainer_gpu is None else self.trainer_gpu / GIB
        return Gpu((self.gpu or self.free) / GIB, is_cpu=self.is_cpu, trainer_gib=trainer)


def found_memory(model: Model) -> Found:
    """Looks at this machine's devices that the section [model] names. UserError: one of them is not here."""
    sampler = min(map(_gpu_bytes, model.sampler_on))
    return Found(sampler, _free(), _gpu_bytes(model.trainer_on) if model.apart else None)


def _gpu_bytes(device: str) -> float:
    """Returns the bytes of a GPU, 0 for a CPU. No CUDA context is made on it: that would take half a GiB of it."""
    import torch

    from ttsd.backbone.processor import device_named

    place = device_named(device)
    return 0.0 if place.type == "cpu" else float(torch.cuda.get_device_properties(place).total_memory)


def _free() -> float:
    """Returns the bytes that are available, within the bounds of our control group."""
    import psutil

    free = float(psutil.virtual_memory().available)
    limit, used = (_number(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
    return free if limit is None or used is None else min(free, limit - used)


def _number(file: Path) -> float | None:
    text = file.read_text().strip() if file.is_file() else ""
    return float(text) if text.isdigit() else None
