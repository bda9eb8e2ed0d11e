"""The check at the start sees what a run does: long prompts, branching rows, gradients, and another model's numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.families import write_family
from tests.sampler_parts import parts
from ttsd.backbone.attention import NAME
from ttsd.config import Config
from ttsd.errors import InfrastructureError, UserError
from ttsd.running import parity
from ttsd.sampling.transformers_sampler import HfSampler

if TYPE_CHECKING:
    from ttsd.training.trainer import Trainer

PROMPT, LONGEST = (5, 6, 7, 8, 9, 10), 60


def trainer(folder: Path, name: str, dtype: str, **distillation: int) -> Trainer:
    from ttsd.training.trainer import Trainer

    model = {"dtype": dtype, "path": str(write_family(name, folder))}
    settings = {"model": model, "lora": {"rank": 4, "alpha": 8.0}, "distillation": distillation}
    return Trainer(str(folder), Config.model_validate(settings), threads=1)


async def check(made: Trainer) -> dict[str, float]:
    sampler = HfSampler(parts(base=made.base))
    await sampler.start()
    try:
        return await parity.check_parity(sampler, made, PROMPT, longest=LONGEST)
    finally:
        await sampler.close()


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["qwen3", "mistral 0.1", "gemma 3", "qwen3.5", "lfm2", "gpt-oss", "phi"])
async def test_three_ways_agree(tmp_path: Path, name: str, dtype: str) -> None:
    findings = await check(trainer(tmp_path, name, dtype))
    if dtype == "float32":
        assert max(findings[f"{way}/max"] for way in ("gap", "packed", "gradient")) < 1e-4


async def test_the_longest_prompt_is_computed_five_times(tmp_path: Path) -> None:
    """By the sampler, by the trainer with the adapter and without, with gradients, and by transformers."""
    made, passes = trainer(tmp_path, "qwen3", "float32"), []
    made.base.model.get_decoder().embed_tokens.register_forward_hook(
        lambda module, args, output: passes.append(output.shape[1])
    )
    await check(made)
    assert sum(tokens >= LONGEST - len(PROMPT) for tokens in passes) == 5


async def test_the_check_takes_no_larger_pass_than_a_step(tmp_path: Path) -> None:
    made, sizes = trainer(tmp_path, "mistral 0.1", "float32", token_budget=100), []
    made.base.model.get_decoder().embed_tokens.register_forward_hook(
        lambda module, args, output: sizes.append(output.shape[0] * output.shape[1])
    )
    findings = await check(made)
    assert max(sizes) <= 100
    assert findings["gap/max"] < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
async def test_a_window_that_only_long_prompts_notice_is_seen(tmp_path: Path, dtype: str) -> None:
    made = trainer(tmp_path, "mistral 0.1", dtype)
    made.base.not_packed = None  # as if the window had been overlooked
    made.base.model.set_attn_implementation(NAME)
    with pytest.raises(InfrastructureError, match="computes other log-probabilities than transformers"):
        await check(made)


@pytest.mark.slow
async def test_a_model_that_is_another_one_with_gradients_is_seen(tmp_path: Path) -> None:
    made = trainer(tmp_path, "qwen3", "float32")
    layer = made.base.model.get_decoder().layers[0].mlp
    import torch

    layer.register_forward_hook(
        lambda module, args, output: output * 1.1 if torch.is_grad_enabled() else output, prepend=True
    )
    with pytest.raises(InfrastructureError, match="changes with gradients on"):
        await check(made)


@pytest.mark.slow
async def test_layers_without_a_gradient_are_blamed(tmp_path: Path) -> None:
    made = trainer(tmp_path, "qwen3", "float32")

    def cut(module: object, args: object, output: object) -> object:
        return output.detach()  # type: ignore[attr-defined]

    made.base.model.get_decoder().norm.register_forward_hook(cut)
    with pytest.raises(InfrastructureError, match="the model's layers can't be trained"):
        await check(made)


@pytest.mark.parametrize(("mean", "agree"), [(0.015, True), (0.03, False), (0.09, False)])
def test_in_16_bits_only_what_rounding_explains_passes(mean: float, agree: bool) -> None:
    findings = {"packed/mean": mean, "packed/max": 1.0, "gradient/mean": 0.0, "gradient/max": 0.0, "rounding": 0.004}
    if agree:
        parity.judge_ways(findings, "bfloat16")
    else:
        with pytest.raises(InfrastructureError, match="the trainer computes other"):
            parity.judge_ways(findings, "bfloat16")


MAMBA2 = {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1}


@pytest.mark.parametrize(("kind", "settings"), [("mamba", {}), ("mamba2", MAMBA2), ("recurrent_gemma", {})])
async def test_states_that_the_sampler_does_not_find_are_refused_at_its_start(
    tmp_path: Path, kind: str, settings: dict[str, int]
) -> None:
    from ttsd.backbone import load_base

    folder = str(write_family(kind, tmp_path, settings))
    with pytest.raises(UserError, match=r"use model\.sampler=vllm|choose another model"):
        await HfSampler(parts(base=load_base(folder, dtype="float32", threads=1))).start()
