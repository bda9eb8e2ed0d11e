"""What one question owns in training: student weights, optimizer moments, and the teacher's average.

Everything is float32, flat and in the same order, so an update, an average and a file are each a line or two.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch  # noqa: TID253
from torch import Tensor  # noqa: TID253

from ttsd.backbone import Base, replacing
from ttsd.backbone.lora import Adapter
from ttsd.config import Lora
from ttsd.errors import InfrastructureError, UserError
from ttsd.nouns import TokenAdvantages

Facts = Mapping[str, object]

GRAD_CLIP = 1.0  # the gradient's norm at most, as in table 12 of the paper
_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Holds a learner as it was at one moment, in main memory: it can be written while the learner goes on.

    `token_advantages` belong to the step that led here, and are no part of what is written.
    """

    tensors: Mapping[str, Tensor]
    facts: Facts
    token_advantages: TokenAdvantages

    def write(self, folder: Path) -> None:
        """Writes all of it into `folder`, atomically. InfrastructureError: the disk refuses."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        try:
            with replacing(folder) as draft:
                save_file(dict(self.tensors), draft / "state.safetensors")
                (draft / "state.json").write_text(json.dumps(self.facts), "utf-8")
        except (OSError, SafetensorError) as error:
            raise InfrastructureError(
                f"can't write the learner's state {folder} ({error}); free disk space or set store.state_dir, "
                "then resume with the same command"
            ) from None


@dataclass(slots=True)
class LearnerState:
    """Holds one question's weights: the student, its optimizer (AdamW) and the teacher.

    `teacher` is the student's moving average; None for teachers without weights of their own. The average begins as a
    copy of the student, A included: averaging two factors that both begin at zero would square the delay.
    `token_advantages` are those of the last step.
    """

    student: Adapter
    teacher: Adapter | None
    mean: Tensor
    square: Tensor
    updates: int = 0
    token_advantages: TokenAdvantages = field(default_factory=dict)

    @classmethod
    def fresh(cls, base: Base, seed: int, *, averaged: bool, start: Adapter | None = None) -> LearnerState:
        """Returns the state of a question that has learned nothing: the weights of `start`, None: the base's."""
        values = base.fresh_values(seed) if start is None else start.values.clone()
        moments = torch.zeros_like(values), torch.zeros_like(values)
        return cls._of(base, values, values.clone() if averaged else None, *moments)

    @classmethod
    def load(cls, base: Base, folder: Path, facts: Facts) -> LearnerState:
        """Reads what a snapshot wrote. UserError: it has other `facts`; InfrastructureError: it can't be read."""
        found, state = _read(folder, str(base.device))
        updates = found.pop("updates")
        if found != facts:
            raise UserError(
                f"the state in {str(folder)!r} was saved under {found}, not under {facts}; use the settings of its run"
            )
        learner = cls._of(base, state["student"], state.get("teacher"), state["mean"], state["square"])
        learner.updates = updates
        return learner

    def snapshot(self, facts: Facts) -> Snapshot:
        """Copies all of it. `facts`: what a later `load` must agree on."""
        state = {"student": self.student.values, "mean": self.mean, "square": self.square}
        if self.teacher is not None:
            state["teacher"] = self.teacher.values
        tensors = {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}
        return Snapshot(tensors, {"updates": self.updates, **facts}, self.token_advantages)

    @torch.no_grad()
    def learn(self, lora: Lora, teacher_rate: float) -> float:
        """Takes a step with the student's gradient, clipped, then moves the teacher; returns the norm before clipping.

        A norm that is not finite moves nothing.
        """
        gradient = self.student.gradient
        norm = float(gradient.norm())
        if math.isfinite(norm):
            gradient.mul_(min(1.0, GRAD_CLIP / (norm + 1e-6)))
            self.updates += 1
            self._adamw(gradient, lora.lr, lora.weight_decay)
            if self.teacher is not None:
                self.teacher.values.lerp_(self.student.values, teacher_rate)
        return norm

    def _adamw(self, gradient: Tensor, lr: float, weight_decay: float) -> None:
        slow, slower = _BETAS
        self.mean.lerp_(gradient, 1 - slow)
        self.square.lerp_(gradient.square(), 1 - slower)
        mean = self.mean / (1 - slow**self.updates)
        scale = (self.square / (1 - slower**self.updates)).sqrt_() + _EPSILON
        self.student.values.mul_(1 - lr * weight_decay).addcdiv_(mean, scale, value=-lr)

    @classmethod
    def _of(cls, base: Base, student: Tensor, teacher: Tensor | None, mean: Tensor, square: Tensor) -> LearnerState:
        averaged = None if teacher is None else Adapter(base.shapes, teacher)
        return cls(Adapter(base.shapes, student, trainable=True), averaged, mean, square)


def _read(folder: Path, device: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Returns the facts and the tensors of a saved state. InfrastructureError: they can't be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = json.loads((folder / "state.json").read_text("utf-8"))
        state = load_file(folder / "state.safetensors", device=device)
        if "updates" not in found or not {"student", "mean", "square"} <= set(state):
            raise ValueError("it is not complete")
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise InfrastructureError(
            f"can't read the saved state in {str(folder)!r} ({error}); restore that folder from a copy, or start "
            "another run with --fresh"
        ) from error
    return found, state
