"""Statistics of the tokens of a step, gathered chunk by chunk, and the metrics made of them."""

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

    Each list holds tensors (tokens of a chunk,), in nats. `processed` counts the tokens that went through the layers,
    by role.
    """

    distils: bool = True
    divergence: list[Tensor] = field(default_factory=list)
    entropy: list[Tensor] = field(default_factory=list)
    student: list[Tensor] = field(default_factory=list)
    teacher: list[Tensor] = field(default_factory=list)
    sampler: list[Tensor] = field(default_factory=list)
    processed: dict[str, int] = field(default_factory=lambda: {"student": 0, "teacher": 0})

    def note(self, logits: Tensor, student: Tensor, sampler: Tensor) -> None:
        """Adds a chunk: the student's `logits` (n, vocab) and log-probabilities (n,), and the sampler's (n,)."""
        self.entropy.append(losses.entropy(logits))
        self.student.append(student.detach())
        self.sampler.append(sampler)

    def token_advantages(self, lengths: Mapping[int, int]) -> dict[int, list[float]]:
        """Returns teacher minus student of each token; `lengths`: tokens of the distilled attempts, in order."""
        if not self.teacher:
            return {}
        parts = torch.split(torch.cat(self.teacher) - torch.cat(self.student), list(lengths.values()))
        return {attempt: part.tolist() for attempt, part in zip(lengths, parts, strict=True)}

    def metrics(self, clip_threshold: float | None) -> dict[str, float]:
        """Returns means over the step's tokens. `clip_threshold`: cap on trainer's over sampler's probability."""
        processed = {f"tokens/{role}": float(count) for role, count in self.processed.items()}
        if not self.student:
            return {"tokens": 0.0, **processed}
        student = torch.cat(self.student)
        ratio = student - torch.cat(self.sampler)
        found = {
            "tokens": float(len(student)),
            "entropy": float(torch.cat(self.entropy).mean()),
            "logprob_gap/mean": float(ratio.abs().mean()),
            "logprob_gap/max": float(ratio.abs().max()),
        }
        if clip_threshold is not None:
            found["tis_clip_fraction"] = float((ratio > math.log(clip_threshold)).double().mean())
        if self.teacher:
            found["kl/teacher"] = float(torch.cat(self.divergence).mean())
            found["teacher_advantage"] = float((torch.cat(self.teacher) - student).mean())
        return found | processed
