"""The bundled model's shape in plain torch: Qwen3, small enough to train from scratch on two cores.

Parameters have the names of the transformers library, so the saved weights load there and in vLLM unchanged. Only what
training needs: no cache, no generation, no dropout.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch  # noqa: TID253
import torch.nn.functional as F  # noqa: TID253
from torch import Tensor, nn  # noqa: TID253

from tools.micro.tokenizer import VOCABULARY

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WIDTH, HEADS, HEAD, FEED_FORWARD, LAYERS = 128, 4, 32, 384, 4
SHARPNESS = 1.7  # normalised queries and keys of few dimensions can't attend sharply at scale 1
CONFIG = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "intermediate_size": FEED_FORWARD,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS,
    "head_dim": HEAD,
    "hidden_act": "silu",
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "attention_bias": False,
    "attention_dropout": 0.0,
    "tie_word_embeddings": True,
    "use_cache": True,
    "use_sliding_window": False,
    "initializer_range": 0.02,
}


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.q_norm, self.k_norm = nn.RMSNorm(HEAD, eps=1e-6), nn.RMSNorm(HEAD, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (projection(x).unflatten(2, (HEADS, HEAD)) for projection in (self.q_proj, self.k_proj, self.v_proj))
        q, k, v = _rotated(self.q_norm(q).transpose(1, 2)), _rotated(self.k_norm(k).transpose(1, 2)), v.transpose(1, 2)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        out: Tensor = self.o_proj(mixed.transpose(1, 2).flatten(2))
        return out


class FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(WIDTH, FEED_FORWARD, bias=False)
        self.up_proj = nn.Linear(WIDTH, FEED_FORWARD, bias=False)
        self.down_proj = nn.Linear(FEED_FORWARD, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self_attn = Attention()
        self.mlp = FeedForward()
        self.input_layernorm = nn.RMSNorm(WIDTH, eps=1e-6)
        self.post_attention_layernorm = nn.RMSNorm(WIDTH, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x))
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.Sequential(*(Layer() for _ in range(LAYERS)))
        self.norm = nn.RMSNorm(WIDTH, eps=1e-6)

    def forward(self, ids: Tensor) -> Tensor:
        out: Tensor = self.norm(self.layers(self.embed_tokens(ids)))
        return out


class MicroModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = Body()
        for name, parameter in self.named_parameters():
            if name.endswith(("q_norm.weight", "k_norm.weight")):
                nn.init.constant_(parameter, SHARPNESS)
            if parameter.ndim == 2:
                out = 0.0 if name.endswith(("o_proj.weight", "down_proj.weight")) else parameter.shape[1] ** -0.5
                nn.init.normal_(parameter, std=0.02 if "embed" in name else out)

    def forward(self, ids: Tensor) -> Tensor:
        """Returns the logits of the next token (batch, length, vocabulary) for token ids (batch, length)."""
        return F.linear(self.model(ids), self.model.embed_tokens.weight)


def token_losses(model: MicroModel, ids: Tensor) -> Tensor:
    """Returns the cross entropies (batch, length - 1) in nats of the second and later tokens of `ids`."""
    logits, wanted = model(ids[:, :-1]), ids[:, 1:]
    return F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view(wanted.shape)


def load(folder: Path) -> tuple[MicroModel, Tokenizer]:
    """Returns weights (as float32) and tokenizer of a model folder that `training` wrote."""
    from safetensors.torch import load_file
    from tokenizers import Tokenizer

    model = MicroModel()
    model.load_state_dict({name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()})
    return model.eval(), Tokenizer.from_file(str(folder / "tokenizer.json"))


def _rotated(x: Tensor) -> Tensor:
    """Applies rotary position embeddings to (batch, heads, length, HEAD)."""
    frequency = 10000.0 ** (-torch.arange(0, HEAD, 2) / HEAD)
    angle = torch.outer(torch.arange(x.shape[2]).float(), frequency).repeat(1, 2)
    first, second = x.chunk(2, dim=-1)
    return x * angle.cos() + torch.cat((-second, first), dim=-1) * angle.sin()
