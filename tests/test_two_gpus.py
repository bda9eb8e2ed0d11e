"""Sampler and trainer on a GPU each: what is refused, what each may take, what vLLM is started with, what overlaps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch  # noqa: TID253

from tests.fakes import QUESTION, judge_by_word
from tests.tiny import write_model
from ttsd.backbone import device_named
from ttsd.config import Config, Model, load_config
from ttsd.errors import UserError
from ttsd.loop import Rules, learn
from ttsd.machine.fit import check_sampler
from ttsd.machine.gpus import GIB, Hardware, hardware_for, machine_named
from ttsd.machine.memory import GPU_SHARE, Memory, memory_of, vllm_cache
from ttsd.machine.shape import KNOWN, Shape
from ttsd.methods import METHODS, MethodOnQuestion
from ttsd.nouns import Step
from ttsd.prompts import PromptWriter
from ttsd.running.engine import LoraPolicy, load_tokenizer, open_engine
from ttsd.running.shared_time import Spending
from ttsd.sampling.kinds import SamplerParts
from ttsd.sampling.vllm_sampler.launch import _check_device
from ttsd.training.trainer import Trainer

QWEN = KNOWN["Qwen/Qwen3-8B"]
H100 = machine_named("h100-80").used_by(Model())
TWO = ["model.device=cuda:0+cuda:1"]


def config(*overrides: str) -> Config:
    own = [
        "model.path=Qwen/Qwen3-8B",
        "model.sampler=vllm",
        "model.max_model_len=18944",
        "distillation.checkpoint_over=0",
    ]
    return load_config(None, [*own, *overrides])


@pytest.mark.parametrize("device", ["gpu1", "cuda:", "cpu+cuda:1", "cuda:0+", "cuda:0+cuda:1+cuda:2"])
def test_devices_that_can_not_be_are_one_sentence(device: str) -> None:
    with pytest.raises(UserError) as error:
        config(f"model.device={device}")
    assert f"{device} is no device; choose auto, cpu, a GPU, as in cuda:1, or two, as in cuda:0+cuda:1" in str(
        error.value
    )
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("device", "parallel", "sampler_on", "trainer_on", "apart", "gpus"),
    [
        ("auto", 1, ["auto"], "auto", False, 1),
        ("cuda", 1, ["cuda"], "cuda", False, 1),
        ("cuda:1", 1, ["cuda:1"], "cuda:1", False, 2),
        ("cuda:0+cuda:1", 1, ["cuda:0"], "cuda:1", True, 2),
        ("cuda:1+cuda:0", 1, ["cuda:1"], "cuda:0", True, 2),
        ("cuda:0+cuda:1", 2, ["cuda:0", "cuda:1"], "cuda:1", False, 2),  # the trainer on one of the sampler's GPUs
        ("cuda:0+cuda:2", 2, ["cuda:0", "cuda:1"], "cuda:2", True, 3),
        ("cuda:1+cuda:0", 2, ["cuda:1", "cuda:2"], "cuda:0", True, 3),
        ("cpu", 1, ["cpu"], "cpu", False, 1),
    ],
)
def test_one_setting_says_where_sampler_and_trainer_are(
    device: str, parallel: int, sampler_on: list[str], trainer_on: str, apart: bool, gpus: int
) -> None:
    model = Model(device=device, tensor_parallel_size=parallel, sampler="vllm")
    assert (model.sampler_on, model.trainer_on, model.apart, model.gpus) == (sampler_on, trainer_on, apart, gpus)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_here_is_named_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"cuda:0\+cuda:1 names a GPU, but the machine has no GPU; name another"):
        hardware_for(Model(device="cuda:0+cuda:1"))
    with pytest.raises(UserError, match=r"cuda:3 is wanted"):
        Trainer("nowhere", Config(model=Model(device="cuda:3")))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_named("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UserError, match=r"cuda:2 is wanted .* finds 2 CUDA devices here"):
        device_named("cuda:2")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.sampler=transformers", "model.quantization=fp8"], "quantization=fp8 needs vLLM on a GPU, not transf"),
        (["model.device=cpu", "model.quantization=fp8"], "quantization=fp8 needs vLLM on a GPU, not vllm on cpu"),
        *(
            (["model.tensor_parallel_size=2", *more], "tensor_parallel_size=2 spreads vLLM over several GPUs, but")
            for more in (["model.device=cpu"], ["model.sampler=transformers", "model.device=cuda"])
        ),
        ([*TWO, "model.sampler=transformers"], "must name one GPU; or use model.sampler=vllm"),
        (
            ["model.sampler=sglang"],
            "there is no sampler 'sglang'; model.sampler is one of vllm, transformers, endpoint, or auto",
        ),
    ],
)
def test_what_a_sampler_can_not_do_is_one_sentence(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError) as error:
        check_sampler(config(*overrides))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_eight_bits_need_the_weights_that_correct_them() -> None:
    with pytest.raises(UserError, match=r"distillation\.rollout_is_threshold=none would not correct for it"):
        config("model.quantization=fp8", "distillation.rollout_is_threshold=none")


def test_eight_bits_halve_what_the_linear_layers_take() -> None:
    whole, eight = memory(config()), memory(config("model.quantization=fp8"))
    weights = {part.what: part.bytes for part in eight.parts if part.where == "sampler"}["base weights"]
    shape = Shape.read(QWEN)
    assert weights == pytest.approx(shape.linear + 2 * shape.embedding, rel=1e-2)
    assert whole.needs["trainer"] == eight.needs["trainer"]


class Platform:
    """vLLM's own platform, with GPUs of the compute capabilities that are given."""

    def __init__(self, *capabilities: int) -> None:
        self.device_type = "cuda" if capabilities else "cpu"
        self._capabilities = capabilities

    def has_device_capability(self, capability: int, device_id: int = 0) -> bool:
        return self._capabilities[device_id] >= capability

    def get_device_name(self, device_id: int = 0) -> str:
        return f"GPU {device_id}" if self._capabilities else "cpu"


@pytest.mark.parametrize(
    ("device", "capabilities", "refused"),
    [("auto", (90,), False), ("cuda:1", (80, 89), False), ("cuda:0", (80, 89), True), ("auto", (), True)],
)
def test_eight_bits_need_a_gpu_that_computes_in_them(device: str, capabilities: tuple[int, ...], refused: bool) -> None:
    settings = Model(device=device, quantization="fp8")
    with pytest.raises(UserError, match="quantization=fp8 needs") if refused else nullcontext():
        _check_device(settings, Platform(*capabilities))


def memory(settings: Config, hardware: Hardware = H100) -> Memory:
    return memory_of(settings, Shape.read(QWEN), hardware, questions=1)


def test_each_has_all_of_its_own_gpu() -> None:
    unlike = Hardware(80 * GIB, trainer_gpu=40 * GIB)
    one, two = memory(config(), Hardware(80 * GIB)), memory(config(*TWO), unlike)
    assert two.needs == one.needs
    whole = {"sampler": "trainer", "trainer": "sampler"}
    for name, other in whole.items():
        assert one.limits[name] == pytest.approx(GPU_SHARE * 80 * GIB - one.needs[other])
    assert (two.limits["sampler"] / GIB, two.limits["trainer"] / GIB) == pytest.approx((76, 38))


def test_two_small_gpus_hold_what_one_of_them_can_not() -> None:
    one, two = (
        machine_named(name).used_by(config(*kind).model) for name, kind in (("l40s-48", ()), ("2xl40s-48", TWO))
    )
    assert not memory(config(), one).fits
    assert memory(config(*TWO), two).fits
    with pytest.raises(UserError, match=r"0\.0 GiB of a GPU of 80\.0 GiB for the trainer and of 17\.0 .*; lower"):
        vllm_cache(config(*TWO), QWEN, Hardware(17 * GIB, trainer_gpu=80 * GIB), 1)


GIB_BYTES = int(GIB)


@cache
def arguments(*overrides: str) -> dict[str, Any]:
    from ttsd.sampling.vllm_sampler.launch import engine_args

    parts = SamplerParts(
        config(*overrides), "folder", load_tokenizer(load_config("micro")), 1, 0, 1, None, GIB_BYTES, 0.5
    )
    return engine_args(parts, "cuda")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # importing vLLM
def test_vllm_gets_the_numbers_of_its_gpus_and_its_share() -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    assert "device_ids" not in arguments()
    assert arguments()["gpu_memory_utilization"] == 0.5
    assert arguments(*TWO)["device_ids"] == [0]
    assert arguments(*TWO)["kv_cache_memory_bytes"] == GIB_BYTES
    several = ["model.device=cuda:1+cuda:0", "model.tensor_parallel_size=2"]
    assert arguments(*several)["device_ids"] == [1, 2]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_installed_vllm_knows_every_argument() -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    from dataclasses import fields

    from vllm import AsyncEngineArgs
    from vllm.config.quantization import ONLINE_QUANT_SHORTHAND_NAMES

    every = arguments(*TWO, "model.quantization=fp8")
    assert set(every) <= {field.name for field in fields(AsyncEngineArgs)}
    assert every["quantization"] in ONLINE_QUANT_SHORTHAND_NAMES  # vLLM quantises a 16-bit folder while it loads


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Unclosed context:ResourceWarning")  # vLLM's
async def test_the_next_group_is_sampled_while_a_step_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM in its process, the trainer in this one, half of the cores each: a step ends only once tokens have come."""
    pytest.importorskip("vllm", reason="vLLM is not installed")
    folder = write_model(tmp_path / "model", small=False)
    model = {"path": str(folder), "sampler": "vllm", "device": "cpu", "dtype": "float32"}
    model |= {"kv_cache_gib": 0.1, "max_model_len": 1024}
    sections = {"model": model, "sampling": {"max_tokens": 32, "pipeline": "one-step-off", "max_prompt_len": 256}}
    settings = Config.model_validate(sections | {"reprompt": {"max_reprompt_len": 512}})
    async with open_engine(settings, load_tokenizer(settings)) as engine:
        assert engine.trainer is not None
        sampled: list[int] = []
        take_step = engine.trainer.step

        def once_sampled(name: str, examples: Sequence[Any], **options: Any) -> Any:
            before, deadline = engine.sampler.stats.tokens, time.monotonic() + 60
            while engine.sampler.stats.tokens == before and time.monotonic() < deadline and len(sampled) < 2:
                time.sleep(0.01)
            sampled.append(engine.sampler.stats.tokens - before)
            return take_step(name, examples, **options)

        monkeypatch.setattr(engine.trainer, "step", once_sampled)
        policy = LoraPolicy(engine, "q", Spending(), 0, engine.scratch)
        await policy.begin()
        method = MethodOnQuestion(METHODS["sdpo"], PromptWriter(QUESTION, engine.tokenizer, settings))
        events = learn(policy, judge_by_word, method, Rules(group_size=2, budget=6, one_step_off=True))
        steps = [event async for event in events if isinstance(event, Step)]
        await policy.close()
    assert [step.adapter_version for step in steps] == [1, 2, 3]
    assert min(sampled[:2]) > 0  # after the last step nothing is left to sample
