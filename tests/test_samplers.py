"""What all samplers share, the transformers sampler on a tiny random model, and the check against the trainer."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.sampler_parts import parts
from tests.tiny import write_model
from ttsd.config import Config
from ttsd.errors import InfrastructureError, UserError
from ttsd.nouns import Completion
from ttsd.running import parity
from ttsd.sampling.protocol import AdapterRef, check_new, checked_length, checked_logprobs, resident
from ttsd.sampling.transformers_sampler import HfSampler

if TYPE_CHECKING:
    from ttsd.backbone import Base
    from ttsd.training.trainer import Trainer

PROMPT = (5, 6, 7, 8, 9, 10)
STOP = 3
REF = AdapterRef("question", 1, Path("somewhere"))


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    from ttsd.training.trainer import Trainer

    folder = write_model(tmp_path_factory.mktemp("model"))
    return Trainer(
        str(folder), Config.model_validate({"model": {"dtype": "float32"}, "lora": {"rank": 4, "alpha": 8.0}})
    )


@pytest.fixture
async def sampler(trainer: Trainer) -> AsyncIterator[HfSampler]:
    sampler = _sampler(trainer.base)
    await sampler.start()
    yield sampler
    await sampler.close()


@pytest.fixture
def refs(trainer: Trainer, tmp_path: Path) -> list[AdapterRef]:
    """Two adapters far from zero, which the trainer knows as `a` and `b`."""
    refs = [AdapterRef(name, 1, tmp_path / name) for name in "ab"]
    for seed, ref in enumerate(refs):
        trainer.create(ref.name, seed)
        trainer.perturb(ref.name, seed, 0.3)
        trainer.export(ref.name, ref.path)
    return refs


def _sampler(base: Base, **changes: Any) -> HfSampler:
    return HfSampler(parts(base=base, **{"stop": (STOP,), **changes}))


def _distance(first: Sequence[float], second: Sequence[float]) -> float:
    return max(abs(one - other) for one, other in zip(first, second, strict=True))


def test_a_completion_gets_the_room_that_is_left_and_no_prompt_is_cut() -> None:
    assert checked_length(10, 6, 16) == 6
    assert checked_length(10, 7, 16) == 6
    with pytest.raises(UserError, match="prompt of 16 tokens leaves no room in the model's length of 16"):
        checked_length(16, 7, 16)
    with pytest.raises(UserError, match="prompt is empty"):
        checked_length(0, 7, 16)


def test_only_resident_adapters_are_served() -> None:
    assert resident({REF: "weights"}, REF) == "weights"
    assert resident({REF: "weights"}, None) is None
    with pytest.raises(InfrastructureError, match="adapter question version 1 is not in the sampler"):
        resident({}, REF)
    with pytest.raises(InfrastructureError, match="adapter question version 1 is in the sampler already"):
        check_new({REF: "weights"}, REF)


async def test_completions_agree_with_the_trainer(sampler: HfSampler, trainer: Trainer, refs: list[AdapterRef]) -> None:
    await sampler.swap(None, refs[0])
    await sampler.swap(None, refs[1])
    wanted = [None, *refs] * 4
    drawn = await asyncio.gather(*(sampler.complete(PROMPT, ref) for ref in wanted))
    for ref, completion in zip(wanted, drawn, strict=True):
        ids = completion.token_ids
        expected = trainer.logprobs(ref.name if ref else None, PROMPT, ids)
        assert _distance(completion.logprobs, expected) < 1e-4
        assert completion.finish_reason == ("stop" if ids[-1] == STOP else "length")
        assert completion.text == " ".join(map(str, ids))
        assert completion.adapter_version == (1 if ref else 0)
    assert sampler.stats.tokens == sum(len(completion.token_ids) for completion in drawn)


async def test_a_swap_leaves_no_stale_weights(sampler: HfSampler, trainer: Trainer, refs: list[AdapterRef]) -> None:
    old = refs[0]
    await sampler.swap(None, old)
    trainer.perturb("a", 7, 0.3)
    new = AdapterRef("a", 2, old.path.with_name("a2"))
    trainer.export("a", new.path)
    await sampler.swap(old, new)
    completion = await sampler.complete(PROMPT, new)
    assert completion.adapter_version == 2
    assert _distance(completion.logprobs, trainer.logprobs("a", PROMPT, completion.token_ids)) < 1e-4
    with pytest.raises(InfrastructureError, match="adapter a version 1 is not in the sampler"):
        await sampler.complete(PROMPT, old)


async def test_a_cancelled_completion_ends_and_the_others_go_on(trainer: Trainer) -> None:
    sampler = _sampler(trainer.base, stop=())
    await sampler.start()
    long = [asyncio.create_task(sampler.complete(PROMPT, None, max_tokens=1000)) for _ in range(4)]
    while not sampler.stats.tokens:
        await asyncio.sleep(0.01)
    for task in long:
        task.cancel()
    ended = await asyncio.gather(*long, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ended)
    completion = await asyncio.wait_for(sampler.complete(PROMPT, None, max_tokens=5), 10)
    assert (len(completion.token_ids), completion.finish_reason) == (5, "length")
    await sampler.close()


async def test_closing_fails_what_is_under_way(trainer: Trainer) -> None:
    sampler = _sampler(trainer.base, stop=())
    with pytest.raises(InfrastructureError, match="call start"):
        await sampler.health()
    await sampler.start()
    await sampler.health()
    long = asyncio.create_task(sampler.complete(PROMPT, None, max_tokens=1000))
    while not sampler.stats.tokens:
        await asyncio.sleep(0.01)
    await sampler.close()
    with pytest.raises(InfrastructureError, match="the sampler was closed"):
        await long
    await sampler.close()


async def test_a_completion_is_delivered_when_it_ends(trainer: Trainer) -> None:
    sampler = _sampler(trainer.base, stop=tuple(range(40)), max_tokens=200)
    await sampler.start()
    drawing = [asyncio.create_task(sampler.complete(PROMPT, None)) for _ in range(16)]
    done, waiting = await asyncio.wait(drawing, return_when=asyncio.FIRST_COMPLETED)
    assert done
    assert waiting
    lengths = [len((await task).token_ids) for task in drawing]
    assert sampler.stats.tokens == sum(lengths)
    await sampler.close()


async def test_a_request_joins_the_batch_that_is_drawn(trainer: Trainer) -> None:
    sampler = _sampler(trainer.base, stop=(), max_tokens=1500)
    await sampler.start()
    first = asyncio.create_task(sampler.complete(PROMPT, None))
    while not sampler.stats.tokens:
        await asyncio.sleep(0.01)
    late, before = await sampler.complete(PROMPT[:3], None), len(sampler._waiting)
    assert before == 0
    assert len((await first).token_ids) == len(late.token_ids) == 1500
    assert sampler.stats.tokens == 3000
    assert _distance(late.logprobs, trainer.logprobs(None, PROMPT[:3], late.token_ids)) < 1e-4
    assert next(sampler._batches) == 1
    await sampler.close()


async def test_nobody_joins_while_another_adapter_waits(
    sampler: HfSampler, trainer: Trainer, refs: list[AdapterRef]
) -> None:
    await sampler.swap(None, refs[0])
    sampler.parts = parts(base=trainer.base)
    requests = [asyncio.create_task(sampler.complete(PROMPT, None, max_tokens=1500))]
    while not sampler.stats.tokens:
        await asyncio.sleep(0.01)
    requests += [asyncio.create_task(sampler.complete(PROMPT, ref, max_tokens=1500)) for ref in (refs[0], None)]
    await asyncio.sleep(0.2)
    assert len(sampler._waiting) == 2
    await sampler.close()
    results = await asyncio.gather(*requests, return_exceptions=True)
    assert all(isinstance(result, InfrastructureError) for result in results)


async def test_same_seed_same_completions(trainer: Trainer) -> None:
    async def draw(seed: int) -> list[tuple[int, ...]]:
        sampler = _sampler(trainer.base, seed=seed)
        await sampler.start()
        drawn = await asyncio.gather(*(sampler.complete(PROMPT, None) for _ in range(4)))
        await sampler.close()
        return [completion.token_ids for completion in drawn]

    assert await draw(1) == await draw(1) != await draw(2)


async def test_agreement_of_sampler_and_trainer(sampler: HfSampler, trainer: Trainer) -> None:
    findings = await parity.check_parity(sampler, trainer, PROMPT)
    assert findings["gap/max"] < 1e-4
    assert findings["change"] > 0.01
    with pytest.raises(InfrastructureError, match="not in the sampler"):
        await sampler.complete(PROMPT, AdapterRef(parity.NAME, 1, Path("gone")))


class Deaf(HfSampler):
    """Takes adapters and ignores them."""

    async def complete(
        self, prompt_ids: Sequence[int], adapter: AdapterRef | None, *, max_tokens: int | None = None
    ) -> Completion:
        return await super().complete(prompt_ids, None, max_tokens=max_tokens)


async def test_a_sampler_that_ignores_adapters_is_found_out(trainer: Trainer) -> None:
    sampler = Deaf(parts(base=trainer.base, stop=(STOP,)))
    await sampler.start()
    with pytest.raises(InfrastructureError, match="the sampler ignores adapters"):
        await parity.check_parity(sampler, trainer, PROMPT)
    await sampler.close()


@pytest.mark.parametrize(
    ("dtype", "gap", "change", "agree"),
    [
        ("float32", 1e-6, 0.3, True),
        ("float32", 1e-2, 0.3, False),
        ("bfloat16", 1e-2, 0.3, True),
        ("bfloat16", 1e-1, 0.3, False),
        ("bfloat16", 1e-2, 0.02, False),
        ("float32", 0.0, 0.0, False),
        ("fewer bits", 0.1, 0.3, True),
        ("fewer bits", 0.5, 0.9, False),
        ("fewer bits", -0.25, 0.25, False),  # the base model's own
    ],
)
def test_what_counts_as_agreement(dtype: str, gap: float, change: float, agree: bool) -> None:
    trainer = [-1.0, -2.0, -0.5]
    findings = parity.compare([p + gap for p in trainer], trainer, [p - change for p in trainer])
    if agree:
        parity.judge(findings, dtype)
    else:
        with pytest.raises(InfrastructureError):
            parity.judge(findings, dtype)


@pytest.mark.parametrize(("noise", "agree"), [(0.05, True), (0.1, True), (0.3, False)])
def test_noise_of_16_bits_is_no_disagreement(noise: float, agree: bool) -> None:
    """Mean gaps of 0.01 to 0.05 nats are usual, and single ones far off; the adapter's effect shows all the same."""
    generator = random.Random(0)
    trainer = [-generator.expovariate(1.0) for _ in range(256)]
    base = [p - generator.gauss(0.0, 0.5) for p in trainer]
    sampler = [p + generator.gauss(0.0, noise * math.sqrt(math.pi / 2)) for p in trainer]
    findings = parity.compare(sampler, trainer, base)
    assert findings["gap/mean"] == pytest.approx(noise, rel=0.15)
    if agree:
        parity.judge(findings, "bfloat16")
    else:
        with pytest.raises(InfrastructureError, match=r"use another version .*model\.sampler=transformers"):
            parity.judge(findings, "bfloat16")


def test_an_adapter_served_twice_over_is_found_in_16_bits() -> None:
    trainer, base = [-1.0, -2.0, -0.5], [-1.05, -1.9, -0.6]
    twice = [2 * with_it - without for with_it, without in zip(trainer, base, strict=True)]
    with pytest.raises(InfrastructureError, match="the sampler shows 200%"):
        parity.judge(parity.compare(twice, trainer, base), "bfloat16")


async def test_numbers_that_are_none_stop_the_run(tmp_path: Path) -> None:
    import torch

    from ttsd.backbone import load_base

    base = load_base(str(write_model(tmp_path)), dtype="float32")
    base.model.get_input_embeddings().weight.data[PROMPT[-1]] = torch.nan
    sampler = _sampler(base)
    await sampler.start()
    with pytest.raises(InfrastructureError, match=r"logits are not numbers \(NaN\)"):
        await sampler.complete(PROMPT, None)
    await sampler.close()
    assert checked_logprobs([-1.0, 0.0]) == (-1.0, 0.0)
    with pytest.raises(InfrastructureError, match="the log-probability nan to token 2"):
        checked_logprobs([-1.0, math.nan])
