"""How much memory and time a step would take on a card, from the model's own config.json; nothing is loaded.

The sizes of the models in `KNOWN` are known without a network. Memory is the worst case of the settings (every
prompt, reprompt and completion at its limit), time is for whatever lengths are given. Linear layers, attention and the
vocabulary are counted; kernels are assumed to reach the shares of peak below. It is a plan to choose settings by, not
a measurement.
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
_RAM_SHARE = 0.8  # of a machine's memory: the rest is the system's
_LAYER_SECONDS = 1e-3  # what transformers' Python takes for one layer of one token, whatever the card
_SEQUENCES = 256  # that vLLM decodes at once
_USUAL_PROMPT, _USUAL_FEEDBACK = 768, 512  # tokens of a LiveCodeBench question, and of feedback on it


@dataclass(frozen=True, slots=True)
class Card:
    """Memory in GiB, dense TFLOP/s (16-bit; of a CPU 32-bit) and memory bandwidth in GB/s, as the maker states them."""

    gib: float
    tflops: float
    gb_per_second: float
    is_cpu: bool = False


CARDS = {
    "h200-141": Card(141, 989, 4800),
    "h100-80": Card(80, 989, 3350),
    "a100-80": Card(80, 312, 2039),
    "l40s-48": Card(48, 362, 864),
    "rtx4090-24": Card(24, 165, 1008),
    "l4-24": Card(24, 121, 300),
    "laptop-cpu": Card(16, 1.0, 60, is_cpu=True),  # 8 cores with AVX2, two channels of DDR5
}

_QWEN3 = {"vocab_size": 151_936, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 40_960}
KNOWN: Mapping[str, Mapping[str, Any]] = {
    name: dict(
        zip(("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"), sizes, strict=True)
    )
    | rest
    for name, sizes, rest in (
        ("Qwen/Qwen3-0.6B", (1024, 28, 16, 3072), {**_QWEN3, "tie_word_embeddings": True}),
        ("Qwen/Qwen3-1.7B", (2048, 28, 16, 6144), {**_QWEN3, "tie_word_embeddings": True}),
        ("Qwen/Qwen3-4B", (2560, 36, 32, 9728), {**_QWEN3, "tie_word_embeddings": True}),
        ("Qwen/Qwen3-8B", (4096, 36, 32, 12288), {**_QWEN3, "tie_word_embeddings": False}),
        ("Qwen/Qwen3-14B", (5120, 40, 40, 17408), {**_QWEN3, "tie_word_embeddings": False}),
        (
            "Qwen/Qwen2.5-Coder-0.5B-Instruct",
            (896, 24, 14, 4864),
            {
                "vocab_size": 151_936,
                "num_key_value_heads": 2,
                "max_position_embeddings": 32_768,
                "tie_word_embeddings": True,
            },
        ),
    )
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
    shape, width = Shape.read(model), _width(config)
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
    return Plan(memory, _time(config, shape, width, lengths, card), needs, _limits(config, card, needs))


def _limits(config: Config, card: Card, needs: Mapping[str, float]) -> dict[str, float]:
    """vLLM takes a fixed share of a card; otherwise each process may have what the other one leaves."""
    if config.model.sampler == "vllm" and not card.is_cpu:
        share = config.model.gpu_memory_utilization * card.gib * GIB
        return {"trainer": card.gib * GIB - share, "sampler": share}
    whole = card.gib * GIB * (_RAM_SHARE if card.is_cpu else 1.0)
    return {"trainer": whole - needs["sampler"], "sampler": whole - needs["trainer"]}


@dataclass(frozen=True, slots=True)
class Sharing:
    """What one card does with `questions` on it: all rates and times are of one step of every question.

    `at_once`: completions decoded together. Decoding and training are counted one after the other: on one card they
    compete for it, so their overlap is gained only in part.
    """

    questions: int
    gib: float
    fits: bool
    at_once: int
    tokens_per_second: float
    decode_seconds: float
    train_seconds: float

    @property
    def wall_seconds(self) -> float:
        return self.decode_seconds + self.train_seconds

    def gain(self, alone: Sharing) -> float:
        """How many times faster than one question after the other."""
        return self.questions * alone.wall_seconds / self.wall_seconds / alone.questions


def sharing(
    config: Config, model: Mapping[str, Any], card: Card, questions: int, *, completion_tokens: int | None = None
) -> Sharing:
    """A step of `questions` questions on one engine; lengths are `usual_lengths`."""
    shape, width = Shape.read(model), _width(config)
    lengths = usual_lengths(config, completion_tokens)
    made = plan(config, model, card, questions=questions)
    row = shape.kv_bytes(lengths.prompt + lengths.completion // 2, width)
    wanted = questions * lengths.group
    most = _SEQUENCES if config.model.sampler == "vllm" else lengths.group  # transformers serves one adapter at a time
    at_once = max(1, min(wanted, most, int(_cache_room(config, made) / row)))
    token = _token_seconds(config, shape, width, card, at_once, row, adapters=questions)
    one = plan(
        config,
        model,
        card,
        prompt_tokens=lengths.prompt,
        reprompt_tokens=lengths.reprompt,
        completion_tokens=lengths.completion,
    )
    return Sharing(
        questions=questions,
        gib=sum(made.needs.values()) / GIB,
        fits=made.fits,
        at_once=at_once,
        tokens_per_second=at_once / token,
        decode_seconds=wanted * lengths.completion * token / at_once,
        train_seconds=questions * sum(row.amount for row in one.time if row.where == "trainer"),
    )


def usual_lengths(config: Config, completion_tokens: int | None) -> Lengths:
    """Of a question of usual length whose completions have so many tokens; None: every length at its limit."""
    sampling, longest = config.sampling, config.reprompt.max_reprompt_len
    if completion_tokens is None:
        return Lengths(sampling.group_size, sampling.max_prompt_len, longest, sampling.max_tokens)
    prompt = min(_USUAL_PROMPT, sampling.max_prompt_len)
    reprompt = min(prompt + _USUAL_FEEDBACK, longest)
    return Lengths(sampling.group_size, prompt, reprompt, min(completion_tokens, sampling.max_tokens))


def _cache_room(config: Config, made: Plan) -> float:
    """Bytes for keys and values, once all else has its place."""
    if config.model.device == "cpu" and config.model.sampler == "vllm":
        return config.model.kv_cache_gib * GIB
    least = sum(row.amount for row in made.memory if row.what == "KV cache, at least")
    return made.limits["sampler"] - made.needs["sampler"] + least


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
    if config.model.sampler == "transformers":  # reads the trainer's weights, and decodes a group without paging
        cache = shape.kv_bytes(lengths.group * (lengths.prompt + lengths.completion), width)
        return [Row("sampler", "KV cache, at least", cache, "of one group, all at full length")]
    if config.model.device == "cpu":
        least = max(least, config.model.kv_cache_gib * GIB)
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
    row = shape.kv_bytes(lengths.prompt + lengths.completion // 2, width)
    token = _token_seconds(config, shape, width, card, lengths.group, row)
    return (
        Row("sampler", "sample", token * lengths.completion, f"{lengths.group} x {lengths.completion} tokens"),
        Row("trainer", "teacher", teacher / rate, f"{lengths.teacher} tokens"),
        Row("trainer", "student", student / rate, f"{lengths.student} tokens"),
    )


def _forward(shape: Shape, tokens: int, context: int) -> float:
    """FLOPs of a forward pass over `tokens` that see half of `context` on average."""
    return tokens * (2.0 * shape.linear + 2.0 * shape.layers * shape.queries * context)


def _token_seconds(
    config: Config, shape: Shape, width: int, card: Card, at_once: int, cache: float, *, adapters: int = 1
) -> float:
    """Seconds in which each of `at_once` completions grows by a token; `cache`: bytes of keys and values of each.

    Everything is read once for all of them, but for their own keys and values; many of them make it arithmetic.
    """
    nf4 = config.model.sampler == "transformers" and config.model.quantize_base == "nf4"
    weights = shape.linear * (_NF4_BYTES if nf4 else width) + shape.vocab * shape.hidden * width
    read = weights + at_once * cache + adapters * shape.adapter(config.lora.rank) * width
    reading = read / (card.gb_per_second * 1e9 * _BANDWIDTH_SHARE)
    working = at_once * 2.0 * (shape.linear + shape.vocab * shape.hidden) / (card.tflops * 1e12 * _MATMUL_SHARE)
    python = shape.layers * _LAYER_SECONDS if config.model.sampler == "transformers" else 0.0
    return max(reading, working, python)


def _width(config: Config) -> int:
    """Bytes of a number of the base model."""
    on_cpu = config.model.dtype == "auto" and config.model.device == "cpu"
    return 4 if config.model.dtype == "float32" or on_cpu else 2
