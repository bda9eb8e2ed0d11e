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
from ttsd.machine.gpus import GIB, GPUS, Hardware, hardware_for
from ttsd.machine.memory import Memory, memory_of, vllm_cache_bytes
from ttsd.machine.shape import KNOWN, Shape
from ttsd.methods import METHODS, MethodOnQuestion
from ttsd.nouns import Step
from ttsd.prompts import PromptWriter
from ttsd.running.engine import LoraPolicy, _Parts, load_tokenizer, open_engine, shares_gpu
from ttsd.running.shared_time import Spending
from ttsd.sampling.vllm_sampler import VllmSampler, VllmSettings
from ttsd.sampling.vllm_sampler.launch import _check_device
from ttsd.training.trainer import Trainer

QWEN = KNOWN["Qwen/Qwen3-8B"]
H100 = GPUS["h100-80"]
TWO = ["model.sampler_device=cuda:0", "model.trainer_device=cuda:1"]


def config(*overrides: str) -> Config:
    return load_config("qwen3-8b-80gb", overrides)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.sampler_device=gpu1"], "sampler_device=gpu1 is no device; choose auto, cpu, cuda, or a GPU, as in c"),
        (["model.trainer_device=cuda:"], "trainer_device=cuda: is no device"),
        (["model.trainer_device=cpu"], "the sampler on auto and the trainer on cpu can't go together; put both on"),
        (["model.device=cpu", "model.sampler_device=cuda:0"], "the sampler on cuda:0 and the trainer on cpu can't go"),
        ([*TWO, "model.sampler=transformers"], "must name the same GPU; or use sampler=vllm"),
    ],
)
def test_devices_that_can_not_be_are_one_sentence(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError) as error:
        config(*overrides)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("sampler", "trainer", "parallel", "apart", "gpus"),
    [
        ("auto", "auto", 1, False, 1),
        ("cuda:1", "cuda:1", 1, False, 2),
        ("auto", "cuda:0", 1, False, 1),
        ("cuda:0", "cuda:1", 1, True, 2),
        ("auto", "cuda:1", 1, True, 2),
        ("cuda:1", "cuda:0", 1, True, 2),
        ("cuda:0", "cuda:1", 2, False, 2),  # the trainer on one of the sampler's GPUs
        ("cuda:0", "cuda:2", 2, True, 3),
        ("cuda:1", "cuda:0", 2, True, 3),
        ("cpu", "cpu", 1, False, 1),
    ],
)
def test_a_trainer_that_the_sampler_test_a_trainer_that_the_sampler_leaves_a_gpu_is_apart(
    sampler: str, trainer: str, parallel: int, apart: bool, gpus: int
) -> None:
    model = Model(sampler_device=sampler, trainer_device=trainer, tensor_parallel_size=parallel)
    assert (model.apart, model.gpus) == (apart, gpus)
    assert shares_gpu(Config(model=model), Hardware(GIB)) != apart


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_here_is_named_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"cuda:1 is wanted in \[model\], but PyTorch finds no CUDA device here"):
        hardware_for(Model(trainer_device="cuda:1"))
    with pytest.raises(UserError, match=r"cuda:3 is wanted"):
        Trainer("nowhere", Config(model=Model(trainer_device="cuda:3")))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_named("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UserError, match=r"cuda:2 is wanted .* finds 2 CUDA devices here"):
        device_named("cuda:2")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.sampler=transformers"], "sampler_quantization=fp8 is for vLLM on a GPU; use sampler=vllm there, or"),
        (["model.device=cpu"], "sampler_quantization=fp8 is for vLLM on a GPU"),
        (["distillation.rollout_is_threshold=none"], "distillation.rollout_is_threshold=none would not correct for it"),
    ],
)
def test_eight_bits_that_can_not_be_or_are_not_corrected_for_are_one_sentence(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError) as error:
        config("model.sampler_quantization=fp8", *overrides)
    assert said in str(error.value)


def test_eight_bits_halve_what_the_linear_layers_take() -> None:
    whole, eight = memory(config()), memory(config("model.sampler_quantization=fp8"))
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
    settings = VllmSettings(model="m", max_tokens=8, stop_token_ids=(), device=device, quantization="fp8")
    with pytest.raises(UserError, match="sampler_quantization=fp8 needs") if refused else nullcontext():
        _check_device(settings, Platform(*capabilities))


def memory(settings: Config, hardware: Hardware = H100) -> Memory:
    return memory_of(settings, Shape.read(QWEN), hardware, questions=1)


def test_each_has_all_of_its_own_gpu() -> None:
    unlike = Hardware(80 * GIB, trainer_gpu=40 * GIB)
    one, two = memory(config(), Hardware(80 * GIB)), memory(config(*TWO), unlike)
    assert two.needs == one.needs
    assert (one.limits["sampler"] / GIB, one.limits["trainer"] / GIB) == pytest.approx((36, 44))
    assert (two.limits["sampler"] / GIB, two.limits["trainer"] / GIB) == pytest.approx((72, 40))
    large = config(*TWO, "model.gpu_memory_utilization=0.95")
    assert memory(large, unlike).limits["sampler"] / GIB == pytest.approx(76)


def test_two_small_gpus_hold_what_one_of_them_can_not() -> None:
    assert not memory(config(), GPUS["l40s-48"]).fits
    assert memory(config(*TWO), GPUS["l40s-48"]).fits
    with pytest.raises(UserError, match=r"the sampler's share=0\.9 of a GPU of 17\.0 GiB leaves 0\.0 GiB .*; lower"):
        vllm_cache_bytes(config(*TWO), QWEN, Hardware(17 * GIB, trainer_gpu=80 * GIB), 1)


def started_with(*overrides: str) -> VllmSettings:
    """Returns what an engine of these settings gives vLLM."""
    settings, micro = config(*overrides), load_config("micro")
    sampler = _Parts(settings, "folder", load_tokenizer(micro), 1, 0, 1, None).vllm(GIB_BYTES)
    assert isinstance(sampler, VllmSampler)
    return sampler.settings


GIB_BYTES = int(GIB)


@cache
def arguments(*overrides: str) -> dict[str, Any]:
    from ttsd.sampling.vllm_sampler.settings import engine_args

    return engine_args(started_with(*overrides), "cuda")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # importing vLLM
def test_vllm_gets_the_numbers_of_its_gpus_and_its_share() -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    assert "device_ids" not in arguments()
    assert arguments()["gpu_memory_utilization"] == 0.45
    assert arguments(*TWO)["device_ids"] == [0]
    assert arguments(*TWO)["gpu_memory_utilization"] == 0.9
    assert arguments(*TWO)["kv_cache_memory_bytes"] == GIB_BYTES
    several = ["model.sampler_device=cuda:1", "model.tensor_parallel_size=2", "model.trainer_device=cuda:0"]
    assert arguments(*several)["device_ids"] == [1, 2]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_installed_vllm_knows_every_argument() -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    from dataclasses import fields

    from vllm import AsyncEngineArgs
    from vllm.config.quantization import ONLINE_QUANT_SHORTHAND_NAMES

    every = arguments(*TWO, "model.sampler_quantization=fp8")
    assert set(every) <= {field.name for field in fields(AsyncEngineArgs)}
    assert every["quantization"] in ONLINE_QUANT_SHORTHAND_NAMES  # vLLM quantises a 16-bit folder while it loads


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Unclosed context:ResourceWarning")  # vLLM's
async def test_the_next_group_is_sampled_while_a_step_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM in its process, the trainer in this one, half of the cores each: a step ends only once tokens have come."""
    pytest.importorskip("vllm", reason="vLLM is not installed")
    folder = write_model(tmp_path / "model", small=False)
    model = {"path": str(folder), "device": "cpu", "dtype": "float32", "kv_cache_gib": 0.1, "max_model_len": 1024}
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
        policy = LoraPolicy(engine, "q", Spending(), seed=0)
        await policy.begin()
        method = MethodOnQuestion(METHODS["sdpo"], PromptWriter(QUESTION, engine.tokenizer, settings))
        events = learn(policy, judge_by_word, method, Rules(group_size=2, budget=6, one_step_off=True))
        steps = [event async for event in events if isinstance(event, Step)]
        await policy.close()
    assert [step.adapter_version for step in steps] == [1, 2, 3]
    assert min(sampled[:2]) > 0  # after the last step nothing is left to sample
