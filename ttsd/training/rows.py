"""How much each token of a step's examples counts in the loss, and which row of a packed sequence predicts it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch  # noqa: TID253
from torch import Tensor  # noqa: TID253

from ttsd.backbone.packing import Forest, Tokens
from ttsd.nouns import Example
from ttsd.training import losses


@dataclass(frozen=True, slots=True)
class Weighted:
    """An example with the weight of each of its tokens in the two parts of the loss.

    `distil` multiplies the divergence from the teacher, `policy` the score (GRPO's advantage is in it).
    """

    example: Example
    distil: float
    policy: float

    @property
    def student_ids(self) -> Tokens:
        """Returns what the student reads to predict every token of the completion."""
        return joined(self.example.prompt_ids, self.example.completion_ids)

    @property
    def teacher_ids(self) -> Tokens:
        """Returns what the self-teacher reads to predict every token of the completion."""
        assert self.example.teacher is not None, "only examples with a teacher's prompt are distilled"
        return joined(self.example.teacher.token_ids, self.example.completion_ids)


def weighted(examples: Sequence[Example]) -> list[Weighted]:
    """Returns the examples that move the student, with their weights; empty where none does.

    Each part of the loss is a mean over its tokens (the paper's token-mean).
    """
    examples = [example for example in examples if example.completion_ids]
    distilled = sum(len(example.completion_ids) for example in examples if example.teacher is not None)
    rewarded = [example for example in examples if example.reward is not None]
    scored, policy = sum(len(example.completion_ids) for example in rewarded), dict[int, float]()
    for parent in {example.parent for example in rewarded}:
        siblings = [example for example in rewarded if example.parent == parent]
        rewards = torch.tensor([example.reward for example in siblings], dtype=torch.float64)
        advantages = losses.group_advantages(rewards).tolist()
        policy |= {example.attempt: value / scored for example, value in zip(siblings, advantages, strict=True)}
    found = [
        Weighted(example, 1 / distilled if example.teacher is not None else 0.0, policy.get(example.attempt, 0.0))
        for example in examples
    ]
    return [one for one in found if one.distil or one.policy]


@dataclass(frozen=True, slots=True)
class Rows:
    """Completion tokens of some examples: the packed row that predicts each, and what belongs to the token.

    All are (tokens,): `at` and `token_ids` integers, the weights and log-probabilities (nats) float64.
    """

    at: Tensor
    token_ids: Tensor
    sampler_logprobs: Tensor
    distil: Tensor
    policy: Tensor

    @classmethod
    def of(cls, forest: Forest, numbered: Sequence[tuple[int, Weighted]], device: torch.device) -> Rows:
        """Returns the rows of examples that are sequences of `forest` under the given numbers."""
        lengths = [len(one.example.completion_ids) for _, one in numbered]
        ends = [forest.rows(index)[-length:] for (index, _), length in zip(numbered, lengths, strict=True)]
        tokens = [token for _, one in numbered for token in one.example.completion_ids]
        logprobs = [value for _, one in numbered for value in one.example.sampler_logprobs]

        def spread(values: Sequence[float]) -> Tensor:
            each = [value for value, length in zip(values, lengths, strict=True) for _ in range(length)]
            return torch.tensor(each, dtype=torch.float64, device=device)

        return cls(
            at=torch.tensor([row for end in ends for row in end], device=device),
            token_ids=torch.tensor(tokens, device=device),
            sampler_logprobs=torch.tensor(logprobs, dtype=torch.float64, device=device),
            distil=spread([one.distil for _, one in numbered]),
            policy=spread([one.policy for _, one in numbered]),
        )


def joined(prompt: Tokens, completion: Tokens) -> Tokens:
    """Returns what has to be read to predict every token of the completion: all but its last one."""
    return (*prompt, *completion[:-1])
