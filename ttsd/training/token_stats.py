"""What a step finds out about its tokens, gathered chunk by chunk, and the metrics that it comes to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch  # noqa: TID253
from torch import Tensor  # noqa: TID253

from ttsd.training import losses


@dataclass(slots=True)
class TokenStats:
    """Values per token of a step: of its distilled tokens, or of all where none is distilled (`distils` False).

    Each list holds tensors (tokens of a chunk,), in nats but for `by_student`: whether the sampler read what the
    student reads. `read` counts the tokens that went through the layers, by role.
    """

    distils: bool = True
    divergence: list[Tensor] = field(default_factory=list)
    entropy: list[Tensor] = field(default_factory=list)
    student: list[Tensor] = field(default_factory=list)
    teacher: list[Tensor] = field(default_factory=list)
    sampler: list[Tensor] = field(default_factory=list)
    by_student: list[Tensor] = field(default_factory=list)
    read: dict[str, int] = field(default_factory=lambda: {"student": 0, "teacher": 0})

    def note(self, logits: Tensor, student: Tensor, sampler: Tensor, by_student: Tensor) -> None:
        """Takes down a chunk: the student's `logits` (n, vocab) and log-probabilities, and the sampler's, (n,)."""
        self.entropy.append(losses.entropy(logits))
        self.student.append(student.detach())
        self.sampler.append(sampler)
        self.by_student.append(by_student)

    def gains(self, lengths: Mapping[int, int]) -> dict[int, list[float]]:
        """Teacher minus student of each token, of distilled attempts with these numbers of tokens, in order."""
        if not self.teacher:
            return {}
        parts = torch.split(torch.cat(self.teacher) - torch.cat(self.student), list(lengths.values()))
        return {attempt: part.tolist() for attempt, part in zip(lengths, parts, strict=True)}

    def metrics(self, clip_threshold: float) -> dict[str, float]:
        """Means over the step's tokens. `clip_threshold`: the cap on the ratio of trainer to sampler probability."""
        read = {f"tokens/{who}": float(count) for who, count in self.read.items()}
        if not self.student:
            return {"tokens": 0.0, **read}
        student = torch.cat(self.student)
        ratio = student - torch.cat(self.sampler)
        found = {
            "tokens": float(len(student)),
            "entropy": float(torch.cat(self.entropy).mean()),
            "tis_clip_fraction": float((ratio > math.log(clip_threshold)).double().mean()),
        }
        own = ratio[torch.cat(self.by_student)].abs()
        if len(own):  # tokens drawn under a reprompt differ by what was read, which says nothing of the sampler
            found |= {"logprob_gap/mean": float(own.mean()), "logprob_gap/max": float(own.max())}
        if self.teacher:
            found["kl/teacher"] = float(torch.cat(self.divergence).mean())
            found["teacher_advantage"] = float((torch.cat(self.teacher) - student).mean())
        return found | read
