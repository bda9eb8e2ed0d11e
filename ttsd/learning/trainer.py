"""The learner: one frozen base, and for each question on it a student adapter, its teacher and its optimizer.

A step reads every lesson twice: the student reads question + completion with gradient, the teacher reads reprompt +
completion without. Both rows are packed so that shared prompts are computed once (`packing`), only completion tokens
meet the vocabulary (`losses.chunked_rows`), and micro-batches of a token budget add up to exactly the same step.

Teachers (`teacher.teacher_regularization`), all reading the reprompt:
- `ema`: the student's weights averaged with rate `teacher_update_rate`.
- `trust-region`: the normalised geometric mean base^(1 - rate) x student^rate, that is, logits interpolated.
- `frozen`: the base. `live`: the student of this moment.

The batch is used for one update, so the ratio that `is_clip` caps is exactly 1 and the cap has no effect here; what
differs between sampler and trainer is mended by `rollout_is` weights. Not here: sampling, judging, writing prompts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch  # noqa: TID253
from torch import Tensor  # noqa: TID253

from ttsd import losses
from ttsd.backbone import Base, load_base
from ttsd.backbone.lora import Adapter, LoraShape
from ttsd.backbone.packing import Forest, Tokens, batches, pack
from ttsd.config import Config
from ttsd.errors import InfrastructureError
from ttsd.learning.learner_state import Question
from ttsd.nouns import Lesson

Metrics = dict[str, float]

_FLOAT16_SCALE = 4096.0  # lifts float16 gradients of token means over what that format rounds to nothing
_KL_PROBE = 2  # completions of a step on which the distance to the base is measured


@dataclass(frozen=True, slots=True)
class Assignment:
    """A lesson and the weight of each of its tokens in the three parts of the loss."""

    lesson: Lesson
    distil: float  # times the divergence from the teacher
    policy: float  # times the score: GRPO's advantage is in it
    stay: float  # times the distance to the base


@dataclass(frozen=True, slots=True)
class Rows:
    """Completion tokens of some assignments: the packed row that predicts each, and what belongs to the token."""

    at: Tensor
    token_ids: Tensor
    sampler_logprobs: Tensor
    distil: Tensor
    policy: Tensor
    stay: Tensor
    by_student: Tensor  # whether the sampler read what the student reads


@dataclass(slots=True)
class Health:
    """Per-token findings of a step, gathered chunk by chunk: of the distilled tokens, if there are any (`distils`)."""

    distils: bool = True
    divergence: list[Tensor] = field(default_factory=list)
    entropy: list[Tensor] = field(default_factory=list)
    student: list[Tensor] = field(default_factory=list)
    teacher: list[Tensor] = field(default_factory=list)
    sampler: list[Tensor] = field(default_factory=list)
    by_student: list[Tensor] = field(default_factory=list)
    tokens: dict[str, int] = field(default_factory=lambda: {"student": 0, "teacher": 0})


class Trainer:
    """Many questions on one base. Calls come from one thread at a time; the base's lock guards against a sampler."""

    def __init__(self, model_path: str, config: Config) -> None:
        self._config = config
        model, lora, distillation = config.model, config.lora, config.distillation
        self.base: Base = load_base(
            model_path,
            dtype=model.dtype,
            device=model.device,
            quantize=model.quantize_base,
            gradient_checkpointing=distillation.gradient_checkpointing,
        )
        targets = lora.target_modules
        self.base.wire(LoraShape(lora.rank, lora.alpha, targets if isinstance(targets, str) else tuple(targets)))
        self._questions: dict[str, Question] = {}
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
        self._questions[name] = Question.fresh(self.base, seed, averaged=averaged)

    def perturb(self, name: str, seed: int, scale: float) -> None:
        """Adds noise of standard deviation `scale` to every weight of the student: a scratch adapter to be seen."""
        values = self._questions[name].student.values
        noise = torch.randn(values.shape, generator=torch.Generator().manual_seed(seed))
        values.add_(noise.to(values.device), alpha=scale)

    def drop(self, name: str) -> None:
        """Forgets the question; unknown names are none."""
        self._questions.pop(name, None)

    def step(self, name: str, lessons: Sequence[Lesson], method: Literal["sdpo", "grpo"] = "sdpo") -> Metrics:
        """One gradient step of question `name`, and its metrics. `updated` is 0 where nothing could be learnt.

        Lessons without a reprompt are not distilled. If no lesson has one (and rewards, where they count, are all
        equal), weights, optimizer and teacher stay as they are.
        """
        question = self._questions[name]
        assignments = self._assign(lessons, method)
        health = Health(any(a.distil for a in assignments))
        loss = self._gather(question, assignments, health)
        distance = self._distance_to_base(assignments, health)
        norm = question.learn(self._config.lora, self._config.teacher.teacher_update_rate) if assignments else 0.0
        finite = math.isfinite(norm)
        return {
            "updated": float(bool(assignments) and finite),
            "loss": loss,
            "grad_norm": norm if finite else 0.0,
            "grad_finite": float(finite),
            "kl/base": distance,
            **self._findings(health),
        }

    def logprobs(self, name: str | None, prompt_ids: Tokens, completion_ids: Tokens) -> list[float]:
        """Log-probability of each completion token under the student of `name`, or (None) under the base."""
        adapter = None if name is None else self._questions[name].student
        with self.base.lending(adapter), torch.no_grad():
            return self._sampled_logprobs([(tuple(prompt_ids), tuple(completion_ids))]).tolist()

    def per_token(self, name: str, lesson: Lesson) -> tuple[list[float], list[float]]:
        """Student's and teacher's log-probabilities of the lesson's tokens; the teacher's list is empty without one."""
        student = self.logprobs(name, lesson.prompt_ids, lesson.completion_ids)
        if lesson.reprompt_ids is None:
            return student, []
        with self.base.lock, torch.no_grad():
            logits = self._teacher_logits(self._questions[name], [lesson], Health())(slice(None))
            ids = torch.tensor(lesson.completion_ids, device=logits.device)
            return student, losses.log_probs_at(logits, ids[:, None])[:, 0].tolist()

    def export(self, name: str, folder: Path) -> None:
        """Writes the student as a PEFT folder, atomically."""
        self.base.export(self._questions[name].student, folder)

    def save(self, name: str, folder: Path) -> None:
        """Writes all that later steps depend on into `folder`, atomically. The loss draws no random numbers."""
        self._questions[name].save(folder, self._facts())

    def load(self, name: str, folder: Path) -> None:
        """Goes on from `save`, bit for bit. UserError: the state belongs to other LoRA or teacher settings."""
        self._questions[name] = Question.load(self.base, folder, self._facts())

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

    def _assign(self, lessons: Sequence[Lesson], method: str) -> list[Assignment]:
        """The lessons that move the student, each with its weights; empty where none does."""
        lessons = [lesson for lesson in lessons if lesson.completion_ids]
        distillation = self._config.distillation
        share = 1.0 if method == "grpo" else distillation.grpo_weight
        mode = distillation.loss_agg_mode
        taught = _token_weights(
            [len(lesson.completion_ids) if lesson.reprompt_ids else 0 for lesson in lessons], mode, 1 - share
        )
        scored = _token_weights([len(lesson.completion_ids) for lesson in lessons], mode, 1.0)
        advantages = losses.group_advantages(torch.tensor([lesson.reward for lesson in lessons])).tolist()
        whole = [
            Assignment(lesson, distil, share * score * advantage, distillation.kl_to_base * score)
            for lesson, distil, score, advantage in zip(lessons, taught, scored, advantages, strict=True)
        ]
        moving = any(a.distil or a.policy for a in whole)
        return [a for a in whole if moving and (a.distil or a.policy or a.stay)]

    def _gather(self, question: Question, assignments: Sequence[Assignment], health: Health) -> float:
        """The student's gradient, from zero, micro-batch by micro-batch; the loss."""
        budget, gradient = self._config.distillation.token_budget, question.student.gradient.zero_()
        try:
            parts = batches([_read(a.lesson) for a in assignments], budget)
            loss = sum(self._accumulate(question, assignments[part.start : part.stop], health) for part in parts)
        except torch.OutOfMemoryError as error:
            raise InfrastructureError(
                f"the GPU's memory is too small for a micro-batch of {budget} tokens; lower distillation.token_budget "
                "or model.gpu_memory_utilization, or use distillation.gradient_checkpointing=true"
            ) from error
        gradient.div_(self._scale)
        return loss / self._scale

    def _accumulate(self, question: Question, part: Sequence[Assignment], health: Health) -> float:
        """Adds the gradient of some assignments to the student's; their share of the loss."""
        taught = [a for a in part if a.distil]
        with self.base.lock:
            teacher = self._teacher_logits(question, [a.lesson for a in taught], health) if taught else None
            reference = self._base_logprobs(part) if any(a.stay for a in part) else None
            with self.base.lending(question.student):
                forest = pack([_read(a.lesson) for a in part])
                hidden = self.base.hidden(forest)
                health.tokens["student"] += forest.size
                loss = hidden.new_zeros((), dtype=torch.float32)
                if teacher is not None:
                    rows = self._rows(forest, [(at, a) for at, a in enumerate(part) if a.distil])
                    loss = loss + self._sum(hidden, rows, self._distillation(rows, teacher, health))
                if any(a.policy or a.stay for a in part):
                    rows = self._rows(forest, list(enumerate(part)))
                    loss = loss + self._sum(hidden, rows, self._policy(rows, reference, health))
                torch.autograd.backward(loss)
        return float(loss.detach())

    def _sum(self, hidden: Tensor, rows: Rows, row_loss: losses.RowLoss) -> Tensor:
        chunk = self._config.distillation.chunk_tokens
        return losses.chunked_rows(
            hidden, rows.at, self.base.head, lambda logits, part: row_loss(logits, part) * self._scale, chunk
        )

    def _distillation(self, rows: Rows, teacher: Callable[[slice], Tensor], health: Health) -> losses.RowLoss:
        def row_loss(logits: Tensor, part: slice) -> Tensor:
            logits = self._tempered(logits)
            value, student, taught = losses.token_divergence(
                logits, teacher(part), rows.token_ids[part], self._divergence
            )
            health.divergence.append((student - taught if self._divergence.sampled_token else value).detach())
            health.teacher.append(taught)
            self._note(health, logits, student, rows, part)
            return value * rows.distil[part] * self._importance(student, rows.sampler_logprobs[part])

        return row_loss

    def _policy(self, rows: Rows, reference: Tensor | None, health: Health) -> losses.RowLoss:
        """GRPO's score and the pull towards the base (`reference`: its log-probabilities)."""

        def row_loss(logits: Tensor, part: slice) -> Tensor:
            logits = self._tempered(logits)
            student = losses.log_probs_at(logits, rows.token_ids[part, None])[:, 0]
            if not health.distils:
                self._note(health, logits, student, rows, part)
            score = losses.policy_gradient(student, rows.policy[part])
            value = score * self._importance(student, rows.sampler_logprobs[part])
            return value if reference is None else value + rows.stay[part] * losses.kl_to_base(student, reference[part])

        return row_loss

    def _note(self, health: Health, logits: Tensor, student: Tensor, rows: Rows, part: slice) -> None:
        health.entropy.append(losses.entropy(logits))
        health.student.append(student.detach())
        health.sampler.append(rows.sampler_logprobs[part])
        health.by_student.append(rows.by_student[part])

    def _importance(self, student: Tensor, sampler: Tensor) -> Tensor:
        if self._config.distillation.rollout_is == "none":
            return torch.ones_like(sampler)
        return losses.importance_weights(student, sampler, self._config.distillation.rollout_is_threshold)

    def _tempered(self, logits: Tensor) -> Tensor:
        """The distribution that is sampled from, so the one that is compared and trained."""
        temperature = self._config.sampling.temperature
        return logits if temperature == 1.0 else logits / temperature

    def _teacher_logits(
        self, question: Question, lessons: Sequence[Lesson], health: Health
    ) -> Callable[[slice], Tensor]:
        """The teacher's logits of the lessons' tokens, by slice; only hidden states are kept."""
        readings = [(_read(lesson, lesson.reprompt_ids), len(lesson.completion_ids)) for lesson in lessons]
        mixture = [
            (share, self._hidden(adapter, readings, health), losses.Projection(self.base.head))
            for adapter, share in self._teachers(question)
        ]

        def logits(part: slice) -> Tensor:
            return self._tempered(_mixed([(share, project(hidden[part])) for share, hidden, project in mixture]))

        return logits

    def _teachers(self, question: Question) -> list[tuple[Adapter | None, float]]:
        """Adapters (None: the base) whose logits make up the teacher's, with their shares."""
        settings = self._config.teacher
        match settings.teacher_regularization:
            case "ema":
                return [(question.teacher, 1.0)]
            case "live":
                return [(question.student, 1.0)]
            case "frozen":
                return [(None, 1.0)]
            case "trust-region":
                rate = settings.teacher_update_rate
                return [(None, 1 - rate), (question.student, rate)]

    @torch.no_grad()
    def _hidden(self, adapter: Adapter | None, readings: Sequence[tuple[Tokens, int]], health: Health) -> Tensor:
        """Hidden states (tokens, hidden) that predict the last tokens of each reading: (tokens read, how many)."""
        sequences = [tokens for tokens, _ in readings]
        found = []
        with self.base.lending(adapter):
            for batch in batches(sequences, self._config.distillation.token_budget):
                forest = pack(sequences[batch.start : batch.stop])
                health.tokens["teacher"] += forest.size
                at = [row for here, index in enumerate(batch) for row in forest.rows(here)[-readings[index][1] :]]
                found.append(self.base.hidden(forest)[torch.tensor(at, device=self.base.device)])
        return torch.cat(found)

    @torch.no_grad()
    def _base_logprobs(self, part: Sequence[Assignment]) -> Tensor:
        with self.base.lending(None):
            return self._sampled_logprobs([(a.lesson.prompt_ids, a.lesson.completion_ids) for a in part])

    def _sampled_logprobs(self, readings: Sequence[tuple[Tokens, Tokens]]) -> Tensor:
        """Log-probabilities of completions under the weights that are lent now: (prompt, completion) -> all tokens."""
        forest = pack([_joined(prompt, completion) for prompt, completion in readings])
        at = [row for index, (_, tokens) in enumerate(readings) for row in forest.rows(index)[-len(tokens) :]]
        ids = torch.tensor([token for _, tokens in readings for token in tokens], device=self.base.device)
        hidden = self.base.hidden(forest)[torch.tensor(at, device=self.base.device)]
        project, chunk = losses.Projection(self.base.head), self._config.distillation.chunk_tokens
        parts = zip(torch.split(hidden, chunk), torch.split(ids[:, None], chunk), strict=True)
        return torch.cat([losses.log_probs_at(self._tempered(project(states)), own)[:, 0] for states, own in parts])

    def _rows(self, forest: Forest, numbered: Sequence[tuple[int, Assignment]]) -> Rows:
        """The completion tokens of assignments that are sequences of `forest` under the given numbers."""
        lengths = [len(a.lesson.completion_ids) for _, a in numbered]

        def spread(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float64).repeat_interleave(torch.tensor(lengths)).to(device)

        device = self.base.device
        ends = [forest.rows(index)[-length:] for (index, _), length in zip(numbered, lengths, strict=True)]
        return Rows(
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

    def _distance_to_base(self, assignments: Sequence[Assignment], health: Health) -> float:
        """KL to the base in nats per token, estimated on the first completions of the step."""
        probe = [a for a in assignments if a.distil or not health.distils][:_KL_PROBE]
        if not probe:
            return 0.0
        base = self._base_logprobs(probe)
        student = torch.cat(health.student)[: len(base)]
        return float(losses.kl_to_base(student, base).mean())

    def _findings(self, health: Health) -> Metrics:
        tokens = {f"tokens/{who}": float(count) for who, count in health.tokens.items()}
        if not health.student:
            return {"tokens": 0.0, **tokens}
        student, sampler = torch.cat(health.student), torch.cat(health.sampler)
        ratio = student - sampler
        own = ratio[torch.cat(health.by_student)].abs()
        clipped = ratio > math.log(self._config.distillation.rollout_is_threshold)
        findings = {
            "tokens": float(len(student)),
            "entropy": float(torch.cat(health.entropy).mean()),
            "tis_clip_fraction": float(clipped.double().mean()),
        }
        if len(own):  # tokens drawn under a reprompt differ by what was read, which says nothing of the sampler
            findings |= {"logprob_gap/mean": float(own.mean()), "logprob_gap/max": float(own.max())}
        if health.teacher:
            findings["kl/teacher"] = float(torch.cat(health.divergence).mean())
            findings["teacher_advantage"] = float((torch.cat(health.teacher) - student).mean())
        return findings | tokens


def _joined(prompt: Tokens, completion: Tokens) -> Tokens:
    """What has to be read to predict every token of the completion: all but its last one."""
    return (*prompt, *completion[:-1])


def _read(lesson: Lesson, prompt: Tokens | None = None) -> Tokens:
    return _joined(lesson.prompt_ids if prompt is None else prompt, lesson.completion_ids)


def _token_weights(lengths: Sequence[int], mode: losses.Aggregation, share: float) -> list[float]:
    """Each sequence's weight per token; 0 for sequences of length 0. All modes weigh a sequence's tokens alike."""
    mask = torch.arange(max(lengths, default=0) or 1) < torch.tensor(lengths).reshape(-1, 1)
    return (share * losses.aggregation_weights(mask, mode)[:, 0]).tolist()


def _mixed(parts: Sequence[tuple[float, Tensor]]) -> Tensor:
    if len(parts) == 1:
        return parts[0][1]
    return torch.stack([share * logits for share, logits in parts]).sum(dim=0)
