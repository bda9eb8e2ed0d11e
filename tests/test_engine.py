"""The policy in training: what moves its weights moves the sampler's too."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import write_model
from ttsd.backbone import load_base
from ttsd.config import Config
from ttsd.errors import InfrastructureError
from ttsd.nouns import Example, Prompt
from ttsd.record.claims import state_of
from ttsd.running.engine import (
    FrozenPolicy,
    LoraPolicy,
    differs_in_bits,
    load_tokenizer,
    open_engine,
    scratch_folder,
)
from ttsd.running.shared_time import Spending
from ttsd.sampling.kinds import SAMPLERS, SamplerKind
from ttsd.sampling.transformers_sampler import HfSampler
from ttsd.training.trainer import Trainer


async def test_without_a_trainer_too_layers_are_made_ready_to_decode(tmp_path: Path) -> None:
    model = {"path": str(write_model(tmp_path / "model")), "sampler": "transformers", "dtype": "bfloat16"}
    config = Config.model_validate({"model": model, "sampling": {"max_tokens": 8}})
    async with open_engine(config, load_tokenizer(config), learns=False) as engine:
        sampler = engine.sampler
        assert engine.trainer is None
        assert isinstance(sampler, HfSampler)
        assert sampler._started().prepared(None).layers


async def test_no_thread_that_computed_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ttsd.backbone

    drew, draw = list[threading.Thread](), ttsd.backbone.generate

    def watched(*args: Any, **kwargs: Any) -> Any:
        drew.append(threading.current_thread())
        return draw(*args, **kwargs)

    monkeypatch.setattr(ttsd.backbone, "generate", watched)
    model = {"path": str(write_model(tmp_path / "model")), "sampler": "transformers", "dtype": "float32"}
    config = Config.model_validate({"model": model, "sampling": {"max_tokens": 4}})
    async with open_engine(config, load_tokenizer(config)) as engine:
        await engine.sample(Spending(), engine.tokenizer.chat("question"), None)
        learnt = await engine.train(Spending(), threading.current_thread)
        for thread in (*drew, learnt):
            await asyncio.to_thread(thread.join, 5)
            assert not thread.is_alive(), "its helpers would slow the next one's"
    assert len(drew) == 3  # two for the agreement's adapters, and ours


async def test_a_policy_that_goes_back_samples_and_learns_as_it_did_then(tmp_path: Path) -> None:
    model = {"path": str(write_model(tmp_path / "model")), "sampler": "transformers", "dtype": "float32"}
    config = Config.model_validate({"model": model, "lora": {"lr": 1e-2}, "sampling": {"max_tokens": 8}})
    async with open_engine(config, load_tokenizer(config)) as engine:
        trainer, prompt = engine.trainer, engine.tokenizer.chat("question")
        assert trainer is not None
        policy = LoraPolicy(engine, "q", Spending(), 3, tmp_path)
        await policy.begin()
        teacher = Prompt(engine.tokenizer.chat("question, with a hint"), "question, with a hint")

        def likely() -> list[float]:
            return trainer.logprobs("q", prompt, answer.token_ids)

        answer = await policy.sample(prompt)
        example = Example(1, prompt, answer.token_ids, answer.logprobs, teacher)
        base, first = likely(), await policy.distil([example])
        taught = likely()
        assert taught != base
        (await policy.snapshot()).write(state_of(tmp_path, 1))
        await policy.return_to(0)
        assert likely() == base == trainer.logprobs(None, prompt, answer.token_ids)
        drawn = await policy.sample(prompt)
        assert (policy.adapter_version, drawn.adapter_version) == (2, 2)
        assert list(drawn.logprobs) == pytest.approx(trainer.logprobs(None, prompt, drawn.token_ids), abs=1e-5)
        again = await policy.distil([example])
        assert (again["loss"], again["grad_norm"]) == (first["loss"], first["grad_norm"])
        assert likely() == taught
        await policy.distil([example])
        further = likely()
        await policy.return_to(1)
        assert likely() == taught
        sampled = await policy.sample(prompt)
        assert list(sampled.logprobs) == pytest.approx(trainer.logprobs("q", prompt, sampled.token_ids), abs=1e-5)
        await policy.distil([example])
        assert likely() == further
        assert policy.adapter_version == 6
        await policy.close()


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["transformers", "vllm"])
async def test_every_policy_samples_from_where_runs_start(tmp_path: Path, sampler: str) -> None:
    path = write_model(tmp_path / "model", small=False)
    model = {"path": str(path), "sampler": sampler, "dtype": "float32", "device": "cpu", "kv_cache_gib": 0.1}
    model |= {"max_model_len": 256}
    config = Config.model_validate({"model": model, "lora": {"lr": 1e-2}, "sampling": {"max_tokens": 16}})
    first = Trainer(str(path), config)
    first.create("made", 0)
    first.perturb("made", 5, 0.1)
    first.export("made", tmp_path / "init")
    warm = config.changed("lora", init=str(tmp_path / "init"))
    for learns in (False, True):
        async with open_engine(warm, load_tokenizer(warm), learns=learns) as engine:
            prompt = engine.tokenizer.chat("question")
            answers = [await FrozenPolicy(engine, Spending()).sample(prompt)]
            policy = LoraPolicy(engine, "q", Spending(), 3, engine.scratch)
            if learns:
                await policy.begin()
                answers.append(await policy.sample(prompt))
                teacher = Prompt(engine.tokenizer.chat("question, with a hint"), "question, with a hint")
                found = await policy.distil([Example(1, prompt, answers[-1].token_ids, answers[-1].logprobs, teacher)])
                assert found["kl/base"] == pytest.approx(0, abs=1e-4)
                await policy.return_to(0)
                answers.append(await policy.sample(prompt))
            for answer in answers:
                expected = first.logprobs("made", prompt, answer.token_ids)
                assert list(answer.logprobs) == pytest.approx(expected, abs=1e-4)
                assert expected != pytest.approx(first.logprobs(None, prompt, answer.token_ids), abs=1e-2)


@pytest.mark.parametrize(
    ("model", "differ"),
    [
        ({}, False),
        ({"quantization": "fp8+nf4"}, True),
        ({"quantization": "fp8"}, True),
        ({"quantization": "nf4"}, True),
        ({"quantization": "nf4", "sampler": "transformers"}, False),  # one base for both
    ],
)
def test_the_self_test_knows_when_one_side_has_fewer_bits(model: dict[str, str], differ: bool) -> None:
    assert differs_in_bits(Config.model_validate({"model": {"sampler": "vllm", **model}}).model) == differ


def test_adapters_take_another_way_where_memory_backed_files_have_no_room() -> None:
    """Docker's /dev/shm has 64 MB; one adapter of an 8B model has 175."""
    small, large = scratch_folder(0.0), scratch_folder(1e18)
    try:
        assert (small.parent, large.parent) == (Path("/dev/shm"), Path(tempfile.gettempdir()))
    finally:
        small.rmdir()
        large.rmdir()


def test_adapters_of_processes_that_ended_are_removed_and_those_of_living_ones_are_kept() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    left = [Path(f"/dev/shm/ttsd-adapters-{owner}-of-a-test") for owner in (ended.pid, os.getppid())]
    for folder in left:
        folder.mkdir()
    try:
        scratch_folder(0.0).rmdir()
        assert [folder.exists() for folder in left] == [False, True]
    finally:
        left[1].rmdir()


async def test_the_trainer_comes_to_a_gpu_only_after_a_sampler_with_weights_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM counts what goes of the GPU while it starts as its own. The other sampler needs the trainer's base."""
    import ttsd.training.trainer

    class Own(HfSampler):
        async def start(self) -> None:
            events.append("sampler starts")
            self._base = load_base(self.parts.path, dtype="float32")

        async def complete(self, *args: Any, **kwargs: Any) -> Any:
            raise InfrastructureError("enough")

    def load(*args: Any, **kwargs: Any) -> Trainer:
        events.append("trainer loads")
        return Trainer(*args, **kwargs)

    monkeypatch.setattr(ttsd.training.trainer, "Trainer", load)
    path = str(write_model(tmp_path / "model"))
    for own in (True, False):
        events: list[str] = []
        monkeypatch.setitem(SAMPLERS, "own", SamplerKind(__name__, "Own", own, 1, ("transformers",)))
        monkeypatch.setattr(sys.modules[__name__], "Own", Own, raising=False)
        config = Config.model_validate({"model": {"path": path, "sampler": "own", "dtype": "float32"}})
        config = config.changed("model", kv_cache_gib=0.5, max_model_len=256)
        with pytest.raises(InfrastructureError, match="enough"):
            async with open_engine(config, load_tokenizer(config)):
                pass
        assert events == ["sampler starts", "trainer loads"][:: 1 if own else -1]
