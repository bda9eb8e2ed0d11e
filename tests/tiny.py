"""A random model of the bundled one's shape, or smaller, with a tokenizer of its own, written to a folder."""

from __future__ import annotations

import json
from pathlib import Path

import torch  # noqa: TID253

torch.set_num_threads(1)

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{%- for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n"
    "{%- if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{%- endif %}"
)


def write_model(
    folder: Path, *, small: bool = True, seed: int = 0, family: str = "qwen3", positions: int = 2048, tied: bool = True
) -> Path:
    """Weights, configuration and tokenizer in `folder`.

    `small`: 2 layers of width 32, else the bundled shape; `family`: a model type of transformers; `tied`: one matrix
    of input and output.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = {"hidden_size": 32, "num_hidden_layers": 2, "head_dim": 8, "intermediate_size": 64}
    if not small:
        shape = {"hidden_size": 192, "num_hidden_layers": 4, "head_dim": 48, "intermediate_size": 512}
    config = AutoConfig.for_model(
        family, vocab_size=320 if small else 640, num_attention_heads=4, num_key_value_heads=2,
        tie_word_embeddings=tied, max_position_embeddings=positions, eos_token_id=2, pad_token_id=0, **shape,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():  # an untrained model says the same everywhere; this one has opinions
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(3.0)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def write_tokenizer(folder: Path, *, chat: bool = True) -> None:
    """One token per byte behind three special tokens: 259 tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    if chat:
        (folder / "chat_template.jinja").write_text(TEMPLATE, "utf-8")
