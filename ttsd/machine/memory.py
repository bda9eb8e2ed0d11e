"""What sampler and trainer take of memory: the one place that `plan`, `capacity`, the doctor and the engine ask.

Memory is the worst case of the settings: every prompt, reprompt and completion at its limit. vLLM takes a fixed share
of a card, or nearly all of one that it need not share; on a CPU, and with the transformers sampler, each process may
have what the other one leaves.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttsd.config import Config, Model
from ttsd.errors import UserError
from ttsd.machine.cards import GIB, Card, card_called, cpu_with
from ttsd.machine.lengths import Lengths, longest_lengths
from ttsd.machine.shape import Shape
from ttsd.training import LOGITS_AT_ONCE

RAM_SHARE = 0.8  # of a machine's memory that may be planned with: the rest is the system's
NF4_BYTES = 0.516  # 4 bits and doubly quantised scales
FP8_BYTES = 1.001  # a scale for each row
OWN_CARD_SHARE = 0.9  # of a card that vLLM need not share

_PROCESS = 0.6 * GIB  # Python, torch, CUDA context and library workspaces of one process
_SERVING = 2.0 * GIB  # what vLLM needs on a card while it computes, CUDA graphs included
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
    """What sampler and trainer need, part by part, and what each may have, in bytes. Of several cards: of each."""

    parts: tuple[Need, ...]
    limits: Mapping[str, float]

    @property
    def needs(self) -> dict[str, float]:
        return {name: sum(part.bytes for part in self.parts if part.where == name) for name in ("trainer", "sampler")}

    def in_words(self, found: Found) -> str:
        """What both need, of what this machine was `found` to have."""
        parts = ", ".join(f"{process} {need / GIB:.1f} GiB" for process, need in self.needs.items() if need)
        card = found.as_card()
        if card.trainer_gib is not None:
            return f"{parts}; cards of {card.trainer_gib:.1f} GiB and {card.gib:.1f} GiB"
        return f"{parts}; {card.gib:.1f} GiB {'of free memory' if found.is_cpu else 'of the card'}"

    @property
    def fits(self) -> bool:
        return all(need <= self.limits[process] for process, need in self.needs.items())

    @property
    def cache(self) -> float:
        """Bytes for keys and values once all else has its place; below 0 where there is no room for them."""
        return self.limits["sampler"] - self.needs["sampler"] + self._part(KV_CACHE)

    def _part(self, what: str) -> float:
        return sum(part.bytes for part in self.parts if part.what == what)


KV_CACHE = "KV cache, at least"


def number_bytes(config: Config, *, on_cpu: bool) -> int:
    """Bytes of a number of the base model, in sampler and trainer."""
    from ttsd.backbone.processor import resolved_dtype

    wanted, path = config.model.dtype, config.model.path
    dtype = resolved_dtype(wanted, "cpu", path) if on_cpu else "bfloat16" if wanted == "auto" else wanted
    return 4 if dtype == "float32" else 2


def memory_of(config: Config, shape: Shape, card: Card, *, questions: int, lengths: Lengths | None = None) -> Memory:
    """For `questions` questions that share an engine on `card`; every length at its limit unless they are given."""
    width, lengths = number_bytes(config, on_cpu=card.is_cpu), lengths or longest_lengths(config)
    parts = (
        *_trainer(config, shape, width, lengths, questions),
        *_sampler(config, shape, width, lengths, questions, card),
    )
    return Memory(parts, _limits(config, card, Memory(parts, {}).needs))


def cache_bytes_of_run(config: Config, shape: Shape, group: int, *, on_cpu: bool) -> float:
    """Bytes that a run takes of the sampler: an adapter slot, its prompt, and half of each of `group` completions."""
    width = number_bytes(config, on_cpu=on_cpu)
    tokens = config.sampling.max_prompt_len + group * config.sampling.max_tokens // 2
    return (shape.kv_bytes(tokens, width) + width * shape.adapter(config.lora.rank)) / _cards(config)


def learner_bytes(config: Config, shape: Shape) -> float:
    """Bytes that a run takes of the trainer: weights, gradient, two moments and the teacher, in float32."""
    return (4 + _averaged(config)) * 4.0 * shape.adapter(config.lora.rank)


def state_bytes(config: Config, shape: Shape) -> float:
    """Bytes of the learner's state on disk: all that the trainer holds but the gradient."""
    return (3 + _averaged(config)) * 4.0 * shape.adapter(config.lora.rank)


def adapters_bytes(config: Config, model: Mapping[str, Any], questions: int) -> float:
    """Of the adapter files that lie about while `questions` questions learn: of each the old and the new version."""
    return 2 * questions * 4.0 * Shape.read(model).adapter(config.lora.rank)


def scratch_parent(least_bytes: float) -> Path:
    """Where files go that live for seconds: in memory if so many bytes have room there, else the disk.

    A container's /dev/shm has 64 MB unless somebody asks for more.
    """
    memory = Path("/dev/shm")
    usable = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free >= least_bytes
    return memory if usable else Path(tempfile.gettempdir())


def vllm_cache_bytes(config: Config, model: Mapping[str, Any], found: Found, questions: int) -> int:
    """What vLLM is to take for keys and values, on each card, of the model whose config.json is `model`.

    UserError: that is less than one text of full length.
    """
    if found.is_cpu:
        return int(config.model.kv_cache_gib * GIB)
    shape, width = Shape.read(model), number_bytes(config, on_cpu=False)
    memory = memory_of(config, shape, found.as_card(), questions=questions)
    tokens = config.model.max_model_len or config.sampling.max_prompt_len + config.sampling.max_tokens
    least = shape.kv_bytes(tokens, width) / _cards(config)
    if memory.cache < least:
        share = sampler_share(config)
        what = "the sampler's share" if config.model.apart else "model.gpu_memory_utilization"
        raise UserError(
            f"{what}={share} of a card of {found.card / GIB:.1f} GiB leaves {max(0.0, memory.cache) / GIB:.1f} GiB for "
            f"keys and values, and one text of {tokens} tokens takes {least / GIB:.1f}; "
            f"{'' if config.model.apart else 'raise it, '}lower model.max_model_len and sampling.max_tokens, or share "
            "the engine among fewer questions"
        )
    return int(memory.cache)


def sampler_share(config: Config) -> float:
    """Of each of its cards, what vLLM may take."""
    wanted = config.model.gpu_memory_utilization
    return max(wanted, OWN_CARD_SHARE) if config.model.apart else wanted


def _averaged(config: Config) -> bool:
    return config.teacher.teacher_regularization == "ema"


def _cards(config: Config) -> int:
    """Among how many cards the sampler is divided."""
    return config.model.tensor_parallel_size


def _limits(config: Config, card: Card, needs: Mapping[str, float]) -> dict[str, float]:
    if config.model.sampler == "vllm" and not card.is_cpu:
        share = sampler_share(config) * card.gib * GIB
        whole = (card.trainer_gib or card.gib) * GIB
        return {"trainer": whole if config.model.apart else whole - share, "sampler": share}
    whole = card.gib * GIB * (RAM_SHARE if card.is_cpu else 1.0)
    return {"trainer": whole - needs["sampler"], "sampler": whole - needs["trainer"]}


def _trainer(config: Config, shape: Shape, width: int, lengths: Lengths, questions: int) -> list[Need]:
    distillation, numbers = config.distillation, shape.adapter(config.lora.rank)
    linear = NF4_BYTES if config.model.quantize_base == "nf4" else width
    row = max(lengths.prompt + lengths.completion, min(distillation.token_budget, lengths.student))
    layer = shape.layer_bytes(config.lora.rank) * width / 2
    keeps = min(1.0, distillation.checkpoint_over / row) if distillation.gradient_checkpointing else 1.0
    again = (1 - keeps) * row * shape.layers * shape.hidden * width + (keeps < 1) * row * layer
    kept = keeps * row * shape.layers * layer + again
    passing = max(lengths.reprompt + lengths.completion, min(distillation.token_budget, lengths.teacher))
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


def _sampler(config: Config, shape: Shape, width: int, lengths: Lengths, questions: int, card: Card) -> list[Need]:
    if config.model.sampler == "transformers":  # reads the trainer's weights, and decodes a group without paging
        cache = shape.kv_bytes(lengths.group * (lengths.prompt + lengths.completion), width)
        needs = [Need("sampler", KV_CACHE, cache, "of one group, all at full length")]
        if card.is_cpu:  # `Base.readied`
            copied = shape.embedding if width == 2 else shape.linear
            needs.append(Need("sampler", "weights to decode with", copied * width, "a copy"))
        return needs
    cards, slots = _cards(config), questions + 1  # the version in use and the one that replaces it
    least = shape.kv_bytes(lengths.prompt + lengths.completion, width) / cards
    whole = shape.kv_bytes(questions * lengths.student, width) / cards / GIB
    if card.is_cpu:
        least = max(least, config.model.kv_cache_gib * GIB)
    serving = _PROCESS + (_SERVING_ON_CPU if card.is_cpu else _SERVING)
    linear = FP8_BYTES if config.model.sampler_quantization == "fp8" else width
    weights = shape.linear * linear + shape.embedding * width
    return [
        Need("sampler", "base weights", weights / cards, config.model.sampler_quantization),
        Need("sampler", "adapter slots", slots * shape.adapter(config.lora.rank) * width / cards, f"{slots} slots"),
        Need("sampler", KV_CACHE, least, f"of one completion; {whole:.1f} GiB hold all at once"),
        Need("sampler", "serving", serving),
    ]


@dataclass(frozen=True, slots=True)
class Found:
    """Bytes of the sampler's card (0: there is none) and of main memory that nobody uses; what CUDA calls that card.

    `trainer_card`: bytes of the trainer's, where it is another.
    """

    card: float
    free: float
    name: str = ""
    trainer_card: float | None = None

    @property
    def is_cpu(self) -> bool:
        return not self.card

    def as_card(self) -> Card:
        """To plan memory with; of its speed nothing is said."""
        return Card((self.card or self.free) / GIB, 1.0, 1.0, is_cpu=self.is_cpu, trainer_gib=self._trainer_gib)

    def as_fast_card(self) -> Card | None:
        """To plan time with; None: a card that is not in the table."""
        if self.is_cpu:
            return cpu_with(len(os.sched_getaffinity(0)), self.free / GIB)
        return card_called(self.name, self.card / GIB, trainer_gib=self._trainer_gib)

    @property
    def _trainer_gib(self) -> float | None:
        return None if self.trainer_card is None else self.trainer_card / GIB


def found_memory(model: Model) -> Found:
    """Of this machine's devices that the section [model] names. UserError: one of them is not here."""
    sampler, name = min(map(_card, model.sampler_cards))
    return Found(sampler, _free(), name, _card(model.trainer_card)[0] if model.apart else None)


def _card(device: str) -> tuple[float, str]:
    """Bytes and name. No CUDA context is made on the card: that would take half a GiB of it."""
    import torch

    from ttsd.backbone.processor import device_named

    place = device_named(device)
    if place.type == "cpu":
        return 0.0, ""
    properties = torch.cuda.get_device_properties(place)
    return float(properties.total_memory), properties.name


def _free() -> float:
    """What is available, within the bounds of our control group."""
    available = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    free = float(available[1]) * 1024 if available else GIB
    limit, used = (_number(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
    return free if limit is None or used is None else min(free, limit - used)


def _number(file: Path) -> float | None:
    text = file.read_text().strip() if file.is_file() else ""
    return float(text) if text.isdigit() else None
