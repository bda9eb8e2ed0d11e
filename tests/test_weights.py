"""Weights that a folder or a GGUF file lacks, misshapes or spoils are refused before anything uses or keeps them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch  # noqa: TID253
from safetensors.torch import load_file, save_file

from tests.families import write_family
from tests.tiny import write_model
from ttsd.backbone import load_base, resolve, weights_digest
from ttsd.backbone.gguf import GgufFacts
from ttsd.errors import UserError

Change = Callable[[dict[str, torch.Tensor]], object]


def broken(folder: Path, change: Change) -> str:
    write_family("llama", folder, {"tie_word_embeddings": False})
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder)


def without(part: str) -> Change:
    return lambda weights: [weights.pop(name) for name in list(weights) if part in name]


def prefixed(weights: dict[str, torch.Tensor]) -> None:
    for name in list(weights):
        weights["base_model.model." + name] = weights.pop(name)


def halved(weights: dict[str, torch.Tensor]) -> None:
    weights["model.layers.0.mlp.up_proj.weight"] = weights["model.layers.0.mlp.up_proj.weight"][:32].clone()


def spoiled(weights: dict[str, torch.Tensor]) -> None:
    weights["model.layers.1.mlp.down_proj.weight"][0, 0] = torch.nan


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without(".layers.2."), r"lacks weights of the model: model\.layers\.2\..* more"),
        (without("lm_head"), r"lacks weights of the model: lm_head\.weight;"),
        (without("model.norm"), r"lacks weights of the model: model\.norm\.weight;"),
        (prefixed, "lacks weights of the model"),
        (halved, r"other shapes than the model: model\.layers\.0\.mlp\.up_proj\.weight;"),
        (spoiled, r"not finite numbers: model\.layers\.1\.mlp\.down_proj\.weight;"),
    ],
)
def test_a_folder_without_whole_weights_is_refused(tmp_path: Path, change: Change, said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_base(broken(tmp_path, change), dtype="float32")


def test_other_weights_at_the_same_path_have_another_digest(tmp_path: Path) -> None:
    first = weights_digest(str(write_model(tmp_path / "a")))
    assert first == weights_digest(str(write_model(tmp_path / "b")))
    assert first != weights_digest(str(write_model(tmp_path / "c", seed=1)))
    sizes = tmp_path / "b" / "config.json"
    sizes.write_text(json.dumps(json.loads(sizes.read_text()) | {"rope_theta": 5.0}))
    weights_digest.cache_clear()
    assert first != weights_digest(str(tmp_path / "b"))


def test_a_part_of_a_split_file_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="GGUF files need the package gguf")
    part = tmp_path / "model-00001-of-00003.gguf"
    part.write_bytes(b"GGUF")
    with pytest.raises(UserError, match=r"one of 3 parts of a model; join them with `llama-gguf-split --merge`"):
        resolve(str(part))


def write_gguf(file: Path, factors: torch.Tensor) -> GgufFacts:
    gguf = pytest.importorskip("gguf", reason="GGUF files need the package gguf")
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_eos_token_id(7)
    writer.add_eot_token_id(9)
    writer.add_tensor("rope_freqs.weight", factors.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return GgufFacts(file)


def test_rope_factors_and_end_tokens_come_from_the_file(tmp_path: Path) -> None:
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = LlamaConfig(hidden_size=256, num_attention_heads=4, rope_parameters={"rope_type": "default", "rope_theta": 5e5})  # fmt: skip  # noqa: E501
    scaled = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 32.0, "low_freq_factor": 1.0,
              "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}  # fmt: skip
    frequencies, _ = ROPE_INIT_FUNCTIONS["llama3"](
        LlamaConfig(hidden_size=256, num_attention_heads=4, rope_parameters=scaled), torch.device("cpu")
    )
    facts = write_gguf(tmp_path / "one.gguf", 5e5 ** -(torch.arange(0, 64, 2) / 64) / frequencies)
    facts.apply_rope(config)
    assert config.rope_parameters == scaled
    assert facts.end_ids() == [7, 9]
    odd = write_gguf(tmp_path / "odd.gguf", torch.linspace(1, 3, 32))
    with pytest.raises(UserError, match="rope factors of an unknown kind"):
        odd.apply_rope(config)
