"""Tiny random models of the families of today, written to a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch  # noqa: TID253

from tests.tiny import write_tokenizer

torch.set_num_threads(1)

WINDOW = {"sliding_window": 16}
LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_conv_kernel_dim": 4,
}
EXPERTS = {"num_experts": 4, "num_local_experts": 4, "moe_intermediate_size": 32, "num_experts_per_tok": 2}
MAMBA = {
    "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1, "shared_intermediate_size": 32,
    "layer_types": ["mamba", "attention", "mamba", "attention"], "num_local_experts": 4, "num_experts_per_tok": 2,
}  # fmt: skip
GRANITE = {
    "logits_scaling": 8.0, "embedding_multiplier": 12.0, "attention_multiplier": 0.1, "residual_multiplier": 0.22,
}  # fmt: skip
LFM2 = {"layer_types": ["conv", "full_attention", "conv", "full_attention"], "conv_L_cache": 3}
GEMMA4 = {
    **WINDOW, "global_head_dim": 8, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 320,
    "num_kv_shared_layers": 0, "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip


@dataclass(frozen=True)
class Family:
    """A row of the table in the documentation: model type of transformers, its settings, and whether it packs."""

    models: str
    kind: str
    packs: bool
    settings: Mapping[str, Any] = field(default_factory=dict)


FAMILIES = {
    "llama 3": Family("Llama 3, 3.1, 3.2; DeepSeek-R1-Distill-Llama", "llama", True, {"rope_parameters": LLAMA3}),
    "qwen2": Family("Qwen2.5, Qwen2.5-Coder; DeepSeek-R1-Distill-Qwen", "qwen2", True),
    "qwen3": Family("Qwen3", "qwen3", True),
    "qwen3 moe": Family("Qwen3-MoE, Qwen3-Coder-30B-A3B", "qwen3_moe", True, {**EXPERTS, "mlp_only_layers": [0]}),
    "qwen3.5": Family("Qwen3.5, Qwen3.6 (text)", "qwen3_5_text", False, LINEAR),
    "qwen3 next": Family("Qwen3-Next, Qwen3-Coder-Next", "qwen3_next", False, {**LINEAR, **EXPERTS}),
    "gemma 2": Family("Gemma 2", "gemma2", False, WINDOW),
    "gemma 3": Family("Gemma 3 (text)", "gemma3_text", False, WINDOW),
    "gemma 4": Family("Gemma 4 (text)", "gemma4_text", False, GEMMA4),
    "gpt-oss": Family("gpt-oss", "gpt_oss", False, {**WINDOW, **EXPERTS}),
    "lfm2": Family("LFM2, LFM2.5", "lfm2", False, LFM2),
    "smollm3": Family("SmolLM3", "smollm3", True),
    "mistral": Family("Mistral 7B 0.2 and later, Mistral Small, Codestral", "mistral", True, {"sliding_window": None}),
    "mistral 0.1": Family("Mistral 7B 0.1", "mistral", False, WINDOW),
    "ministral": Family("Ministral", "ministral", False, WINDOW),
    "ministral 3": Family("Ministral 3 (text)", "ministral3", True, {"sliding_window": None}),
    "phi": Family("Phi-1.5, Phi-2", "phi", True),
    "phi 3": Family("Phi-3-mini", "phi3", False, WINDOW),
    "phi 4": Family("Phi-4, Phi-4-mini", "phi3", True, {"sliding_window": None}),
    "olmo 2": Family("OLMo 2", "olmo2", True),
    "olmo 3": Family("OLMo 3", "olmo3", False, WINDOW),
    "granite 3": Family("Granite 3", "granite", True, GRANITE),
    "granite 4": Family("Granite 4 (hybrid)", "granitemoehybrid", False, {**MAMBA, **GRANITE}),
    "glm 4": Family("GLM-4 (0414)", "glm4", True),
    "starcoder 2": Family("StarCoder2", "starcoder2", False, WINDOW),
    "phi moe": Family("Phi-3.5-MoE", "phimoe", True, {"sliding_window": None, **EXPERTS}),
    "qwen3.5 moe": Family(
        "Qwen3.5-MoE, Qwen3.6-MoE (text)",
        "qwen3_5_moe_text",
        False,
        {**LINEAR, **EXPERTS, "shared_expert_intermediate_size": 32},
    ),
    "lfm2 moe": Family("LFM2-MoE", "lfm2_moe", False, {**LFM2, **EXPERTS, "num_dense_layers": 1}),
    "seed-oss": Family("Seed-OSS", "seed_oss", True),
}

_MLA = {
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8,
    "num_key_value_heads": 4, "head_dim": 4,
}  # fmt: skip
_ROUTED = {
    **EXPERTS, "n_routed_experts": 4, "n_shared_experts": 1, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1,
}  # fmt: skip
_STATES = {"mamba_n_heads": 4, "mamba_d_state": 8, "mamba_n_groups": 1}
_YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}
_GEMMA3N = {
    **WINDOW, "num_hidden_layers": 5, "layer_types": ["sliding_attention"] * 4 + ["full_attention"],
    "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 320, "num_kv_shared_layers": 0,
    "intermediate_size": 64, "laurel_rank": 4, "altup_num_inputs": 2, "activation_sparsity_pattern": None,
}  # fmt: skip
_LLAMA4 = {**EXPERTS, "attention_chunk_size": 16, "intermediate_size_mlp": 64, "no_rope_layers": [1, 1, 1, 0]}
OTHERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "DeepSeek V2": ("deepseek_v2", {**_MLA, **_ROUTED}),
    "DeepSeek V3": ("deepseek_v3", {**_MLA, **_ROUTED}),
    "GLM-4.5": ("glm4_moe", _ROUTED),
    "GLM-4.7-Flash": ("glm4_moe_lite", {**_MLA, **_ROUTED}),
    "MiniCPM 3": ("minicpm3", _MLA),
    "Hunyuan-MoE": ("hunyuan_v1_moe", {"num_experts": 4, "moe_topk": 2, "moe_intermediate_size": 32}),
    "ERNIE 4.5 MoE": ("ernie4_5_moe", {"moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 32}),
    "Nemotron": ("nemotron", {}),
    "Nemotron-H": ("nemotron_h", {"mamba_num_heads": 4, "mamba_head_dim": 16, "ssm_state_size": 8, "n_groups": 1}),
    "StableLM": ("stablelm", {}),
    "Bamba": ("bamba", {**_STATES, "mamba_d_head": 16, "attn_layer_indices": [1, 3]}),
    "Falcon-H1": ("falcon_h1", {**_STATES, "mamba_d_head": 8, "mamba_d_ssm": 32, "lm_head_multiplier": 0.5}),
    "OLMo-Hybrid": ("olmo_hybrid", LINEAR),
    "OLMo 1 with clipped projections": ("olmo", {"clip_qkv": 0.5}),
    "Command R7B": ("cohere2", WINDOW),
    "EXAONE 4": ("exaone4", WINDOW),
    "Llama 4 (text)": ("llama4_text", _LLAMA4),
    "Llama with YaRN": ("llama", {"rope_parameters": _YARN}),
    "Gemma 3n (text)": ("gemma3n_text", _GEMMA3N),
    "Mixtral": ("mixtral", {**EXPERTS, "sliding_window": None}),
    "Mixtral with a window": ("mixtral", {**EXPERTS, **WINDOW}),
    "MiniMax-M2": ("minimax_m2", EXPERTS),
    "MiMo-V2-Flash": ("mimo_v2_flash", {**_ROUTED, **WINDOW}),
    "Granite 3 MoE": ("granitemoe", {**EXPERTS, "logits_scaling": 6.0}),
    "Qwen2 with windows": ("qwen2", {**WINDOW, "use_sliding_window": True, "max_window_layers": 1}),
}
WITH_PICTURES: Mapping[str, Mapping[str, Any]] = {
    "gemma3": WINDOW,
    "gemma4": GEMMA4,
    "llama4": _LLAMA4,
    "mistral3": {"sliding_window": None},
    "qwen3_5": LINEAR,
    "qwen3_5_moe": {**LINEAR, **EXPERTS, "shared_expert_intermediate_size": 32},
}
OWN_CACHE: Mapping[str, Mapping[str, Any]] = {"kimi_linear": {**_MLA, **_ROUTED}, "minimax": EXPERTS}

# What vLLM 0.32.0's CPU build does with a larger model of each family, in float32: `tests/bench/families_in_vllm.py`.
_EXACT = "same, 1e-5"
_TRITON = "not on a CPU (Triton)"
VLLM = {
    "qwen3 moe": _TRITON,
    "qwen3.5": "not started (text part alone)",
    "qwen3 next": "not on a CPU in float32",
    "gemma 2": "same, 3e-5",
    "gpt-oss": _TRITON,
    "lfm2": "not started (`conv_dim`)",
    "granite 4": _TRITON,
    "glm 4": "adapter not loaded",
    "phi moe": "not started (its experts)",
    "qwen3.5 moe": "not started (text part alone)",
    "lfm2 moe": _TRITON,
}

_SIZES = {
    "vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 8, "intermediate_size": 64, "max_position_embeddings": 512, "eos_token_id": 2, "pad_token_id": 0,
    "bos_token_id": 1,
}  # fmt: skip
_VISION = {
    "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 4, "num_hidden_layers": 2, "patch_size": 14,
    "num_attention_heads": 4, "num_key_value_heads": 4, "out_hidden_size": 32, "image_size": 28,
    "vision_output_dim": 32,
}  # fmt: skip


def write_family(
    name: str, folder: Path, change: Mapping[str, Any] | None = None, larger: Mapping[str, Any] | None = None
) -> Path:
    """Writes a model and a tokenizer. `name`: of FAMILIES, or with `change` a model type and its settings.

    `larger`: sizes in place of the usual tiny ones.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    kind, settings = (FAMILIES[name].kind, FAMILIES[name].settings) if change is None else (name, change)
    default = AutoConfig.for_model(kind).to_dict()
    known = {*default, *settings}
    sizes, more = ({key: one[key] for key in one if key in known} for one in (_SIZES, larger or {}))
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**sizes, **settings, **more})).float()
    _give_opinions(model)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def write_with_pictures(kind: str, folder: Path) -> Path:
    """Writes a model of WITH_PICTURES, as the hub has them: a language model within one that sees pictures."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    default, parts = AutoConfig.for_model(kind), {}
    for name, sizes in {"text_config": _SIZES, "vision_config": _VISION}.items():
        part = (getattr(default, name) or AutoConfig.for_model(f"{kind}_vision")).to_dict()
        parts[name] = {"model_type": part["model_type"]} | {key: sizes[key] for key in sizes if key in part}
    parts["text_config"] |= WITH_PICTURES[kind]
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(AutoConfig.for_model(kind, **parts)).float()
    _give_opinions(model)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return folder


def _give_opinions(model: Any) -> None:
    """Makes the weights larger: an untrained model says the same everywhere."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.mul_(3.0)
            elif not parameter.any():
                parameter.normal_(0, 0.2)  # biases, which begin at zero


def sequences() -> list[tuple[int, ...]]:
    """Five rows of 15 to 57 tokens, four with a common beginning, longer than the windows here."""
    generator = torch.Generator().manual_seed(1)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, 259, (count,), generator=generator).tolist())

    start, branch = tokens(20), tokens(12)
    return [
        start + tokens(30),
        start + tokens(18),
        start + branch + tokens(10),
        start + branch + tokens(25),
        tokens(15),
    ]


def others() -> str:
    """Returns the sentence of the documentation about families that are not in its table."""
    return f"The same is tested for {', '.join(list(OTHERS)[:-1])} and {list(OTHERS)[-1]}."


def table() -> str:
    """Returns the table of the documentation, in Markdown."""
    rows = [
        f"| {one.models} | `{one.kind}` | {'packed' if one.packs else 'a row a sequence'} | {VLLM.get(name, _EXACT)} |"
        for name, one in FAMILIES.items()
    ]
    return "\n".join(["| models | `model_type` | trainer | vLLM |", "|---|---|---|---|", *rows]) + "\n"
