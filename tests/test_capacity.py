"""How many runs share an engine: by memory, by the sampler, by what there is to do."""

from __future__ import annotations

import pytest

from tests.records import run_of
from ttsd.backbone import cpu_computes_bfloat16
from ttsd.config import Config, load_config
from ttsd.machine.capacity import Capacity, capacity
from ttsd.machine.gpus import GIB, Hardware
from ttsd.machine.memory import memory_of
from ttsd.machine.shape import Shape
from ttsd.running.batch import room_for

QWEN_8B = {
    "hidden_size": 4096, "num_attention_heads": 32, "head_dim": 128, "num_key_value_heads": 8,
    "intermediate_size": 12288, "num_hidden_layers": 36, "vocab_size": 151936,
}  # fmt: skip
SMALL = {
    "hidden_size": 128, "num_attention_heads": 4, "head_dim": 32, "num_key_value_heads": 2,
    "intermediate_size": 384, "num_hidden_layers": 4, "vocab_size": 640,
}  # fmt: skip
LAPTOP = Hardware(free=12 * GIB)
LARGE = [
    "model.path=Qwen/Qwen3-8B",
    "model.sampler=vllm",
    "model.max_model_len=18944",
    "distillation.checkpoint_over=0",
]
SHORT = ["sampling.max_tokens=1024", "reprompt.max_reprompt_len=4096"]


def micro(*overrides: str) -> Config:
    return load_config("micro", ["model.sampler=vllm", "model.kv_cache_gib=3", *overrides])


def test_never_more_than_there_are() -> None:
    assert capacity(micro(), SMALL, 3, LAPTOP) == Capacity(3, "all of them")
    assert str(Capacity(3, "all of them")) == "3 runs at once (all of them)"


@pytest.mark.parametrize(
    ("sampler", "method", "runs"),
    [("vllm", "sdpo", 256 // 8), ("transformers", "multi-turn+sdpo", 64 // 8), ("transformers", "multi-turn", 64)],
)
def test_a_sampler_decodes_so_many_completions_at_once(sampler: str, method: str, runs: int) -> None:
    """A learning run samples a group of 8 at most, a conversation without learning one attempt at a time."""
    config = micro(f"model.sampler={sampler}", f"method={method}")
    limit = f"limit: the sampler decodes {256 if sampler == 'vllm' else 64} completions at once"
    assert capacity(config, SMALL, 999, Hardware(free=1e15)) == Capacity(runs, limit)


@pytest.mark.parametrize(("gib", "fewest", "most"), [(24, 1, 1), (80, 1, 2), (141, 5, 10)])
def test_a_large_model_is_bound_by_the_gpu(gib: float, fewest: int, most: int) -> None:
    found = capacity(load_config(None, LARGE), QWEN_8B, 100, Hardware(gib * GIB))
    assert fewest <= found.runs <= most
    assert "memory" in found.limit


def test_shorter_completions_make_room() -> None:
    assert capacity(load_config(None, [*LARGE, *SHORT]), QWEN_8B, 100, Hardware(80 * GIB)).runs > 4


def test_a_method_that_learns_nothing_needs_no_room_in_the_trainer() -> None:
    """On a GPU that has hardly any for it."""
    narrow = [*LARGE, *SHORT, "model.kv_cache_gib=24"]
    learning, frozen = (
        capacity(load_config(None, [*narrow, f"method={method}"]), QWEN_8B, 100, Hardware(80 * GIB))
        for method in ("sdpo", "best-of-k")
    )
    assert learning.limit == "limit: the trainer's memory for adapters and optimizers"
    assert frozen.runs > learning.runs


def test_runs_divide_what_sampler_and_trainer_leave_of_one_gpu() -> None:
    """What a run takes of the cache and of the trainer comes from the same memory."""
    short = load_config(None, [*LARGE, *SHORT])
    found = capacity(short, QWEN_8B, 100, Hardware(80 * GIB))
    assert found.limit == "limit: the memory for keys, values, adapters and optimizers"
    shape = Shape.read(QWEN_8B)
    assert memory_of(short, shape, Hardware(80 * GIB), questions=found.runs).fits
    two = load_config(None, [*LARGE, *SHORT, "model.device=cuda:0+cuda:1"])
    assert capacity(two, QWEN_8B, 100, Hardware(80 * GIB, trainer_gpu=80 * GIB)).runs > found.runs


def test_a_batch_has_room_for_the_method_that_needs_most() -> None:
    config = micro("model.sampler=transformers")
    many, few = (run_of(method=name, config=config) for name in ("multi-turn", "sdpo"))
    rooms = [room_for(runs, 999, None, config).runs for runs in ([many], [few], [few, many])]
    assert rooms[0] > rooms[1] == rooms[2]


def test_one_runs_even_where_there_seems_to_be_no_memory() -> None:
    assert capacity(micro(), QWEN_8B, 5, Hardware(free=GIB)).runs == 1


def test_one_runs_where_the_memory_is_not_known() -> None:
    assert capacity(micro(), {"model_type": "mamba", "vocab_size": 5}, 5, LAPTOP).runs == 1


def test_a_cpu_counts_the_width_that_it_computes_in() -> None:
    """float32 has twice the bytes of bfloat16, so half the runs; `auto` is one of them, named device or not."""
    own = SMALL | {"num_key_value_heads": 4, "num_hidden_layers": 32}
    runs = {
        (dtype, device): capacity(
            micro(*SHORT, f"model.dtype={dtype}", f"model.device={device}"), own, 999, Hardware(free=64 * GIB)
        )
        for dtype in ("auto", "float32", "bfloat16")
        for device in ("auto", "cpu")
    }
    assert all("keys, values" in found.limit for found in runs.values())
    found = "bfloat16" if cpu_computes_bfloat16() else "float32"
    assert len({runs["auto", device] for device in ("auto", "cpu")} | {runs[found, "cpu"]}) == 1
    assert runs["bfloat16", "cpu"].runs == pytest.approx(2 * runs["float32", "auto"].runs, abs=1)
