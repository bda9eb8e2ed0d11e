"""How much memory and time a step would take on a card, from the model's own config.json; nothing is loaded.

Memory is the worst case of the settings (every prompt, reprompt and completion at its limit), time is for whatever
lengths are given. Linear layers, attention and the vocabulary are counted; kernels are assumed to reach the shares of
peak below. It is a plan to choose settings by, not a measurement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ttsd.config import Config
from ttsd.errors import UserError

GIB = float(1 << 30)

_CONTEXT = 0.6 * GIB  # CUDA context and library workspaces of one process
_SERVING = 2.0 * GIB  # what vLLM needs while it computes
_SLACK = 1.1  # allocator fragmentation on what comes and goes
_NF4_BYTES = 0.516  # 4 bits and doubly quantised scales
_MATMUL_SHARE, _BANDWIDTH_SHARE = 0.4, 0.6  # of peak


@dataclass(frozen=True, slots=True)
class Card:
    """Memory in GiB, dense 16-bit TFLOP/s and memory bandwidth in GB/s, as the maker states them."""

    gib: float
    tflops: float
    gb_per_second: float


CARDS = {
    "h200-141": Card(141, 989, 4800),
    "h100-80": Card(80, 989, 3350),
    "a100-80": Card(80, 312, 2039),
    "l40s-48": Card(48, 362, 864),
    "rtx4090-24": Card(24, 165, 1008),
    "l4-24": Card(24, 121, 300),
}


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes in a transformers config.json of the Llama and Qwen families."""

    hidden: int
    layers: int
    queries: int
    keys: int
    feed_forward: int
    heads: int
    vocab: int
    tied: bool

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Shape:
        """UserError: the config lacks a size."""
        try:
            heads = config["num_attention_heads"]
            head = config.get("head_dim") or config["hidden_size"] // heads
            return cls(
                hidden=config["hidden_size"],
                layers=config["num_hidden_layers"],
                queries=heads * head,
                keys=config.get("num_key_value_heads", heads) * head,
                feed_forward=config["intermediate_size"],
                heads=heads,
                vocab=config["vocab_size"],
                tied=config.get("tie_word_embeddings", False),
            )
        except KeyError as error:
            raise UserError(
                f"the model's config.json has no {error}; a plan needs a text model of the usual shape"
            ) from None

    @property
    def linear(self) -> int:
        """Numbers in the seven linear layers, all layers together."""
        attention = 2 * self.hidden * self.queries + 2 * self.hidden * self.keys
        return self.layers * (attention + 3 * self.hidden * self.feed_forward)

    @property
    def embedding(self) -> int:
        """Numbers in the token table and, where it is a table of its own, the vocabulary projection."""
        return self.vocab * self.hidden * (1 if self.tied else 2)

    def adapter(self, rank: int) -> int:
        """Numbers in an adapter on all seven linear layers."""
        ends = 4 * self.hidden + 2 * self.queries + 2 * self.keys  # q, k, v and o, both sides of each
        return self.layers * rank * (ends + 3 * (self.hidden + self.feed_forward))

    def kv_bytes(self, tokens: int, width: int) -> float:
        return 2.0 * self.layers * self.keys * width * tokens

    def layer_bytes(self, rank: int) -> float:
        """Bytes per token that autograd keeps for one layer in 16 bits (measured with saved-tensor hooks)."""
        return 12.0 * self.hidden + 10.0 * self.queries + 8.3 * self.keys + 8.0 * self.feed_forward + 14.0 * rank


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: who needs it, what for, how much."""

    where: str
    what: str
    amount: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """`memory` in bytes, `time` in seconds, and per process what it needs and may have, in bytes."""

    memory: tuple[Row, ...]
    time: tuple[Row, ...]
    needs: Mapping[str, float]
    limits: Mapping[str, float]

    @property
    def fits(self) -> bool:
        return all(self.needs[process] <= self.limits[process] for process in self.limits)


def plan(
    config: Config,
    model: Mapping[str, Any],
    card: Card,
    *,
    questions: int = 1,
    prompt_tokens: int | None = None,
    reprompt_tokens: int | None = None,
    completion_tokens: int | None = None,
) -> Plan:
    """The plan of a step under `config` for the model whose config.json is `model`; lengths default to their limits."""
    shape, width = Shape.read(model), 4 if config.model.dtype == "float32" else 2
    lengths = Lengths(
        config.sampling.group_size,
        prompt_tokens or config.sampling.max_prompt_len,
        reprompt_tokens or config.reprompt.max_reprompt_len,
        completion_tokens or config.sampling.max_tokens,
    )
    memory = (
        *_trainer_memory(config, shape, width, lengths, questions),
        *_sampler_memory(config, shape, width, lengths, questions),
    )
    needs = {process: sum(row.amount for row in memory if row.where == process) for process in ("trainer", "sampler")}
    share = config.model.gpu_memory_utilization * card.gib * GIB
    return Plan(
        memory, _time(config, shape, width, lengths, card), needs, {"trainer": card.gib * GIB - share, "sampler": share}
    )


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of one step's sequences."""

    group: int
    prompt: int
    reprompt: int
    completion: int

    @property
    def student(self) -> int:
        """Tokens that the student reads: the prompt once."""
        return self.prompt + self.group * self.completion

    @property
    def teacher(self) -> int:
        """Tokens that the teacher reads if no two reprompts share anything."""
        return self.group * (self.reprompt + self.completion)


def _trainer_memory(config: Config, shape: Shape, width: int, lengths: Lengths, questions: int) -> list[Row]:
    distillation, numbers = config.distillation, shape.adapter(config.lora.rank)
    linear = _NF4_BYTES if config.model.quantize_base == "nf4" else width
    copies = 5 + (config.teacher.teacher_regularization == "ema") - 1  # weights, gradient, two moments, teacher
    longest = lengths.prompt + lengths.completion
    row = max(longest, min(distillation.token_budget, lengths.student))
    layer = shape.layer_bytes(config.lora.rank) * width / 2
    checkpointed = distillation.gradient_checkpointing
    kept = row * (shape.layers * shape.hidden * width + layer if checkpointed else shape.layers * layer)
    passing = max(lengths.reprompt + lengths.completion, min(distillation.token_budget, lengths.teacher))
    logits = 3 * width + 3 * 4  # student, teacher, gradient; their float32 log-softmaxes
    return [
        Row("trainer", "base weights", shape.linear * linear + shape.embedding * width, config.model.quantize_base),
        Row("trainer", "adapters and optimizer", questions * copies * 4.0 * numbers, f"{numbers / 1e6:.0f} M numbers"),
        Row("trainer", "student activations", kept * _SLACK, f"{row} tokens{', checkpointed' * checkpointed}"),
        Row("trainer", "teacher activations", passing * layer / 2 * _SLACK, f"{passing} tokens, one layer at a time"),
        Row("trainer", "hidden states", 3.0 * row * shape.hidden * width, "student, its gradient, teacher"),
        Row(
            "trainer",
            "logits",
            float(distillation.chunk_tokens * shape.vocab * logits),
            f"{distillation.chunk_tokens} tokens at a time",
        ),
        Row("trainer", "CUDA context", _CONTEXT),
    ]


def _sampler_memory(config: Config, shape: Shape, width: int, lengths: Lengths, questions: int) -> list[Row]:
    slots = questions + 1  # the version in use and the one that replaces it
    least = shape.kv_bytes(lengths.prompt + lengths.completion, width)
    whole = shape.kv_bytes(questions * lengths.student, width) / GIB
    return [
        Row("sampler", "base weights", float((shape.linear + shape.embedding) * width)),
        Row("sampler", "adapter slots", float(slots * shape.adapter(config.lora.rank) * width), f"{slots} slots"),
        Row("sampler", "KV cache, at least", least, f"of one completion; {whole:.1f} GiB hold all at once"),
        Row("sampler", "serving", _SERVING + _CONTEXT),
    ]


def _time(config: Config, shape: Shape, width: int, lengths: Lengths, card: Card) -> tuple[Row, ...]:
    rate = card.tflops * 1e12 * _MATMUL_SHARE
    backward = 3.0 if config.distillation.gradient_checkpointing else 2.0  # forward, backward, forward once more
    vocabulary = 2.0 * shape.vocab * shape.hidden * lengths.group * lengths.completion
    student = _forward(shape, lengths.student, lengths.prompt + lengths.completion) * backward + 2 * vocabulary
    passes = 2 if config.teacher.teacher_regularization == "trust-region" else 1
    teacher = passes * (_forward(shape, lengths.teacher, lengths.reprompt + lengths.completion) + vocabulary)
    weights = (shape.linear + shape.vocab * shape.hidden) * width
    cache = shape.kv_bytes(lengths.group * (lengths.prompt + lengths.completion // 2), width)
    token = (weights + cache) / (card.gb_per_second * 1e9 * _BANDWIDTH_SHARE)
    return (
        Row("sampler", "sample", token * lengths.completion, f"{lengths.group} x {lengths.completion} tokens"),
        Row("trainer", "teacher", teacher / rate, f"{lengths.teacher} tokens"),
        Row("trainer", "student", student / rate, f"{lengths.student} tokens"),
    )


def _forward(shape: Shape, tokens: int, context: int) -> float:
    """FLOPs of a forward pass over `tokens` that see half of `context` on average."""
    return tokens * (2.0 * shape.linear + 2.0 * shape.layers * shape.queries * context)
