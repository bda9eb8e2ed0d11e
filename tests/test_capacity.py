"""How many runs share an engine: by memory, by vLLM, by what there is to do."""

from __future__ import annotations

import pytest

from ttsd.config import Config, Model, load_config
from ttsd.machine.capacity import Capacity, capacity
from ttsd.machine.memory import Found, found_memory

GIB = float(1 << 30)
QWEN_8B = {
    "hidden_size": 4096, "num_attention_heads": 32, "head_dim": 128, "num_key_value_heads": 8,
    "intermediate_size": 12288, "num_hidden_layers": 36, "vocab_size": 151936,
}  # fmt: skip
SMALL = {
    "hidden_size": 128, "num_attention_heads": 4, "head_dim": 32, "num_key_value_heads": 2,
    "intermediate_size": 384, "num_hidden_layers": 4, "vocab_size": 640,
}  # fmt: skip
LAPTOP = Found(card=0, free=12 * GIB)


def test_never_more_than_there_are() -> None:
    assert capacity(load_config(), SMALL, 16, 3, LAPTOP) == Capacity(3, "there are no more")


def test_vllm_decodes_so_many_at_once() -> None:
    group = load_config().sampling.group_size
    assert capacity(load_config(), SMALL, group, 999, LAPTOP).runs == 256 // group
    assert capacity(load_config(), SMALL, 1, 999, LAPTOP).runs > 16


@pytest.mark.parametrize(("card", "fewest", "most"), [(24, 1, 1), (80, 1, 2), (141, 3, 6)])
def test_a_large_model_is_bound_by_the_card(card: float, fewest: int, most: int) -> None:
    found = capacity(load_config("qwen3-8b-80gb"), QWEN_8B, 16, 100, Found(card * GIB, 100 * GIB))
    assert fewest <= found.runs <= most
    assert "memory" in found.limit


def test_shorter_completions_make_room() -> None:
    card = Found(80 * GIB, 100 * GIB)
    config = load_config("qwen3-8b-80gb", ["sampling.max_tokens=1024", "reprompt.max_reprompt_len=4096"])
    assert capacity(config, QWEN_8B, 16, 100, card).runs > 4


def test_one_runs_even_where_there_seems_to_be_no_memory() -> None:
    assert capacity(Config(), QWEN_8B, 16, 5, Found(0, GIB)).runs == 1


def test_this_machine_has_memory() -> None:
    found = found_memory(Model(device="cpu"))
    assert found.card == 0
    assert found.free > 0


def test_a_cpu_counts_the_width_that_it_computes_in() -> None:
    """`auto` on a CPU, with and without saying so: twice the bytes of bfloat16, so half the runs."""
    small = ["sampling.max_tokens=1024", "reprompt.max_reprompt_len=4096", "model.dtype=auto", "model.kv_cache_gib=3"]
    desk = Found(card=0, free=64 * GIB)
    own = SMALL | {"num_key_value_heads": 4, "num_hidden_layers": 32}
    runs = {
        (dtype, device): capacity(
            load_config("micro", [*small, f"model.dtype={dtype}", f"model.device={device}"]), own, 8, 999, desk
        )
        for dtype in ("auto", "float32", "bfloat16")
        for device in ("auto", "cpu")
    }
    assert all("keys, values" in found.limit for found in runs.values())
    assert len({runs["auto", device] for device in ("auto", "cpu")} | {runs["float32", "cpu"]}) == 1
    assert runs["bfloat16", "cpu"].runs == pytest.approx(2 * runs["auto", "auto"].runs, abs=1)
