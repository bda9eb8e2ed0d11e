"""The plan's arithmetic against real models: what it counts is there, and activations take what it says."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch  # noqa: TID253
from torch import Tensor  # noqa: TID253
from ttsd.machine.measured import Learning, Measured, Rate, read, write
from ttsd.machine.step_plan import plan

from ttsd.backbone.packing import pack
from ttsd.config import Config, load_config
from ttsd.errors import UserError
from ttsd.machine.gpus import CARDS, GIB, Card
from ttsd.machine.lengths import SPREADS, Lengths, longest_lengths, usual_lengths
from ttsd.machine.memory import Found, Memory, memory_of, number_bytes, vllm_cache_bytes
from ttsd.machine.shape import KNOWN, Shape

QWEN3_8B = {
    "hidden_size": 4096, "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "intermediate_size": 12288, "vocab_size": 151936, "tie_word_embeddings": False,
}  # fmt: skip
SMALL = QWEN3_8B | {
    "hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
    "intermediate_size": 256, "vocab_size": 128,
}  # fmt: skip


def settings(**sections: dict[str, Any]) -> Config:
    """The paper's run with checkpointed gradients, and some settings changed."""
    values = load_config("paper").model_dump()
    for name, changes in {"distillation": {"gradient_checkpointing": True}, **sections}.items():
        values[name] |= changes
    return Config.model_validate(values)


def test_the_known_sizes_of_qwen3_8b() -> None:
    shape = Shape.read(QWEN3_8B)
    assert shape.linear + shape.embedding == pytest.approx(8.19e9, rel=1e-3)
    assert shape.adapter(32) == pytest.approx(87.3e6, rel=1e-3)


@pytest.mark.parametrize("checkpointed", [False, True])
def test_counts_and_kept_activations_are_those_of_a_real_model(checkpointed: bool) -> None:
    from transformers import AttentionInterface, Qwen3Config, Qwen3ForCausalLM

    from ttsd.backbone import Base, forest_attention
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


def memory(config: Config, card: Card, questions: int = 1) -> Memory:
    return memory_of(config, Shape.read(QWEN3_8B), card, questions=questions)


def test_an_80_gb_card_holds_both_copies_of_an_8b_model_and_a_24_gb_card_does_not() -> None:
    assert memory(settings(), CARDS["h100-80"]).fits
    assert not memory(settings(distillation={"gradient_checkpointing": False}), CARDS["h100-80"]).fits
    quantised = settings(model={"quantize_base": "nf4", "gpu_memory_utilization": 0.7})
    small, whole = (memory(config, CARDS["rtx4090-24"]) for config in (quantised, settings()))
    assert not small.fits
    assert small.needs["trainer"] < whole.needs["trainer"] - 9 * GIB


def test_keeping_activations_costs_memory_and_saves_time() -> None:
    budget = {"gradient_checkpointing": True, "token_budget": 1024}
    made = [
        plan(
            settings(distillation={**budget, "checkpoint_over": over}),
            QWEN3_8B,
            CARDS["h100-80"],
            completion_tokens=200,
        )
        for over in (0, 512, 1 << 20)
    ]
    kept = [next(part.bytes for part in one.memory.parts if part.what == "student activations") for one in made]
    spent = [next(part.seconds.low for part in one.time if part.what == "student") for one in made]
    assert kept == sorted(kept)
    assert kept[0] < kept[2]
    assert spent[0] > spent[1] > spent[2]


def test_more_of_anything_never_costs_less() -> None:
    least = plan(settings(), QWEN3_8B, CARDS["h100-80"], completion_tokens=512)
    most = plan(settings(), QWEN3_8B, CARDS["h100-80"], questions=2)
    assert all(small.bytes <= large.bytes for small, large in zip(least.memory.parts, most.memory.parts, strict=True))
    assert all(small.seconds.low <= large.seconds.low for small, large in zip(least.time, most.time, strict=True))
    assert least.wall_seconds.high < most.wall_seconds.high


def test_a_slow_card_takes_longer() -> None:
    fast, slow = (plan(settings(), QWEN3_8B, card).wall_seconds for card in (CARDS["h100-80"], Card(80, 99, 335)))
    assert fast.low < slow.low
    assert fast.high < slow.high


def test_a_step_of_the_papers_run_takes_what_a_desk_check_found() -> None:
    """16 to 23 seconds, kernels and lengths being as usual: within the range, whose ends are far apart."""
    made = plan(settings(), QWEN3_8B, CARDS["h100-80"], completion_tokens=800)
    assert made.wall_seconds.low < 16
    assert 23 < made.wall_seconds.high < 40
    assert [part.what for part in made.time] == [
        "sample",
        "judge",
        "teacher",
        "student",
        "export",
        "swap",
        "copy state",
        "save",
    ]


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("group", [1, 4, 16])
def test_the_longest_of_a_group_is_that_of_drawn_lengths(spread: float, group: int) -> None:
    lengths = Lengths(group, prompt=100, reprompt=100, completion=800, limit=10**6)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.empty(4000, group).log_normal_(math.log(800) - spread**2 / 2, spread, generator=generator)
    expected = drawn.max(dim=1).values.median().item() if group > 1 else 800
    assert lengths.longest(spread) == pytest.approx(expected, rel=0.05)
    assert Lengths(group, 100, 100, 800, limit=900).longest(spread) <= 900


@pytest.mark.parametrize(("dtype", "on_card", "on_cpu"), [("auto", 2, 4), ("float32", 4, 4), ("bfloat16", 2, 2)])
@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_a_plan_counts_the_width_that_the_device_computes_in(
    dtype: str, on_card: int, on_cpu: int, device: str
) -> None:
    """`device = "auto"` without a card is planned as the CPU that it becomes. The bundled model: float32 on a CPU."""
    config = settings(model={"dtype": dtype, "device": device})
    assert (number_bytes(config, on_cpu=False), number_bytes(config, on_cpu=True)) == (on_card, on_cpu)
    laptop, card = (plan(config, SMALL, Card(80, 1, 1, is_cpu=is_cpu)).memory.parts for is_cpu in (True, False))
    assert laptop[0].bytes / card[0].bytes == on_cpu / on_card


def test_vllm_gets_a_cache_of_what_its_share_leaves() -> None:
    card, config = Found(CARDS["h100-80"].gib * GIB, 200 * GIB), settings()
    cache = vllm_cache_bytes(config, QWEN3_8B, card, 1)
    needs = {part.what: part.bytes for part in memory(config, CARDS["h100-80"]).parts if part.where == "sampler"}
    others = sum(needs.values()) - needs["KV cache, at least"]
    assert cache + others == pytest.approx(0.45 * card.card)
    assert vllm_cache_bytes(config, QWEN3_8B, card, 8) < cache
    assert vllm_cache_bytes(settings(model={"kv_cache_gib": 2}), QWEN3_8B, Found(0, 16 * GIB), 1) == 2 * GIB


def test_a_cache_too_small_for_one_text_is_refused_with_a_remedy() -> None:
    config = settings(model={"gpu_memory_utilization": 0.25, "max_model_len": 18_944})
    with pytest.raises(UserError, match=r"gpu_memory_utilization=0\.25 .* one text of 18944 tokens .*; raise it"):
        vllm_cache_bytes(config, QWEN3_8B, Found(80 * GIB, 200 * GIB), 1)


def test_a_sampler_on_several_cards_takes_its_part_of_each() -> None:
    alone, two = (memory(settings(model={"tensor_parallel_size": cards}), CARDS["h100-80"]).parts for cards in (1, 2))
    halved = {"base weights", "adapter slots", "KV cache, at least"}
    for one, other in zip(alone, two, strict=True):
        factor = 2 if one.where == "sampler" and one.what in halved else 1
        assert other.bytes == pytest.approx(one.bytes / factor)


def test_measurements_take_the_place_of_assumptions(tmp_path: Path) -> None:
    found = Measured(
        model="m", device="card", is_cpu=False, card_gib=79.1, load_seconds=30.0, kv_cache_tokens=100_000,
        rates=[Rate(1, 50.0, True), Rate(16, 400.0, True), Rate(16, 900.0, False)],
        learning=[Learning(10_000, 2.0), Learning(20_000, 3.0)],
        export_seconds=0.25, swap_seconds=0.5, save_seconds=1.5, peak_gib={"trainer": 20.0},
        planned_gib={"trainer": 21.0},
    )  # fmt: skip
    write(found, tmp_path / "found.json")
    assert read(tmp_path / "found.json") == found
    made = plan(settings(), QWEN3_8B, CARDS["h100-80"], completion_tokens=800, measured=found)
    seconds = {part.what: (part.seconds.low, part.seconds.high) for part in made.time}
    longest = [Lengths(16, 0, 0, 800, 8192).longest(spread) for spread in SPREADS]
    assert seconds["sample"] == pytest.approx(tuple(0.04 * tokens for tokens in longest))
    assert (seconds["export"], seconds["swap"], seconds["save"]) == ((0.25, 0.25), (0.5, 0.5), (1.5, 1.5))
    assert found.token_seconds(1) == pytest.approx(0.02)
    assert found.learning_seconds(15_000) == pytest.approx(2.5)
    assert found.learning_seconds(30_000) == pytest.approx(4.0)
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(UserError, match=r"broken.json' is not a file of measurements .* --measure"):
        read(tmp_path / "broken.json")


def test_a_config_without_sizes_is_refused() -> None:
    with pytest.raises(UserError, match="num_attention_heads"):
        Shape.read({"hidden_size": 8})


@pytest.mark.parametrize(("name", "billions"), [("Qwen3-8B", 8.19), ("Qwen3-4B", 4.02), ("Qwen3-0.6B", 0.596)])
def test_known_models_have_as_many_numbers_as_their_names_say(name: str, billions: float) -> None:
    shape = Shape.read(KNOWN[f"Qwen/{name}"])
    assert shape.linear + shape.embedding == pytest.approx(billions * 1e9, rel=2e-3)


def test_decoding_16_completions_is_bound_by_reading_the_weights() -> None:
    card = CARDS["h100-80"]
    one = plan(settings(), QWEN3_8B, card, completion_tokens=800)
    weights = 2 * (Shape.read(QWEN3_8B).linear + 151936 * 4096) / (0.75 * card.gb_per_second * 1e9)
    assert one.at_once == 16
    assert weights < 16 / one.tokens_per_second.high < 1.3 * weights


def test_attempts_that_read_feedback_cost_a_reprompt_each() -> None:
    """Drawn from and learnt at it, none of them sharing it; no longer than the model has room for."""
    reading = settings(sampling={"teacher_fraction": 1.0}, model={"max_model_len": 12_000})
    longest, usual = longest_lengths(reading), usual_lengths(reading, 800)
    assert (longest.prompt, longest.reprompt) == (12_000 - 8192,) * 2
    assert usual.prompt == usual.reprompt > usual_lengths(settings(), 800).prompt
    assert usual.student == 16 * (usual.prompt + 800)


def test_questions_that_share_a_card_gain_until_it_is_full() -> None:
    one, eight, many = (
        plan(settings(), QWEN3_8B, CARDS["h100-80"], questions=questions, completion_tokens=800)
        for questions in (1, 8, 32)
    )
    assert one.gain(one) == 1
    assert 1.5 < eight.gain(one) < 8
    assert eight.tokens_per_second.low > 3 * one.tokens_per_second.low
    assert eight.learn_seconds.low == pytest.approx(8 * one.learn_seconds.low)
    assert (one.fits, eight.fits, many.fits) == (True, True, False)


def test_the_transformers_sampler_shares_the_weights_and_nothing_else() -> None:
    small = settings(
        model={"sampler": "transformers", "quantize_base": "nf4"},
        sampling={"group_size": 4, "max_tokens": 4096},
        reprompt={"max_reprompt_len": 4096},
        distillation={"gradient_checkpointing": True, "token_budget": 6144},
    )
    one, two = (plan(small, QWEN3_8B, CARDS["rtx4090-24"], questions=count, completion_tokens=800) for count in (1, 2))
    assert one.fits
    assert one.at_once == two.at_once == 4
    assert 1 <= two.gain(one) < 1.1
