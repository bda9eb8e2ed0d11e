"""How much each token of a step's lessons counts in the parts of the loss, and where it lies in a packed row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch  # noqa: TID253
from torch import Tensor  # noqa: TID253

from ttsd.backbone.packing import Forest, Tokens
from ttsd.config import Distillation
from ttsd.nouns import Example
from ttsd.training import losses


@dataclass(frozen=True, slots=True)
class Assignment:
    """A lesson and the weight of each of its tokens in the three parts of the loss."""

    lesson: Example
    distil: float  # times the divergence from the teacher
    policy: float  # times the score: GRPO's advantage is in it
    stay: float  # times the distance to the base


def assign(lessons: Sequence[Example], distillation: Distillation, *, grpo: bool) -> list[Assignment]:
    """The lessons that move the student, each with its weights; empty where none does.

    `grpo`: the policy gradient alone, whatever `distillation.grpo_weight` says.
    """
    lessons = [lesson for lesson in lessons if lesson.completion_ids]
    share, mode = 1.0 if grpo else distillation.grpo_weight, distillation.loss_agg_mode
    taught_lengths = [len(lesson.completion_ids) if lesson.reprompt_ids else 0 for lesson in lessons]
    taught = _token_weights(taught_lengths, mode, 1 - share)
    scored = _token_weights([len(lesson.completion_ids) for lesson in lessons], mode, 1.0)
    advantages = losses.group_advantages(torch.tensor([lesson.reward for lesson in lessons])).tolist()
    whole = [
        Assignment(lesson, distil, share * score * advantage, distillation.kl_to_base * score)
        for lesson, distil, score, advantage in zip(lessons, taught, scored, advantages, strict=True)
    ]
    moving = any(a.distil or a.policy for a in whole)
    return [a for a in whole if moving and (a.distil or a.policy or a.stay)]


@dataclass(frozen=True, slots=True)
class Rows:
    """Completion tokens of some assignments: the packed row that predicts each, and what belongs to the token.

    All are (tokens,): `at` and `token_ids` integers, the weights and log-probabilities (nats) float64.
    """

    at: Tensor
    token_ids: Tensor
    sampler_logprobs: Tensor
    distil: Tensor
    policy: Tensor
    stay: Tensor
    by_student: Tensor  # whether the sampler read what the student reads

    @classmethod
    def of(cls, forest: Forest, numbered: Sequence[tuple[int, Assignment]], device: torch.device) -> Rows:
        """Of assignments that are sequences of `forest` under the given numbers."""
        lengths = [len(a.lesson.completion_ids) for _, a in numbered]
        ends = [forest.rows(index)[-length:] for (index, _), length in zip(numbered, lengths, strict=True)]

        def spread(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float64).repeat_interleave(torch.tensor(lengths)).to(device)

        return cls(
            at=torch.tensor([row for end in ends for row in end], device=device),
            token_ids=torch.tensor([token for _, a in numbered for token in a.lesson.completion_ids], device=device),
            sampler_logprobs=torch.tensor(
                [value for _, a in numbered for value in a.lesson.sampler_logprobs], dtype=torch.float64, device=device
            ),
            distil=spread([a.distil for _, a in numbered]),
            policy=spread([a.policy for _, a in numbered]),
            stay=spread([a.stay for _, a in numbered]),
            by_student=spread([float(a.lesson.role == "student") for _, a in numbered]).bool(),
        )


def joined(prompt: Tokens, completion: Tokens) -> Tokens:
    """What has to be read to predict every token of the completion: all but its last one."""
    return (*prompt, *completion[:-1])


def student_reading(lesson: Example) -> Tokens:
    """What the student reads of a lesson: the question and the completion."""
    return joined(lesson.prompt_ids, lesson.completion_ids)


def teacher_reading(lesson: Example) -> Tokens:
    """What the teacher reads of a lesson: the reprompt and the completion."""
    assert lesson.reprompt_ids is not None, "only lessons with a reprompt are distilled"
    return joined(lesson.reprompt_ids, lesson.completion_ids)


def _token_weights(lengths: Sequence[int], mode: losses.Aggregation, share: float) -> list[float]:
    """Each sequence's weight per token; 0 for sequences of length 0. All modes weigh a sequence's tokens alike."""
    mask = torch.arange(max(lengths, default=0) or 1) < torch.tensor(lengths).reshape(-1, 1)
    return (share * losses.aggregation_weights(mask, mode)[:, 0]).tolist()
