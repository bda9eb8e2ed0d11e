"""The memory that is planned, against real models: what it counts is there, and activations take what it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch  # noqa: TID253
from torch import Tensor  # noqa: TID253

from ttsd.backbone import cpu_computes_bfloat16, model_sizes, own_length
from ttsd.backbone.packing import pack
from ttsd.config import Config, load_config
from ttsd.errors import UserError
from ttsd.machine.gpus import GIB, Hardware, hardware_for, machine_named
from ttsd.machine.memory import (
    GPU_SHARE,
    KV_CACHE,
    Memory,
    adapters_bytes,
    longest_lengths,
    memory_of,
    number_bytes,
    state_bytes,
    vllm_cache,
)
from ttsd.machine.shape import KNOWN, Shape

QWEN3_8B = {
    "hidden_size": 4096, "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "intermediate_size": 12288, "vocab_size": 151936, "tie_word_embeddings": False,
}  # fmt: skip
QWEN3_30B = QWEN3_8B | {
    "hidden_size": 2048, "num_hidden_layers": 48, "num_key_value_heads": 4, "intermediate_size": 6144,
    "moe_intermediate_size": 768, "num_experts": 128, "num_experts_per_tok": 8,
}  # fmt: skip
SMALL = QWEN3_8B | {
    "hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
    "intermediate_size": 256, "vocab_size": 128,
}  # fmt: skip


def settings(**sections: dict[str, Any]) -> Config:
    """The paper's run of Qwen3-8B with checkpointed gradients, and some settings changed."""
    values = Config().model_dump()
    values["model"] |= {"sampler": "vllm"}
    for name, changes in {"distillation": {"checkpoint_over": 0}, **sections}.items():
        values[name] |= changes
    return Config.model_validate(values)


def test_the_known_sizes_of_qwen3_8b() -> None:
    shape = Shape.read(QWEN3_8B)
    assert shape.linear + shape.embedding == pytest.approx(8.19e9, rel=1e-3)
    assert shape.adapter(32) == pytest.approx(87.3e6, rel=1e-3)


@pytest.mark.parametrize("checkpointed", [False, True])
def test_counts_and_kept_activations_are_those_of_a_real_model(checkpointed: bool) -> None:
    from transformers import AttentionInterface, Qwen3Config, Qwen3ForCausalLM

    from ttsd.backbone import Base
    from ttsd.backbone.attention import forest_attention
    from ttsd.backbone.lora import Adapter, LoraShape

    AttentionInterface.register("ttsd_forest", forest_attention)
    shape, tokens = Shape.read(SMALL), 2000

    def kept(layers: int) -> int:
        """Bytes that autograd keeps besides weights."""
        model = Qwen3ForCausalLM(Qwen3Config(**SMALL | {"num_hidden_layers": layers})).bfloat16().requires_grad_(False)
        model.set_attn_implementation("ttsd_forest")
        if checkpointed:
            model.train().gradient_checkpointing_enable({"use_reentrant": False})
        base = Base(model, "small")
        base.wire(LoraShape(8, 16.0, "all-linear"))
        assert base.adapter_size == layers // 2 * shape.adapter(8)
        adapter, saved = Adapter(base.shapes, base.fresh_values(0), trainable=True), {}
        own = {tensor.untyped_storage().data_ptr() for tensor in (adapter.values, *model.parameters())}

        def pack_hook(tensor: Tensor) -> Tensor:
            saved[tensor.untyped_storage().data_ptr()] = (tensor.untyped_storage().nbytes(), tensor)
            return tensor

        with base.attached(adapter), torch.autograd.graph.saved_tensors_hooks(pack_hook, lambda tensor: tensor):
            base.hidden(pack([tuple(token % 100 for token in range(tokens))]))
        return sum(size for where, (size, _) in saved.items() if where not in own)

    per_layer = (kept(4) - kept(2)) / 2 / tokens
    assert per_layer == pytest.approx(2 * shape.hidden if checkpointed else shape.layer_bytes(8), rel=0.05)


H100, RTX4090 = (machine_named(name).used_by(Config().model) for name in ("h100-80", "rtx4090-24"))


def memory(config: Config, hardware: Hardware = H100, questions: int = 1) -> Memory:
    return memory_of(config, Shape.read(QWEN3_8B), hardware, questions=questions)


def part(found: Memory, where: str, what: str) -> float:
    (amount,) = (one.bytes for one in found.parts if (one.where, one.what) == (where, what))
    return amount


def test_an_80_gb_gpu_holds_both_copies_of_an_8b_model_and_a_24_gb_gpu_does_not() -> None:
    assert memory(settings()).fits
    assert not memory(settings(distillation={"checkpoint_over": None})).fits
    quantized = settings(model={"quantization": "nf4"})
    small, whole = (memory(config, RTX4090) for config in (quantized, settings()))
    assert not small.fits
    assert small.needs["trainer"] < whole.needs["trainer"] - 9 * GIB


def test_kept_activations_cost_memory() -> None:
    kept = [
        part(
            memory(settings(distillation={"token_budget": 1024, "checkpoint_over": over})),
            "trainer",
            "student activations",
        )
        for over in (0, 512, None)
    ]
    assert kept == sorted(kept)
    assert kept[0] < kept[2]


def test_more_questions_never_need_less() -> None:
    one, two = memory(settings()), memory(settings(), questions=2)
    assert all(small.bytes <= large.bytes for small, large in zip(one.parts, two.parts, strict=True))
    added = two.needs["trainer"] - one.needs["trainer"]
    assert added == pytest.approx(5 * 4 * Shape.read(QWEN3_8B).adapter(32))  # weights, gradient, two moments, teacher


def test_a_learners_state_is_all_but_the_gradient() -> None:
    numbers = Shape.read(QWEN3_8B).adapter(32)
    assert state_bytes(settings(), Shape.read(QWEN3_8B)) == 4 * 4 * numbers
    assert state_bytes(settings(teacher={"teacher_regularization": "live"}), Shape.read(QWEN3_8B)) == 3 * 4 * numbers


@pytest.mark.parametrize("sampler", ["vllm", "transformers"])
def test_a_method_that_learns_nothing_has_no_trainer(sampler: str) -> None:
    """Only the weights remain, where the sampler has none of its own."""
    config = settings(model={"sampler": sampler})
    learning, frozen = (memory(config.model_copy(update={"method": name})) for name in ("sdpo", "best-of-k"))
    assert frozen.needs["sampler"] == learning.needs["sampler"]
    left = {one.what for one in frozen.parts if one.where == "trainer"}
    assert left == (set() if sampler == "vllm" else {"base weights", "process"})
    assert ("trainer" in frozen.in_words(H100)) == (sampler == "transformers")


@pytest.mark.parametrize(
    ("dtype", "on_gpu", "on_cpu"),
    [("auto", 2, 2 if cpu_computes_bfloat16() else 4), ("float32", 4, 4), ("bfloat16", 2, 2)],
)
@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_numbers_are_as_wide_as_the_device_computes_in(dtype: str, on_gpu: int, on_cpu: int, device: str) -> None:
    """`device = "auto"` without a GPU is planned as the CPU that it becomes."""
    config, shape = settings(model={"dtype": dtype, "device": device}), Shape.read(SMALL)
    assert (number_bytes(config, on_cpu=False), number_bytes(config, on_cpu=True)) == (on_gpu, on_cpu)
    laptop, gpu = (memory_of(config, shape, one, questions=1) for one in (Hardware(free=80 * GIB), H100))
    weights = [part(found, "trainer", "base weights") for found in (laptop, gpu)]
    assert weights[0] / weights[1] == on_cpu / on_gpu


def test_vllm_gets_the_cache_that_the_trainer_leaves_and_no_more_than_groups_use() -> None:
    config, gpu = settings(), Hardware(66 * GIB)
    found, (cache, share) = memory(config, gpu), vllm_cache(config, QWEN3_8B, gpu, 1)
    rest = found.needs["sampler"] - part(found, "sampler", KV_CACHE)
    assert cache == pytest.approx(found.limits["sampler"] - rest)
    assert share == pytest.approx((rest + cache) / gpu.gpu)
    whole = Shape.read(QWEN3_8B).kv_bytes(longest_lengths(config).student, 2)
    assert vllm_cache(config, QWEN3_8B, Hardware(1000 * GIB), 1)[0] == pytest.approx(whole)
    assert vllm_cache(config, QWEN3_8B, gpu, 8)[0] < cache
    given = settings(model={"kv_cache_gib": 4})
    for hardware in (Hardware(free=16 * GIB), H100):
        assert vllm_cache(given, QWEN3_8B, hardware, 1)[0] == 4 * GIB
    assert part(memory(given), "sampler", KV_CACHE) == 4 * GIB


def test_vllm_gets_room_for_a_sequence_of_full_length_where_groups_are_shorter() -> None:
    config = settings(model={"max_model_len": 40_960}, sampling={"group_size": 2})
    whole = Shape.read(QWEN3_8B).kv_bytes(40_960, 2)
    assert vllm_cache(config, QWEN3_8B, Hardware(1000 * GIB), 1)[0] > whole


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (1.0, r"model\.kv_cache_gib=1 is too small: one sequence of 18944 tokens takes 2\.6; raise it, or lower model"),
        (None, r"0\.0 GiB of a GPU of 40\.0 GiB are left .*; lower model\.max_model_len"),
    ],
)
def test_a_cache_too_small_for_one_sequence_is_refused_with_a_remedy(given: float | None, said: str) -> None:
    config = settings(model={"kv_cache_gib": given, "max_model_len": 18_944})
    with pytest.raises(UserError, match=said):
        vllm_cache(config, QWEN3_8B, Hardware((80 if given else 40) * GIB), 1)


def test_a_sampler_on_several_gpus_takes_its_part_of_each() -> None:
    alone, two = (memory(settings(model={"tensor_parallel_size": gpus})).parts for gpus in (1, 2))
    halved = {"base weights", "adapter slots", KV_CACHE}
    for one, other in zip(alone, two, strict=True):
        factor = 2 if one.where == "sampler" and one.what in halved else 1
        assert other.bytes == pytest.approx(one.bytes / factor)


def test_a_config_without_sizes_is_refused() -> None:
    with pytest.raises(UserError, match="num_attention_heads"):
        Shape.read({"hidden_size": 8})


@pytest.mark.parametrize("kind", ["bloom", "ernie4_5_moe", "gemma3n_text", "nemotron_h"])
def test_sizes_that_a_family_calls_otherwise_are_found(kind: str, tmp_path: Path) -> None:
    """Bloom has n_head, Gemma 3n a list of widths, and Nemotron-H no number of layers in its config.json."""
    from transformers import AutoConfig

    config = AutoConfig.for_model(kind, **({"intermediate_size": 256} if kind == "bloom" else {}))
    config.save_pretrained(tmp_path)
    shape = Shape.read(model_sizes(str(tmp_path)))
    assert shape.layers == config.num_hidden_layers
    assert (shape.experts > 0) == (kind in {"ernie4_5_moe", "nemotron_h"})
    assert shape.base_bytes(2, 2) > 0


@pytest.mark.parametrize(("kind", "name"), [("gpt2", "n_positions"), ("mpt", "max_seq_len")])
def test_a_length_that_a_family_calls_otherwise_is_the_models_own(kind: str, name: str, tmp_path: Path) -> None:
    from transformers import AutoConfig

    AutoConfig.for_model(kind, **{name: 1000}).save_pretrained(tmp_path)
    assert own_length(model_sizes(str(tmp_path))) == 1000


def test_a_model_of_unknown_memory_is_no_reason_not_to_start() -> None:
    gpu, unknown = Hardware(80 * GIB), {"model_type": "mamba", "vocab_size": 5}
    assert adapters_bytes(settings(), unknown, 1) == 0
    assert vllm_cache(settings(model={"kv_cache_gib": 2.0}), unknown, gpu, 1)[0] == 2 * GIB
    with pytest.raises(UserError, match=r"set model\.kv_cache_gib"):
        vllm_cache(settings(), unknown, gpu, 1)


@pytest.mark.parametrize(("name", "billions"), [("Qwen3-8B", 8.19), ("Qwen3-4B", 4.02), ("Qwen3-0.6B", 0.596)])
def test_known_models_have_as_many_numbers_as_their_names_say(name: str, billions: float) -> None:
    shape = Shape.read(KNOWN[f"Qwen/{name}"])
    assert shape.linear + shape.embedding == pytest.approx(billions * 1e9, rel=2e-3)


def test_attempts_that_read_feedback_have_a_long_prompt_each() -> None:
    """They share none of it, and it is no longer than the model has room for."""
    config = settings(model={"max_model_len": 12_000})
    alone, reading = (
        longest_lengths(config.model_copy(update={"method": f"{row}sdpo"})) for row in ("", "multi-turn+")
    )
    assert (alone.prompt, alone.teacher_prompt) == (2048, 12_000 - 8192)
    assert (reading.prompt, reading.teacher_prompt) == (12_000 - 8192,) * 2
    assert (alone.student, reading.student) == (2048 + 16 * 8192, 16 * 12_000)


def test_the_transformers_sampler_shares_the_weights_and_decodes_with_little_more() -> None:
    small = settings(
        model={"sampler": "transformers", "quantization": "nf4"},
        sampling={"group_size": 4, "max_tokens": 4096},
        reprompt={"max_reprompt_len": 4096},
        distillation={"checkpoint_over": 0, "token_budget": 6144},
    )
    found = memory(small, RTX4090)
    assert found.fits
    sampler = [one.what for one in found.parts if one.where == "sampler"]
    assert sampler == [KV_CACHE, "attention", "prompts for the next group", "weights to decode with"]
    assert found.needs["sampler"] < 1.3 * found.least_cache
    assert found.limits["sampler"] == GPU_SHARE * RTX4090.gpu - found.needs["trainer"]


def test_what_is_too_much_is_said_with_a_remedy() -> None:
    small = Hardware(40 * GIB)
    words = memory(settings(), small).in_words(small)
    assert "of a GPU of 40.0 GiB; this DOES NOT FIT, the trainer may have" in words
    assert words.endswith("or choose a smaller model")
    assert "DOES NOT FIT" not in memory(settings()).in_words(H100)
    two = Hardware(80 * GIB, trainer_gpu=40 * GIB)
    assert str(two) == "a GPU of 40.0 GiB for the trainer and of 80.0 for the sampler"


def test_experts_count_as_weights_and_get_no_adapter() -> None:
    """Qwen3-30B-A3B has 30.5 billion numbers, and 3.3 billion are used by a token."""
    shape = Shape.read(QWEN3_30B)
    assert shape.linear + shape.embedding == pytest.approx(30.5e9, rel=0.01)
    assert shape.feed_forward == 8 * 768
    dense = Shape.read({**QWEN3_30B, "num_experts": 0})
    assert shape.adapter(8) < dense.adapter(8)
    assert shape.base_bytes(2, 0.516) > 2 * shape.layers * shape.experts


def test_the_language_model_is_found_within_one_that_sees_pictures(tmp_path: Path) -> None:
    whole = {"model_type": "gemma3", "text_config": QWEN3_8B, "vision_config": {"hidden_size": 1152}}
    (tmp_path / "config.json").write_text(json.dumps(whole))
    assert Shape.read(model_sizes(str(tmp_path))) == Shape.read(QWEN3_8B)


def test_this_machine_has_memory() -> None:
    found = hardware_for(load_config("micro").model)
    assert found.is_cpu
    assert 0 < found.free < 1e15
    assert "of free memory" in str(found)
