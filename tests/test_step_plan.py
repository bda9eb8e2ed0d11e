"""The plan's arithmetic against real models: what it counts is there, and activations take what it says."""

from __future__ import annotations

from typing import Any

import pytest
import torch  # noqa: TID253
from torch import Tensor  # noqa: TID253

from ttsd.backbone.packing import pack
from ttsd.config import Config
from ttsd.errors import UserError
from ttsd.machine.step_plan import CARDS, GIB, KNOWN, Card, Shape, plan, sharing

QWEN3_8B = {
    "hidden_size": 4096, "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "intermediate_size": 12288, "vocab_size": 151936, "tie_word_embeddings": False,
}  # fmt: skip
SMALL = QWEN3_8B | {
    "hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32,
    "intermediate_size": 256, "vocab_size": 128,
}  # fmt: skip


def settings(**sections: dict[str, Any]) -> Config:
    return Config.model_validate({"distillation": {"gradient_checkpointing": True}, **sections})


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

        with base.lending(adapter), torch.autograd.graph.saved_tensors_hooks(pack_hook, lambda tensor: tensor):
            base.hidden(pack([tuple(token % 100 for token in range(tokens))]))
        return sum(size for where, (size, _) in saved.items() if where not in own)

    per_layer = (kept(4) - kept(2)) / 2 / tokens
    assert per_layer == pytest.approx(2 * shape.hidden if checkpointed else shape.layer_bytes(8), rel=0.05)


def test_an_80_gb_card_holds_both_copies_of_an_8b_model_and_a_24_gb_card_does_not() -> None:
    assert plan(settings(), QWEN3_8B, CARDS["h100-80"]).fits
    assert not plan(settings(distillation={"gradient_checkpointing": False}), QWEN3_8B, CARDS["h100-80"]).fits
    quantised = settings(model={"quantize_base": "nf4", "gpu_memory_utilization": 0.7})
    small = plan(quantised, QWEN3_8B, CARDS["rtx4090-24"])
    assert not small.fits
    assert small.needs["trainer"] < plan(settings(), QWEN3_8B, CARDS["rtx4090-24"]).needs["trainer"] - 9 * GIB


def test_more_of_anything_never_costs_less() -> None:
    least = plan(settings(), QWEN3_8B, CARDS["h100-80"], completion_tokens=512, reprompt_tokens=512, prompt_tokens=512)
    most = plan(settings(), QWEN3_8B, CARDS["h100-80"], questions=2)
    assert all(small.amount <= large.amount for small, large in zip(least.memory, most.memory, strict=True))
    assert all(small.amount < large.amount for small, large in zip(least.time, most.time, strict=True))


def test_a_slow_card_takes_longer() -> None:
    fast, slow = (plan(settings(), QWEN3_8B, card) for card in (CARDS["h100-80"], Card(80, 99, 335)))
    assert all(a.amount < b.amount for a, b in zip(fast.time, slow.time, strict=True))


def test_a_config_without_sizes_is_refused() -> None:
    with pytest.raises(UserError, match="num_attention_heads"):
        Shape.read({"hidden_size": 8})


@pytest.mark.parametrize(("name", "billions"), [("Qwen3-8B", 8.19), ("Qwen3-4B", 4.02), ("Qwen3-0.6B", 0.596)])
def test_known_models_have_as_many_numbers_as_their_names_say(name: str, billions: float) -> None:
    shape = Shape.read(KNOWN[f"Qwen/{name}"])
    assert shape.linear + shape.embedding == pytest.approx(billions * 1e9, rel=2e-3)


def test_decoding_16_completions_is_bound_by_reading_the_weights() -> None:
    card = CARDS["h100-80"]
    one = sharing(settings(), QWEN3_8B, card, 1, completion_tokens=800)
    weights = 2 * (Shape.read(QWEN3_8B).linear + 151936 * 4096) / (0.6 * card.gb_per_second * 1e9)
    assert one.at_once == 16
    assert weights < 16 / one.tokens_per_second < 1.3 * weights


def test_questions_that_share_a_card_gain_until_it_is_full() -> None:
    one, eight, many = (
        sharing(settings(), QWEN3_8B, CARDS["h100-80"], questions, completion_tokens=800) for questions in (1, 8, 32)
    )
    assert one.gain(one) == 1
    assert 1.5 < eight.gain(one) < 8
    assert eight.tokens_per_second > 3 * one.tokens_per_second
    assert eight.train_seconds == pytest.approx(8 * one.train_seconds)
    assert (one.fits, eight.fits, many.fits) == (True, True, False)


def test_the_transformers_sampler_shares_the_weights_and_nothing_else() -> None:
    small = settings(
        model={"sampler": "transformers", "quantize_base": "nf4"},
        sampling={"group_size": 4, "max_tokens": 4096},
        reprompt={"max_reprompt_len": 4096},
        distillation={"gradient_checkpointing": True, "token_budget": 6144},
    )
    assert plan(small, QWEN3_8B, CARDS["rtx4090-24"]).fits
    one, two = (sharing(small, QWEN3_8B, CARDS["rtx4090-24"], count, completion_tokens=800) for count in (1, 2))
    assert one.at_once == two.at_once == 4
    assert 1 <= two.gain(one) < 1.1
