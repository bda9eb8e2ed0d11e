"""The sizes of a model, from its config.json or from a table of well-known ones; no weights are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttsd.errors import UserError

_QWEN3 = {
    "model_type": "qwen3",
    "vocab_size": 151_936,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 40_960,
}
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
                "model_type": "qwen2",
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
    """The sizes in a transformers config.json of the Llama and Qwen families.

    `feed_forward`: the width that a token uses; `experts`: numbers in all experts of a layer, 0 where it has none.
    """

    hidden: int
    layers: int
    queries: int
    keys: int
    feed_forward: int
    vocab: int
    tied: bool
    experts: int = 0

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Shape:
        """Takes the sizes from a config.json. UserError: one is missing."""
        try:
            heads = config["num_attention_heads"]
            head = config.get("head_dim") or config["hidden_size"] // heads
            width, experts = _feed_forward(config)
            return cls(
                hidden=config["hidden_size"],
                layers=config["num_hidden_layers"],
                queries=heads * head,
                keys=(config.get("num_key_value_heads") or heads) * head,
                feed_forward=width,
                vocab=config["vocab_size"],
                tied=config.get("tie_word_embeddings", False),
                experts=experts,
            )
        except (KeyError, TypeError) as error:
            raise UserError(
                f"the model's config.json has no {error}; its memory is known only for a text model of the usual shape"
            ) from None

    def base_bytes(self, width: int, linear: float) -> float:
        """Returns the bytes of all weights: `linear` a number in linear layers, `width` in experts and embeddings."""
        experts = self.layers * self.experts
        return (self.linear - experts) * linear + (experts + self.embedding) * width

    @property
    def linear(self) -> int:
        """Counts the numbers in the linear layers and the experts, all layers together."""
        attention = 2 * self.hidden * self.queries + 2 * self.hidden * self.keys
        return self.layers * (attention + (self.experts or 3 * self.hidden * self.feed_forward))

    @property
    def embedding(self) -> int:
        """Counts the numbers in the token table and, where it is a table of its own, the vocabulary projection."""
        return self.vocab * self.hidden * (1 if self.tied else 2)

    def adapter(self, rank: int) -> int:
        """Counts the numbers in an adapter on all linear layers; experts get none."""
        ends = 4 * self.hidden + 2 * self.queries + 2 * self.keys  # q, k, v and o, both sides of each
        return self.layers * rank * (ends + (0 if self.experts else 3 * (self.hidden + self.feed_forward)))

    def kv_bytes(self, tokens: int, width: int) -> float:
        """Returns the bytes of keys and values of so many tokens, `width` bytes a number."""
        return 2.0 * self.layers * self.keys * width * tokens

    def layer_bytes(self, rank: int) -> float:
        """Returns bytes per token that autograd keeps of one layer in 16 bits (measured with saved-tensor hooks)."""
        return 12.0 * self.hidden + 10.0 * self.queries + 8.3 * self.keys + 8.0 * self.feed_forward + 14.0 * rank


def known_shape(config: Mapping[str, Any]) -> Shape | None:
    """Returns the sizes in a config.json; None: one is missing, which is no reason not to start."""
    try:
        return Shape.read(config)
    except UserError:
        return None


def _feed_forward(config: Mapping[str, Any]) -> tuple[int, int]:
    """Returns the width of the feed-forward layer that a token uses, and the numbers in all experts of a layer."""
    names = ("num_experts", "num_local_experts", "n_routed_experts")
    experts = next((config[name] for name in names if config.get(name)), 0)
    if not experts:
        return _widest(config["intermediate_size"]), 0
    one = config.get("moe_intermediate_size") or _widest(config["intermediate_size"])
    shared = config.get("shared_expert_intermediate_size") or (config.get("n_shared_experts") or 0) * one
    used = config.get("num_experts_per_tok") or config.get("top_k_experts") or 1
    return used * one + shared, 3 * config["hidden_size"] * (experts * one + shared)


def _widest(width: int | list[int]) -> int:
    """Returns the width of the widest layer; Gemma 3n names one for each layer."""
    return max(width) if isinstance(width, list) else width


def model_facts(path: str, revision: str | None) -> tuple[Mapping[str, Any], bool]:
    """Returns the model's config.json, and whether its weights are here. UserError: nothing is known about it."""
    from ttsd.backbone import model_sizes

    folder = model_folder(path, revision)
    if folder is None and path in KNOWN:
        return KNOWN[path], False
    return model_sizes(folder or path, revision), folder is not None


def model_folder(path: str, revision: str | None) -> str | None:
    """Returns the model's folder, its own or the hub's cache; None: it is not on this machine."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    from ttsd.backbone import resolve

    if Path(resolve(path)).is_dir():
        return resolve(path)
    try:
        found = try_to_load_from_cache(path, "config.json", revision=revision)
    except HFValidationError:  # not a name that the hub could have
        return None
    folder = Path(found).parent if isinstance(found, str) else None
    return str(folder) if folder is not None and any(folder.glob("*.safetensors")) else None
