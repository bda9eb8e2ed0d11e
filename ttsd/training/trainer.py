"""The learner: one frozen base, and for each question on it a student adapter, its teacher and its optimizer.

A step reads every lesson twice: the student reads question + completion with gradient, the teacher reads reprompt +
completion without. Both rows are packed so that shared prompts are computed once (`packing`), only completion tokens
meet the vocabulary (`losses.chunked_rows`), and micro-batches of a token budget add up to exactly the same step.

Teachers (`teacher.teacher_regularization`), all reading the reprompt:
- `ema`: the student's weights averaged with rate `teacher_update_rate`.
- `trust-region`: the normalised geometric mean base^(1 - rate) x student^rate, that is, logits interpolated.
- `frozen`: the base. `live`: the student of this moment.

A batch is used for one update, so no ratio of new to old policy needs a cap; `rollout_is` weights correct for what
differs between sampler and trainer. Not here: sampling, judging, writing prompts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch  # noqa: TID253
from torch import Tensor  # noqa: TID253

from ttsd.backbone import Base, load_base
from ttsd.backbone.lora import Adapter, LoraShape
from ttsd.backbone.packing import Tokens, batches, pack
from ttsd.config import Config
from ttsd.errors import InfrastructureError
from ttsd.nouns import Example
from ttsd.training import losses
from ttsd.training.state import LearnerState, Snapshot
from ttsd.training.token_stats import TokenStats
from ttsd.training.token_weights import Assignment, Rows, assign, joined, student_reading, teacher_reading

Metrics = dict[str, float]

_FLOAT16_SCALE = 4096.0  # lifts float16 gradients of token means over what that format rounds to nothing
_KL_PROBE = 2  # completions of a step on which the distance to the base is measured


class Trainer:
    """Many questions on one base. Calls come from one thread at a time; the base's lock guards against a sampler."""

    def __init__(self, model_path: str, config: Config, *, threads: int | None = None) -> None:
        """`threads`: of a CPU; None: half of the cores."""
        self._config = config
        model, lora, distillation = config.model, config.lora, config.distillation
        self.base: Base = load_base(
            model_path,
            dtype=model.dtype,
            device=model.trainer_card,
            quantize=model.quantize_base,
            gradient_checkpointing=distillation.gradient_checkpointing,
            threads=threads,
        )
        self.base.wire(LoraShape.of(lora.rank, lora.alpha, lora.target_modules))
        self._learners: dict[str, LearnerState] = {}
        self._scale = _FLOAT16_SCALE if self.base.dtype == torch.float16 else 1.0
        self._divergence = losses.Divergence(
            distillation.alpha,
            distillation.distillation_topk,
            distillation.distillation_add_tail,
            distillation.log_ratio_clip,
            sampled_token=not distillation.full_logit_distillation,
        )

    def create(self, name: str, seed: int) -> None:
        """A fresh adapter (A drawn from `seed`, B zero) that changes nothing yet."""
        averaged = self._config.teacher.teacher_regularization == "ema"
        self._learners[name] = LearnerState.fresh(self.base, seed, averaged=averaged)

    def perturb(self, name: str, seed: int, scale: float) -> None:
        """Adds noise of standard deviation `scale` to every weight of the student: a scratch adapter to be seen."""
        values = self._learners[name].student.values
        noise = torch.randn(values.shape, generator=torch.Generator().manual_seed(seed))
        values.add_(noise.to(values.device), alpha=scale)

    def drop(self, name: str) -> None:
        """Discards what is kept of question `name`; an unknown name changes nothing."""
        self._learners.pop(name, None)

    def step(self, name: str, lessons: Sequence[Example], *, rewards_only: bool = False) -> Metrics:
        """One gradient step of question `name`, and its metrics. `updated` is 0 where nothing could be learnt.

        `rewards_only`: GRPO's gradient alone, whatever `grpo_weight` says; no teacher reads anything.

        Lessons without a reprompt are not distilled. If no lesson has one (and rewards, where they count, are all
        equal), weights, optimizer and teacher stay as they are.
        """
        learner = self._learners[name]
        assignments = assign(lessons, self._config.distillation, grpo=rewards_only)
        stats = TokenStats(any(a.distil for a in assignments))
        loss = self._gather(learner, assignments, stats)
        distance = self._distance_to_base(assignments, stats)
        norm = learner.learn(self._config.lora, self._config.teacher.teacher_update_rate) if assignments else 0.0
        finite = math.isfinite(norm)
        learner.gains = stats.gains({a.lesson.attempt: len(a.lesson.completion_ids) for a in assignments if a.distil})
        return {
            "updated": float(bool(assignments) and finite),
            "loss": loss,
            "grad_norm": norm if finite else 0.0,
            "grad_finite": float(finite),
            "kl/base": distance,
            **stats.metrics(self._config.distillation.rollout_is_threshold),
        }

    def logprobs(self, name: str | None, prompt_ids: Tokens, completion_ids: Tokens) -> list[float]:
        """Log-probability of each completion token under the student of `name`, or (None) under the base."""
        adapter = None if name is None else self._learners[name].student
        with self.base.lending(adapter), torch.no_grad():
            return self._sampled_logprobs([(tuple(prompt_ids), tuple(completion_ids))]).tolist()

    def per_token(self, name: str, lesson: Example) -> tuple[list[float], list[float]]:
        """Student's and teacher's log-probabilities of the lesson's tokens; the teacher's list is empty without one."""
        student = self.logprobs(name, lesson.prompt_ids, lesson.completion_ids)
        if lesson.reprompt_ids is None:
            return student, []
        with self.base.lock, torch.no_grad():
            logits = self._teacher_logits(self._learners[name], [lesson], TokenStats())(slice(None))
            ids = torch.tensor(lesson.completion_ids, device=logits.device)
            return student, losses.log_probs_at(logits, ids[:, None])[:, 0].tolist()

    def export(self, name: str, folder: Path) -> None:
        """Writes the student as a PEFT folder, atomically."""
        self.base.export(self._learners[name].student, folder)

    def snapshot(self, name: str) -> Snapshot:
        """A copy of all that later steps depend on. The loss draws no random numbers."""
        return self._learners[name].snapshot(self._facts())

    def load(self, name: str, folder: Path) -> None:
        """Resumes from a written snapshot, bit for bit. UserError: it belongs to other LoRA or teacher settings."""
        self._learners[name] = LearnerState.load(self.base, folder, self._facts())

    def _facts(self) -> dict[str, object]:
        """What a saved state must agree on."""
        lora = self._config.lora
        return {
            "rank": lora.rank,
            "alpha": lora.alpha,
            "target_modules": lora.target_modules,
            "numbers": self.base.adapter_size,
            "teacher_regularization": self._config.teacher.teacher_regularization,
        }

    def _gather(self, learner: LearnerState, assignments: Sequence[Assignment], stats: TokenStats) -> float:
        """The student's gradient, from zero, micro-batch by micro-batch; the loss."""
        budget, gradient = self._config.distillation.token_budget, learner.student.gradient.zero_()
        try:
            parts = batches([student_reading(a.lesson) for a in assignments], budget)
            loss = sum(self._accumulate(learner, assignments[part.start : part.stop], stats) for part in parts)
        except torch.OutOfMemoryError as error:
            raise InfrastructureError(
                f"the GPU's memory is too small for a micro-batch of {budget} tokens; lower distillation.token_budget "
                "or model.gpu_memory_utilization, or use distillation.gradient_checkpointing=true"
            ) from error
        gradient.div_(self._scale)
        return loss / self._scale

    def _accumulate(self, learner: LearnerState, part: Sequence[Assignment], stats: TokenStats) -> float:
        """Adds the gradient of some assignments to the student's; their share of the loss."""
        taught = [a for a in part if a.distil]
        with self.base.lock:
            teacher = self._teacher_logits(learner, [a.lesson for a in taught], stats) if taught else None
            reference = self._base_logprobs(part) if any(a.stay for a in part) else None
            forest = pack([student_reading(a.lesson) for a in part])
            keeps = min(1.0, self._config.distillation.checkpoint_over / forest.size)
            with self.base.lending(learner.student, learns=True, keeps=keeps):
                hidden = self.base.hidden(forest)
                stats.read["student"] += forest.size
                loss = hidden.new_zeros((), dtype=torch.float32)
                if teacher is not None:
                    rows = Rows.of(forest, [(at, a) for at, a in enumerate(part) if a.distil], self.base.device)
                    loss = loss + self._sum(hidden, rows, self._distillation(rows, teacher, stats))
                if any(a.policy or a.stay for a in part):
                    rows = Rows.of(forest, list(enumerate(part)), self.base.device)
                    loss = loss + self._sum(hidden, rows, self._policy(rows, reference, stats))
                torch.autograd.backward(loss)
        return float(loss.detach())

    def _sum(self, hidden: Tensor, rows: Rows, row_loss: losses.RowLoss) -> Tensor:
        chunk = self._config.distillation.chunk_tokens
        return losses.chunked_rows(
            hidden, rows.at, self.base.head, lambda logits, part: row_loss(logits, part) * self._scale, chunk
        )

    def _distillation(self, rows: Rows, teacher: Callable[[slice], Tensor], stats: TokenStats) -> losses.RowLoss:
        def row_loss(logits: Tensor, part: slice) -> Tensor:
            logits = self._tempered(logits)
            value, student, taught = losses.token_divergence(
                logits, teacher(part), rows.token_ids[part], self._divergence
            )
            stats.divergence.append((student - taught if self._divergence.sampled_token else value).detach())
            stats.teacher.append(taught)
            stats.note(logits, student, rows.sampler_logprobs[part], rows.by_student[part])
            return value * rows.distil[part] * self._importance(student, rows.sampler_logprobs[part])

        return row_loss

    def _policy(self, rows: Rows, reference: Tensor | None, stats: TokenStats) -> losses.RowLoss:
        """GRPO's score and the pull towards the base (`reference`: its log-probabilities)."""

        def row_loss(logits: Tensor, part: slice) -> Tensor:
            logits = self._tempered(logits)
            student = losses.log_probs_at(logits, rows.token_ids[part, None])[:, 0]
            if not stats.distils:
                stats.note(logits, student, rows.sampler_logprobs[part], rows.by_student[part])
            score = losses.policy_gradient(student, rows.policy[part])
            value = score * self._importance(student, rows.sampler_logprobs[part])
            return value if reference is None else value + rows.stay[part] * losses.kl_to_base(student, reference[part])

        return row_loss

    def _importance(self, student: Tensor, sampler: Tensor) -> Tensor:
        if self._config.distillation.rollout_is == "none":
            return torch.ones_like(sampler)
        return losses.importance_weights(student, sampler, self._config.distillation.rollout_is_threshold)

    def _tempered(self, logits: Tensor) -> Tensor:
        """The distribution that is sampled from, so the one that is compared and trained."""
        temperature = self._config.sampling.temperature
        return logits if temperature == 1.0 else logits / temperature

    def _teacher_logits(
        self, learner: LearnerState, lessons: Sequence[Example], stats: TokenStats
    ) -> Callable[[slice], Tensor]:
        """The teacher's logits of the lessons' tokens, by slice; only hidden states are kept."""
        readings = [(teacher_reading(lesson), len(lesson.completion_ids)) for lesson in lessons]
        mixture = [
            (share, self._hidden(adapter, readings, stats), losses.Projection(self.base.head))
            for adapter, share in self._teachers(learner)
        ]

        def logits(part: slice) -> Tensor:
            return self._tempered(_mixed([(share, project(hidden[part])) for share, hidden, project in mixture]))

        return logits

    def _teachers(self, learner: LearnerState) -> list[tuple[Adapter | None, float]]:
        """Adapters (None: the base) whose logits make up the teacher's, with their shares."""
        settings = self._config.teacher
        match settings.teacher_regularization:
            case "ema":
                return [(learner.teacher, 1.0)]
            case "live":
                return [(learner.student, 1.0)]
            case "frozen":
                return [(None, 1.0)]
            case "trust-region":
                rate = settings.teacher_update_rate
                return [(None, 1 - rate), (learner.student, rate)]

    @torch.no_grad()
    def _hidden(self, adapter: Adapter | None, readings: Sequence[tuple[Tokens, int]], stats: TokenStats) -> Tensor:
        """Hidden states (tokens, hidden) that predict the last tokens of each reading: (tokens read, how many)."""
        sequences = [tokens for tokens, _ in readings]
        found = []
        with self.base.lending(adapter):
            for batch in batches(sequences, self._config.distillation.token_budget):
                forest = pack(sequences[batch.start : batch.stop])
                stats.read["teacher"] += forest.size
                at = [row for here, index in enumerate(batch) for row in forest.rows(here)[-readings[index][1] :]]
                found.append(self.base.hidden(forest)[torch.tensor(at, device=self.base.device)])
        return torch.cat(found)

    @torch.no_grad()
    def _base_logprobs(self, part: Sequence[Assignment]) -> Tensor:
        with self.base.lending(None):
            return self._sampled_logprobs([(a.lesson.prompt_ids, a.lesson.completion_ids) for a in part])

    def _sampled_logprobs(self, readings: Sequence[tuple[Tokens, Tokens]]) -> Tensor:
        """Log-probabilities of completions under the weights that are lent now: (prompt, completion) -> all tokens."""
        forest = pack([joined(prompt, completion) for prompt, completion in readings])
        at = [row for index, (_, tokens) in enumerate(readings) for row in forest.rows(index)[-len(tokens) :]]
        ids = torch.tensor([token for _, tokens in readings for token in tokens], device=self.base.device)
        hidden = self.base.hidden(forest)[torch.tensor(at, device=self.base.device)]
        project, chunk = losses.Projection(self.base.head), self._config.distillation.chunk_tokens
        parts = zip(torch.split(hidden, chunk), torch.split(ids[:, None], chunk), strict=True)
        return torch.cat([losses.log_probs_at(self._tempered(project(states)), own)[:, 0] for states, own in parts])

    def _distance_to_base(self, assignments: Sequence[Assignment], stats: TokenStats) -> float:
        """KL to the base in nats per token, estimated on the first completions of the step."""
        probe = [a for a in assignments if a.distil or not stats.distils][:_KL_PROBE]
        if not probe:
            return 0.0
        base = self._base_logprobs(probe)
        student = torch.cat(stats.student)[: len(base)]
        return float(losses.kl_to_base(student, base).mean())


def _mixed(parts: Sequence[tuple[float, Tensor]]) -> Tensor:
    if len(parts) == 1:
        return parts[0][1]
    return torch.stack([share * logits for share, logits in parts]).sum(dim=0)
