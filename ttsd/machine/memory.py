"""How much memory sampler and trainer take: the one place that `capacity`, the doctor and the engine ask.

Memory is the worst case of the settings: every prompt and completion at its limit. Sampler and trainer may each have
what the other one leaves, or nearly all of a GPU of their own.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttsd.config import Config
from ttsd.errors import UserError
from ttsd.machine.gpus import GIB, Hardware, Machine
from ttsd.machine.shape import Shape, known_shape
from ttsd.methods import method_named
from ttsd.sampling.kinds import sampler_named
from ttsd.training import LOGITS_AT_ONCE

RAM_SHARE = 0.8  # of a machine's memory that may be planned with: the rest is the system's
GPU_SHARE = 0.95  # of a GPU's
NF4_BYTES = 0.516  # 4 bits and doubly quantised scales
FP8_BYTES = 1.001  # a scale for each row

_PROCESS = 0.6 * GIB  # Python, torch, CUDA context and library workspaces of one process
_SERVING = 2.0 * GIB  # what vLLM needs on a GPU while it computes, CUDA graphs included
_SERVING_ON_CPU = 0.6 * GIB  # measured on two cores with Qwen2.5-Coder-0.5B in float32
_BLOCKS = 256  # tokens: vLLM holds back an empty block and rounds a sequence up to whole ones, 128 each on a CPU
_SLACK = 1.1  # allocator fragmentation on what comes and goes
KV_CACHE = "KV cache, at least"
LESS_MEMORY = (
    "lower sampling.max_tokens, reprompt.max_reprompt_len, distillation.token_budget, distillation.checkpoint_over or "
    "lora.rank, or choose a smaller model"
)


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

    def rows(self) -> list[dict[str, str]]:
        """Returns each part in words, and each process with what it may have."""
        rows = [(part.where, part.what, f"{part.bytes / GIB:.2f} GiB", part.note) for part in self.parts]
        for process, need in self.needs.items():
            rows.append((process, "all", f"{need / GIB:.2f} GiB", f"of {self.limits[process] / GIB:.2f} GiB"))
        return [dict(zip(("where", "what", "memory", "note"), row, strict=True)) for row in rows]

    @property
    def needs(self) -> dict[str, float]:
        """Returns the bytes that each process needs."""
        return {name: sum(part.bytes for part in self.parts if part.where == name) for name in ("trainer", "sampler")}

    @property
    def too_large(self) -> list[str]:
        """Returns the processes that need more than they may have."""
        return [process for process, need in self.needs.items() if need > self.limits[process]]

    def in_words(self, hardware: Hardware | Machine) -> str:
        """Says what both need, what there is and, where that is too little, what to do."""
        needs = ", ".join(f"{process} {need / GIB:.1f} GiB" for process, need in self.needs.items() if need)
        if self.fits:
            return f"{needs}, of {hardware}"
        have = [
            f"the {one} may have {self.limits[one] / GIB:.1f} GiB" for one in self.too_large if self.limits[one] > 0
        ]
        return f"{needs}, of {hardware}; this DOES NOT FIT{''.join(f', {limit}' for limit in have)}: {LESS_MEMORY}"

    @property
    def fits(self) -> bool:
        """Tells whether each process has room."""
        return not self.too_large

    @property
    def cache(self) -> float:
        """Returns the bytes that are left for keys and values; below 0 where the rest alone is too much."""
        return self.limits["sampler"] - self.needs["sampler"] + self.least_cache

    @property
    def least_cache(self) -> float:
        """Returns the bytes that keys and values need at least."""
        return sum(part.bytes for part in self.parts if part.what == KV_CACHE)


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of one step's sequences: each prompt, each of the self-teacher's prompts, each completion.

    `shared`: all attempts of a step have the same prompt.
    """

    group: int
    prompt: int
    teacher_prompt: int
    completion: int
    shared: bool = True

    @property
    def student(self) -> int:
        """Counts the tokens that the student processes: a shared prompt once."""
        return (1 if self.shared else self.group) * self.prompt + self.group * self.completion

    @property
    def teacher(self) -> int:
        """Counts the tokens that the teacher processes if no two of its prompts share anything."""
        return self.group * (self.teacher_prompt + self.completion)


def longest_lengths(config: Config) -> Lengths:
    """Returns everything at its limit."""
    sampling, room = config.sampling, config.model.max_model_len
    waits, context = method_named(config.method).row.waits, config.reprompt.max_reprompt_len
    if room is not None:
        context = min(context, room - sampling.max_tokens)
    prompt = max(sampling.max_prompt_len, context) if waits else sampling.max_prompt_len
    return Lengths(sampling.group_size, prompt, context, sampling.max_tokens, shared=not waits)


def number_bytes(config: Config, *, on_cpu: bool) -> int:
    """Returns the bytes of a number of the base model, in sampler and trainer."""
    from ttsd.backbone.processor import resolved_dtype

    dtype = resolved_dtype(config.model.dtype, "cpu" if on_cpu else "cuda")
    return 4 if dtype == "float32" else 2


def memory_of(config: Config, shape: Shape, hardware: Hardware, *, questions: int) -> Memory:
    """Returns what `questions` questions need that share an engine, every length at its limit."""
    width, lengths = number_bytes(config, on_cpu=hardware.is_cpu), longest_lengths(config)
    learns, own_weights = method_named(config.method).learns, sampler_named(config.model.sampler).own_weights
    parts = (
        *(_base(config, shape, width) if learns or not own_weights else ()),
        *(_learning(config, shape, width, lengths, questions, hardware) if learns else ()),
        *(_own_process if own_weights else _on_base)(config, shape, width, lengths, questions, hardware),
    )
    return Memory(parts, _limits(config, hardware, Memory(parts, {}).needs))


def cache_bytes_of_run(config: Config, shape: Shape, group: int, *, on_cpu: bool) -> float:
    """Returns what a run takes of the sampler: an adapter slot, its prompt, half of each of `group` completions."""
    width = number_bytes(config, on_cpu=on_cpu)
    tokens = config.sampling.max_prompt_len + group * config.sampling.max_tokens // 2
    return (shape.kv_bytes(tokens, width) + width * shape.adapter(config.lora.rank)) / config.model.tensor_parallel_size


def learner_bytes(config: Config, shape: Shape) -> float:
    """Returns what a run takes of the trainer: weights, gradient, two moments and the teacher, in float32."""
    copies = 5 if config.teacher.teacher_regularization == "ema" else 4
    return copies * 4.0 * shape.adapter(config.lora.rank)


def state_bytes(config: Config, shape: Shape) -> float:
    """Returns the bytes of a learner's state on disk: all that the trainer holds but the gradient."""
    return learner_bytes(config, shape) - 4.0 * shape.adapter(config.lora.rank)


def adapters_bytes(config: Config, model: Mapping[str, Any], questions: int) -> float:
    """Returns the bytes of adapter files while `questions` questions learn, old and new version of each; 0: unknown."""
    shape = known_shape(model)
    return 2 * questions * 4.0 * shape.adapter(config.lora.rank) if shape else 0.0


def scratch_parent(least_bytes: float) -> Path:
    """Returns where short-lived files go: in memory if so many bytes have room there, else on the disk.

    A container's /dev/shm has 64 MB unless somebody asks for more.
    """
    memory = Path("/dev/shm")
    usable = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free >= least_bytes
    return memory if usable else Path(tempfile.gettempdir())


def vllm_cache(config: Config, model: Mapping[str, Any], hardware: Hardware, questions: int) -> tuple[int, float]:
    """Returns what vLLM takes for keys and values, in bytes, and in all as a share, of each GPU.

    `model`: its config.json. UserError: one sequence of full length takes more than that, or it can't be known.
    """
    shape, given = known_shape(model), config.model.kv_cache_gib
    if shape is None:
        if given is None:
            raise UserError(f"the memory of {config.model.path} is not known; set model.kv_cache_gib, vLLM's cache")
        return int(given * GIB), GPU_SHARE / 2  # the other half is the trainer's
    width = number_bytes(config, on_cpu=hardware.is_cpu)
    memory = memory_of(config, shape, hardware, questions=questions)
    whole = shape.kv_bytes(questions * longest_lengths(config).student, width) / config.model.tensor_parallel_size
    tokens = config.model.max_model_len or config.sampling.max_prompt_len + config.sampling.max_tokens
    least = shape.kv_bytes(tokens + _BLOCKS, width) / config.model.tensor_parallel_size
    cache = given * GIB if given is not None else min(memory.cache, max(whole, memory.least_cache, least))
    if cache < least:
        one = f"one sequence of {tokens} tokens takes {least / GIB:.2g}"
        if given is not None:
            raise UserError(
                f"model.kv_cache_gib={given:g} is too small: {one}; raise it, or lower model.max_model_len and "
                "sampling.max_tokens"
            )
        raise UserError(
            f"{max(0.0, cache) / GIB:.1f} GiB of {hardware} are left for keys and values, and {one}; lower "
            "model.max_model_len and sampling.max_tokens, or share the engine among fewer questions"
        )
    rest = memory.needs["sampler"] - memory.least_cache
    return int(cache), min(1.0, (rest + cache) / (hardware.gpu or rest + cache))


def _limits(config: Config, hardware: Hardware, needs: Mapping[str, float]) -> dict[str, float]:
    if config.model.apart and not hardware.is_cpu:
        trainer = hardware.gpu if hardware.trainer_gpu is None else hardware.trainer_gpu
        return {"trainer": GPU_SHARE * trainer, "sampler": GPU_SHARE * hardware.gpu}
    whole = RAM_SHARE * hardware.free if hardware.is_cpu else GPU_SHARE * hardware.gpu
    return {"trainer": whole - needs["sampler"], "sampler": whole - needs["trainer"]}


def _base(config: Config, shape: Shape, width: int) -> list[Need]:
    """Returns what the trainer's process needs before anything is learned."""
    bits = config.model.base_bits
    return [
        Need("trainer", "base weights", shape.base_bytes(width, NF4_BYTES if bits == "nf4" else width), bits),
        Need("trainer", "process", _PROCESS),
    ]


def _learning(
    config: Config, shape: Shape, width: int, lengths: Lengths, questions: int, hardware: Hardware
) -> list[Need]:
    """Returns what gradient steps add to it: the adapters, and the activations of the largest micro-batch."""
    distillation, numbers = config.distillation, f"{shape.adapter(config.lora.rank) / 1e6:.0f} M numbers"
    row = max(lengths.prompt + lengths.completion, min(distillation.token_budget, lengths.student))
    layer = shape.layer_bytes(config.lora.rank) * width / 2
    over = distillation.checkpoint_over
    keeps = 1.0 if over is None else min(1.0, over / row)
    again = (1 - keeps) * row * shape.layers * shape.hidden * width + (keeps < 1) * row * layer
    kept = keeps * row * shape.layers * layer + again
    passing = max(lengths.teacher_prompt + lengths.completion, min(distillation.token_budget, lengths.teacher))
    at_once = min(lengths.group * lengths.completion, LOGITS_AT_ONCE // shape.vocab)
    logits = 3 * width * (1 if config.sampling.temperature == 1.0 else 2)  # student, teacher, gradient; divided by it
    logits += 0 if hardware.is_cpu else 3 * 4  # their float32 log-softmaxes; a CPU makes those of a few rows
    return [
        Need("trainer", "adapters and optimizer", questions * learner_bytes(config, shape), numbers),
        Need("trainer", "student activations", kept * _SLACK, f"{row} tokens{', checkpointed' * (keeps < 1)}"),
        Need("trainer", "teacher activations", passing * layer / 2 * _SLACK, f"{passing} tokens, one layer at a time"),
        Need("trainer", "hidden states", 3.0 * row * shape.hidden * width, "student, its gradient, teacher"),
        Need("trainer", "logits", float(at_once * shape.vocab * logits), f"{at_once} tokens at a time"),
    ]


def _on_base(
    config: Config, shape: Shape, width: int, lengths: Lengths, questions: int, hardware: Hardware
) -> list[Need]:
    """Returns what a sampler needs that uses the trainer's weights and decodes a group without paging."""
    from ttsd.backbone import KEPT_PROMPTS_BYTES

    tokens, own = lengths.group * (lengths.prompt + lengths.completion), width * shape.adapter(config.lora.rank)
    one_layer = shape.kv_bytes(tokens, width) / shape.layers
    copies = 1.0 + (0.0 if hardware.is_cpu else shape.queries / shape.keys)
    prompts = shape.kv_bytes(lengths.prompt, width) * (questions if lengths.shared else math.inf)
    needs = [
        Need("sampler", KV_CACHE, _SLACK * shape.layers * one_layer, "of one group, all at full length"),
        Need("sampler", "attention", copies * one_layer, "keys and values of one layer, grown and for each query"),
        Need("sampler", "prompts for the next group", min(KEPT_PROMPTS_BYTES, prompts)),
    ]
    if hardware.is_cpu and width == 4:
        needs.append(Need("sampler", "weights to decode with", shape.linear * width, "a copy, the adapter merged"))
    else:
        packed = shape.embedding * width if hardware.is_cpu else 0
        needs.append(Need("sampler", "weights to decode with", packed + own, "the adapter, and on a CPU the head"))
    return needs


def _own_process(
    config: Config, shape: Shape, width: int, lengths: Lengths, questions: int, hardware: Hardware
) -> list[Need]:
    """Returns what a sampler needs that has weights of its own; of several GPUs, what it needs of each."""
    gpus, slots = config.model.tensor_parallel_size, questions + 1  # one for the version that replaces another
    one = shape.kv_bytes(lengths.prompt + lengths.completion, width) / gpus
    group = shape.kv_bytes(lengths.prompt + lengths.group * lengths.completion // 2, width) / gpus
    given, whole = config.model.kv_cache_gib, shape.kv_bytes(questions * lengths.student, width) / gpus / GIB
    least = max(one, group) if given is None else given * GIB
    serving = _PROCESS + (_SERVING_ON_CPU if hardware.is_cpu else _SERVING)
    bits = config.model.sampler_bits
    weights = shape.base_bytes(width, FP8_BYTES if bits == "fp8" else width)
    return [
        Need("sampler", "base weights", weights / gpus, bits),
        Need("sampler", "adapter slots", slots * shape.adapter(config.lora.rank) * width / gpus, f"{slots} slots"),
        Need("sampler", KV_CACHE, least, f"of a group, half of each completion; {whole:.1f} GiB hold all"),
        Need("sampler", "serving", serving),
    ]
