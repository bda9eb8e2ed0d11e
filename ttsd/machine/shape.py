"""The sizes of a model, from its config.json or from a table of well-known ones; nothing is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
        """Takes the sizes from a config.json. UserError: one is missing."""
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
                f"the model's config.json has no {error}; its memory is known only for a text model of the usual shape"
            ) from None

    @property
    def linear(self) -> int:
        """Counts the numbers in the seven linear layers, all layers together."""
        attention = 2 * self.hidden * self.queries + 2 * self.hidden * self.keys
        return self.layers * (attention + 3 * self.hidden * self.feed_forward)

    @property
    def embedding(self) -> int:
        """Counts the numbers in the token table and, where it is a table of its own, the vocabulary projection."""
        return self.vocab * self.hidden * (1 if self.tied else 2)

    def adapter(self, rank: int) -> int:
        """Counts the numbers in an adapter on all seven linear layers."""
        ends = 4 * self.hidden + 2 * self.queries + 2 * self.keys  # q, k, v and o, both sides of each
        return self.layers * rank * (ends + 3 * (self.hidden + self.feed_forward))

    def kv_bytes(self, tokens: int, width: int) -> float:
        """Returns the bytes of keys and values of so many tokens, `width` bytes a number."""
        return 2.0 * self.layers * self.keys * width * tokens

    def layer_bytes(self, rank: int) -> float:
        """Returns bytes per token that autograd keeps of one layer in 16 bits (measured with saved-tensor hooks)."""
        return 12.0 * self.hidden + 10.0 * self.queries + 8.3 * self.keys + 8.0 * self.feed_forward + 14.0 * rank
