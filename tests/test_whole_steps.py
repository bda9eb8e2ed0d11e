"""Whole gradient steps of several families: each weight is what plain transformers in double precision makes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch  # noqa: TID253
from torch import Tensor  # noqa: TID253

from tests.families import write_family
from tests.loss_reference import distillation_loss
from ttsd.config import Config
from ttsd.nouns import Example, Prompt
from ttsd.training.state import GRAD_CLIP
from ttsd.training.trainer import LOG_RATIO_CLIP, Trainer

STEPS, RANK, ALPHA, LR, DECAY, RATE = 2, 3, 7.0, 0.01, 0.02, 0.3
Weights = dict[str, Tensor]


class Plain:
    """A model with LoRA by hand, in float64: one sequence at a time, eager attention."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
        self.model, self.attached = model.double().eval(), Weights()
        for name, module in self.model.named_modules():
            if f"{name}.lora_A" in names:
                module.register_forward_hook(lambda _, inputs, output, name=name: self._added(name, inputs[0], output))

    def _added(self, name: str, states: Tensor, output: Tensor) -> Tensor:
        if not self.attached:
            return output
        a, b = self.attached[f"{name}.lora_A"], self.attached[f"{name}.lora_B"]
        return output + ALPHA / RANK * (states @ a.T @ b.T)

    def logits(self, weights: Weights, prompt: tuple[int, ...], completion: tuple[int, ...]) -> Tensor:
        """Returns the logits (tokens, vocab) of a completion."""
        self.attached = weights
        ids = torch.tensor([(*prompt, *completion[:-1])])
        logits: Tensor = self.model(input_ids=ids, use_cache=False).logits[0, -len(completion) :]
        return logits


def sampled() -> list[Example]:
    """Completions of 1 to 40 tokens, one of them twice, one without feedback; most prompts share a beginning."""
    generator = torch.Generator().manual_seed(5)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, 259, (count,), generator=generator).tolist())

    question, long = tokens(30), tokens(40)
    completions = [long, tokens(1), (*tokens(11), 2), tokens(40), long]
    contexts = [question[:20] + tokens(25), question[:20] + tokens(40), None, question + tokens(5), tokens(45)]
    return [
        Example(
            number,
            question,
            completion,
            tuple((-6 * torch.rand(len(completion), generator=generator)).tolist()),
            teacher=None if context is None else Prompt(context),
        )
        for number, (completion, context) in enumerate(zip(completions, contexts, strict=True), 1)
    ]


def loss_of(plain: Plain, student: Weights, teacher: Weights, examples: list[Example], config: Config) -> Tensor:
    """Returns the loss of the examples that have a teacher's prompt: the mean over all their tokens."""
    settings, total, count = config.distillation, torch.zeros((), dtype=torch.float64), 0
    for one in examples:
        if one.teacher is None:
            continue
        mine = plain.logits(student, one.prompt_ids, one.completion_ids)
        with torch.no_grad():
            theirs = plain.logits(teacher, one.teacher.token_ids, one.completion_ids)
        total = total + len(one.completion_ids) * distillation_loss(
            mine[None], theirs[None], torch.tensor([one.completion_ids]), torch.ones(1, len(mine)),
            alpha=settings.alpha, topk=settings.distillation_topk,
            clip=LOG_RATIO_CLIP, is_clip=settings.rollout_is_threshold,
            old_logprobs=torch.tensor([one.sampler_logprobs], dtype=torch.float64),
        )  # fmt: skip
        count += len(one.completion_ids)
    return total / count


VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("qwen3", {}),
    ("qwen3", {"alpha": 0.5}),
    ("qwen3", {"alpha": 0.0, "distillation_topk": None}),
    ("qwen3", {"token_budget": 60, "checkpoint_over": 0}),
    ("olmo 2", {}),
    ("gemma 3", {}),
    ("qwen3.5", {}),
    ("lfm2", {"token_budget": 60, "checkpoint_over": 40}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "distillation"), VARIANTS)
def test_a_step_changes_the_weights_as_in_double_precision(
    tmp_path: Path, name: str, distillation: dict[str, Any]
) -> None:
    folder = write_family(name, tmp_path)
    config = Config.model_validate(
        {
            "model": {"path": str(folder), "dtype": "float32"},
            "lora": {"rank": RANK, "alpha": ALPHA, "lr": LR, "weight_decay": DECAY},
            "teacher": {"teacher_update_rate": RATE},
            "distillation": distillation,
        }
    )
    made, examples = Trainer(str(folder), config, threads=1), sampled()
    made.create("q", 0)
    learner = made._learners["q"]
    weights = {key: value.detach().double().requires_grad_() for key, value in learner.student.parameters.items()}
    teacher = {key: value.detach().clone() for key, value in weights.items()}
    plain = Plain(folder, list(weights))
    optimizer = torch.optim.AdamW(weights.values(), lr=LR, weight_decay=DECAY)
    for _ in range(STEPS):
        found = made.step("q", examples)
        optimizer.zero_grad()
        loss = loss_of(plain, weights, teacher, examples, config)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(weights.values(), GRAD_CLIP)
        optimizer.step()
        for key, value in weights.items():
            teacher[key] += RATE * (value.detach() - teacher[key])
        assert found["loss"] == pytest.approx(loss.item(), rel=1e-4)
        assert found["grad_norm"] == pytest.approx(norm.item(), rel=1e-3)
    assert learner.teacher is not None
    for key, value in weights.items():
        torch.testing.assert_close(learner.student.parameters[key].double(), value, atol=2e-4, rtol=0)
        torch.testing.assert_close(learner.teacher.parameters[key].double(), teacher[key], atol=1e-4, rtol=0)
