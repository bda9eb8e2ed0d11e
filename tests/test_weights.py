"""Weights that a folder or a GGUF file lacks, misshapes or spoils are refused before anything uses or keeps them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch  # noqa: TID253
from safetensors.torch import load_file, save_file

from tests.families import write_family
from tests.tiny import write_model
from ttsd.backbone import load_base, resolve, weights_digest
from ttsd.backbone.gguf import GgufFacts
from ttsd.backbone.lora import LoraShape
from ttsd.errors import UserError

LARGE = {"hidden_size": 128, "intermediate_size": 256, "head_dim": 32}
UP = "model.layers.0.mlp.up_proj.weight"
FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}
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


def eight_bits(weights: dict[str, torch.Tensor]) -> None:
    """As ModelOpt and AutoFP8 write them: transformers passes over scales of that name."""
    weights[UP] = weights[UP].to(torch.float8_e4m3fn)
    weights[f"{UP}_scale"] = torch.ones(())


@pytest.mark.parametrize(
    ("change", "settings", "said"),
    [
        (eight_bits, {}, "numbers of type F8_E4M3 without scales for them: .*up_proj"),
        (eight_bits, {"quantization_config": FP8}, "numbers of type F8_E4M3 without scales for them: .*up_proj"),
        (lambda weights: None, {"quantization_config": {"bits": 4}}, "quantised by None, which can't be learned on"),
        (lambda weights: None, {"tie_word_embeddings": True}, "says tie_word_embeddings=true and holds two different"),
        (lambda weights: None, {"architectures": ["LlamaForSequenceClassification"]}, "which writes no text"),
    ],
)
def test_weights_that_are_not_what_the_configuration_says_are_refused(
    tmp_path: Path, change: Change, settings: dict[str, object], said: str
) -> None:
    folder = Path(broken(tmp_path, change))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))
    with pytest.raises(UserError, match=said):
        load_base(str(folder), dtype="float32")


def test_a_matrix_that_the_file_holds_twice_is_tied(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    model = load_base(str(folder), dtype="float32").model
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


class Touches:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.file),)


def test_a_pickle_runs_nothing_and_is_named(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    weights: dict[str, object] = {**load_file(folder / "model.safetensors"), "x": Touches(tmp_path / "ran")}
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="holds more than weights, which could run code"):
        load_base(str(folder), dtype="float32")
    assert not (tmp_path / "ran").exists()


def test_other_weights_at_the_same_path_have_another_digest(tmp_path: Path) -> None:
    first = weights_digest(str(write_model(tmp_path / "a")))
    assert first == weights_digest(str(write_model(tmp_path / "b")))
    assert first != weights_digest(str(write_model(tmp_path / "c", seed=1)))
    sizes = tmp_path / "b" / "config.json"
    sizes.write_text(json.dumps(json.loads(sizes.read_text()) | {"rope_theta": 5.0}))
    weights_digest.cache_clear()
    assert first != weights_digest(str(tmp_path / "b"))


@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer.json", "generation_config.json"])
def test_what_makes_prompts_and_ends_answers_changes_the_digest(tmp_path: Path, name: str) -> None:
    first = weights_digest(str(write_model(tmp_path / "a")))
    (write_model(tmp_path / "b") / name).write_text("{}")
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


def _blocks(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Packs a matrix into 8 bits in blocks of 128 x 128; returns the packed one, its scales, and what it stands for."""
    rows, columns = weight.shape
    padded = torch.nn.functional.pad(weight, (0, -columns % 128, 0, -rows % 128))
    tiles = padded.reshape(padded.shape[0] // 128, 128, padded.shape[1] // 128, 128)
    scales = tiles.abs().amax((1, 3)).clamp(min=1e-9) / 448
    packed = (tiles / scales[:, None, :, None]).to(torch.float8_e4m3fn)
    meant = (packed.float() * scales[:, None, :, None]).reshape(padded.shape)[:rows, :columns]
    return packed.reshape(padded.shape)[:rows, :columns].contiguous(), scales, meant.contiguous()


def _four_bits(weight: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns random packed experts of the shape (experts, inputs, outputs) of `weight`, and what they stand for."""
    experts, inputs, outputs = weight.shape
    blocks = torch.randint(0, 256, (experts, outputs, inputs // 32, 16), generator=generator, dtype=torch.uint8)
    scales = torch.randint(122, 126, (experts, outputs, inputs // 32), generator=generator, dtype=torch.uint8)
    values = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
    signed = torch.cat([values, -values])
    pairs = torch.stack([signed[(blocks & 15).long()], signed[(blocks >> 4).long()]], -1).flatten(-2)
    meant = (pairs * 2.0 ** (scales.float()[..., None] - 127)).reshape(experts, outputs, inputs)
    return blocks, scales, meant.transpose(1, 2).contiguous()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen3", "gpt-oss"])
def test_weights_in_eight_and_four_bits_are_unpacked(tmp_path: Path, name: str) -> None:
    """As in Qwen3-8B-FP8 and gpt-oss. The trainer learns on what the packed numbers stand for."""
    packed, plain = (write_family(name, tmp_path / kind, larger=LARGE) for kind in ("packed", "plain"))
    weights = load_file(plain / "model.safetensors")
    small, generator = dict(weights), torch.Generator().manual_seed(0)
    for key, weight in list(weights.items()):
        if name == "qwen3" and key.endswith("_proj.weight"):
            small[key], small[f"{key}_scale_inv"], weights[key] = _blocks(weight)
        elif name == "gpt-oss" and key.endswith("_proj") and weight.dim() == 3:
            del small[key]
            small[f"{key}_blocks"], small[f"{key}_scales"], weights[key] = _four_bits(weight, generator)
    kinds = {"qwen3": {"quant_method": "fp8", "weight_block_size": [128, 128]}, "gpt-oss": {"quant_method": "mxfp4"}}
    for folder, tensors in ((packed, small), (plain, weights)):
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((packed / "config.json").read_text())
    (packed / "config.json").write_text(json.dumps(config | {"quantization_config": kinds[name]}))
    found, wanted = (load_base(str(folder), dtype="float32", threads=1) for folder in (packed, plain))
    for base in (found, wanted):
        base.wire(LoraShape(4, 8.0, "all-linear"))
    assert found.shapes == wanted.shapes
    with torch.no_grad(), found.attached(None), wanted.attached(None):
        torch.testing.assert_close(*(base.hidden(base.pack([tuple(range(3, 60))])) for base in (found, wanted)))


def test_blocks_that_transformers_unpacks_wrongly_are_refused(tmp_path: Path) -> None:
    """160 rows are blocks of 128 and 32; transformers takes them for two of 80."""
    folder = write_family("qwen3", tmp_path, larger={**LARGE, "intermediate_size": 160})
    config = json.loads((folder / "config.json").read_text())
    kind = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": kind}))
    with pytest.raises(UserError, match=r"blocks that transformers unpacks wrongly: model\.layers\.0\.mlp\.gate_proj"):
        load_base(str(folder), dtype="float32")


@pytest.mark.parametrize("kind", ["gptq", "awq", "compressed-tensors", "of-tomorrow"])
def test_weights_that_no_gradient_passes_are_refused(tmp_path: Path, kind: str) -> None:
    folder = write_family("qwen3", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": kind}}))
    with pytest.raises(UserError, match=f"holds weights quantised by {kind}, which can't be learned on; name the mod"):
        load_base(str(folder), dtype="float32")
