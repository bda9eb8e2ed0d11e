"""The trainer: one frozen base, and for each question on it a student adapter, its teacher and its optimizer.

A step reads every example twice: the student its prompt + completion with gradient, the teacher its own prompt +
completion without. Both rows are packed so that shared prompts are computed once (`packing`), only completion tokens
are projected to the vocabulary (`losses.chunked_rows`), and micro-batches of a token budget add up to the same step.

Teachers (`teacher.teacher_regularization`), all with the same prompt:
- `ema`: the student's weights averaged with rate `teacher_update_rate`.
- `trust-region`: the normalised geometric mean reference^(1 - rate) x student^rate, that is, logits interpolated.
- `frozen`: the reference. `live`: the student of this moment.

The reference is what every question starts from: the base, with the adapter of `lora.init` where there is one.

A batch is used for one update, so no ratio of new to old policy needs a cap; importance weights correct for differences
between sampler and trainer. Not here: sampling, judging, writing prompts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import torch  # noqa: TID253
from torch import Tensor  # noqa: TID253

from ttsd.backbone import Base, load_base
from ttsd.backbone.lora import Adapter, LoraShape
from ttsd.backbone.packing import Tokens
from ttsd.config import Config
from ttsd.errors import InfrastructureError
from ttsd.nouns import Example
from ttsd.training import losses
from ttsd.training.logprobs import Logprobs, Pair
from ttsd.training.rows import Rows, Weighted, weighted
from ttsd.training.state import LearnerState, Snapshot
from ttsd.training.token_stats import TokenStats

Metrics = dict[str, float]

LOG_RATIO_CLIP = 5.0  # bound on |log teacher - log student| of an outcome, as in table 12 of the paper
_FLOAT16_SCALE = 4096.0  # lifts float16 gradients of token means over what that format rounds to nothing
_KL_PROBE = 2  # completions of a step on which the distance to the reference is measured


class Trainer:
    """Trains many questions on one base. Calls come from one thread at a time; the base's lock keeps a sampler out."""

    def __init__(self, model: str | Base, config: Config, *, threads: int | None = None) -> None:
        """Loads the base at the path `model`, or takes a loaded one. `threads`: of a CPU; None: half of the cores."""
        self._config = config
        self.base = model if isinstance(model, Base) else _load(model, config, threads)
        lora, distillation = config.lora, config.distillation
        self.base.wire(LoraShape(lora.rank, lora.alpha))
        self._learners: dict[str, LearnerState] = {}
        self._scale = _FLOAT16_SCALE if self.base.dtype == torch.float16 else 1.0
        self._logprobs = Logprobs(self.base, config)
        self._divergence = losses.Divergence(
            distillation.alpha, distillation.distillation_topk, log_ratio_clip=LOG_RATIO_CLIP
        )

    @cached_property
    def reference(self) -> Adapter | None:
        """Returns the adapter of `lora.init`; None: the base alone. UserError: it does not fit the base."""
        init = self._config.lora.init
        return None if init is None else self.base.load_adapter(Path(init))

    def create(self, name: str, seed: int) -> None:
        """Makes an adapter with the reference's weights; where that is the base, A is random from `seed`, B zero."""
        averaged = self._config.teacher.teacher_regularization == "ema"
        self._learners[name] = LearnerState.fresh(self.base, seed, averaged=averaged, start=self.reference)

    def perturb(self, name: str, seed: int, scale: float) -> None:
        """Adds noise of standard deviation `scale` to every weight of the student, so that its effect is visible."""
        values = self._learners[name].student.values
        noise = torch.randn(values.shape, generator=torch.Generator().manual_seed(seed))
        values.add_(noise.to(values.device), alpha=scale)

    def drop(self, name: str) -> None:
        """Discards what is kept of question `name`; an unknown name changes nothing."""
        self._learners.pop(name, None)

    def step(self, name: str, examples: Sequence[Example]) -> Metrics:
        """Takes one gradient step of question `name` and returns its metrics.

        `updated` is 0 where nothing could be learned: no example has a teacher's prompt, and rewards, where they count,
        are all equal. Then weights, optimizer and teacher stay as they are.
        """
        learner = self._learners[name]
        batch = weighted(examples)
        stats = TokenStats(any(one.distil for one in batch))
        loss = self._gather(learner, batch, stats)
        distance = self._distance(batch, stats)
        norm = learner.learn(self._config.lora, self._config.teacher.teacher_update_rate) if batch else 0.0
        finite = math.isfinite(norm)
        lengths = {one.example.attempt: len(one.example.completion_ids) for one in batch if one.distil}
        learner.token_advantages = stats.token_advantages(lengths)
        return {
            "updated": float(bool(batch) and finite),
            "loss": loss,
            "grad_norm": norm if finite else 0.0,
            "grad_finite": float(finite),
            "kl/base": distance,
            **stats.metrics(self._config.distillation.rollout_is_threshold),
        }

    def imitate(self, name: str, pairs: Sequence[Pair], lr: float) -> float:
        """Takes one step of cross-entropy on the completions of `pairs`; returns the loss, nats per token.

        Needs `distillation.rollout_is_threshold` = none: nobody sampled these tokens, so nothing is corrected for.
        """
        learner, tokens = self._learners[name], sum(len(completion) for _, completion in pairs)
        examples = [Example(at, *pair, (0.0,) * len(pair[1])) for at, pair in enumerate(pairs)]
        self._gather(learner, [Weighted(one, 0.0, 1 / tokens) for one in examples], stats := TokenStats(False))
        learner.learn(self._config.lora.model_copy(update={"lr": lr}), 0.0)
        return -float(torch.cat(stats.student).sum()) / tokens

    def logprobs(self, name: str | None, prompt_ids: Tokens, completion_ids: Tokens) -> list[float]:
        """Returns each completion token's log-probability under the student of `name`, or (None) under the base."""
        adapter = None if name is None else self._learners[name].student
        with self.base.attached(adapter), torch.no_grad():
            return self._logprobs.of([(tuple(prompt_ids), tuple(completion_ids))]).tolist()

    def logprobs_each_way(self, name: str, pairs: Sequence[Pair], others: Sequence[Pair]) -> dict[str, list[float]]:
        """Returns what `Logprobs.each_way` does, for the student of `name`."""
        return self._logprobs.each_way(self._learners[name].student, pairs, others)

    def export(self, name: str, folder: Path) -> None:
        """Writes the student as a PEFT folder, atomically."""
        self.base.export(self._learners[name].student, folder)

    def snapshot(self, name: str) -> Snapshot:
        """Copies all that later steps depend on. The loss uses no random numbers."""
        return self._learners[name].snapshot(self._facts())

    def load(self, name: str, folder: Path) -> None:
        """Resumes from a written snapshot, bit for bit. UserError: it has other LoRA or teacher settings."""
        self._learners[name] = LearnerState.load(self.base, folder, self._facts())

    def _facts(self) -> dict[str, object]:
        """Returns what a saved state must agree on."""
        lora = self._config.lora
        return {
            "rank": lora.rank,
            "alpha": lora.alpha,
            "numbers": self.base.adapter_size,
            "teacher_regularization": self._config.teacher.teacher_regularization,
        }

    def _gather(self, learner: LearnerState, batch: Sequence[Weighted], stats: TokenStats) -> float:
        """Computes the student's gradient micro-batch by micro-batch, from zero; returns the loss."""
        budget, gradient = self._config.distillation.token_budget, learner.student.gradient.zero_()
        try:
            parts = self.base.batches([one.student_ids for one in batch], budget)
            loss = sum(self._accumulate(learner, batch[part.start : part.stop], stats) for part in parts)
        except torch.OutOfMemoryError as error:
            raise InfrastructureError(
                f"the GPU's memory is too small for a micro-batch of {budget} tokens; lower distillation.token_budget "
                "or model.kv_cache_gib, or set distillation.checkpoint_over=0"
            ) from error
        gradient.div_(self._scale)
        return loss / self._scale

    def _accumulate(self, learner: LearnerState, part: Sequence[Weighted], stats: TokenStats) -> float:
        """Adds the gradient of some examples to the student's; returns their share of the loss."""
        distilled = [one for one in part if one.distil]
        with self.base.lock:
            teacher = self._teacher_logits(learner, distilled, stats) if distilled else None
            forest = self.base.pack([one.student_ids for one in part])
            over = self._config.distillation.checkpoint_over
            keeps = 1.0 if over is None else min(1.0, over / forest.size)
            with self.base.attached(learner.student, learns=True, keeps=keeps):
                hidden = self.base.hidden(forest)
                stats.processed["student"] += forest.size
                loss = hidden.new_zeros((), dtype=torch.float32)
                if teacher is not None:
                    rows = Rows.of(forest, [(at, one) for at, one in enumerate(part) if one.distil], self.base.device)
                    loss = loss + self._sum(hidden, rows, self._distillation(rows, teacher, stats))
                if any(one.policy for one in part):
                    rows = Rows.of(forest, list(enumerate(part)), self.base.device)
                    loss = loss + self._sum(hidden, rows, self._policy_gradient(rows, stats))
                torch.autograd.backward(loss)
        return float(loss.detach())

    def _sum(self, hidden: Tensor, rows: Rows, row_loss: losses.RowLoss) -> Tensor:
        def scaled(logits: Tensor, part: slice) -> Tensor:
            return row_loss(logits, part) * self._scale

        return losses.chunked_rows(hidden, rows.at, self.base.head, scaled, self._logprobs.chunk)

    def _distillation(self, rows: Rows, teacher: Callable[[slice], Tensor], stats: TokenStats) -> losses.RowLoss:
        def row_loss(projected: Tensor, part: slice) -> Tensor:
            logits = self._logprobs.logits(projected)
            value, student, taught = losses.token_divergence(
                logits, teacher(part), rows.token_ids[part], self._divergence
            )
            stats.divergence.append(value.detach())
            stats.teacher.append(taught)
            stats.note(logits, student, rows.sampler_logprobs[part])
            return value * rows.distil[part] * self._importance(student, rows.sampler_logprobs[part])

        return row_loss

    def _policy_gradient(self, rows: Rows, stats: TokenStats) -> losses.RowLoss:
        def row_loss(projected: Tensor, part: slice) -> Tensor:
            logits = self._logprobs.logits(projected)
            student = losses.log_probs_at(logits, rows.token_ids[part, None])[:, 0]
            if not stats.distils:
                stats.note(logits, student, rows.sampler_logprobs[part])
            score = losses.policy_gradient(student, rows.policy[part])
            return score * self._importance(student, rows.sampler_logprobs[part])

        return row_loss

    def _importance(self, student: Tensor, sampler: Tensor) -> Tensor:
        cap = self._config.distillation.rollout_is_threshold
        return torch.ones_like(sampler) if cap is None else losses.importance_weights(student, sampler, cap)

    def _teacher_logits(
        self, learner: LearnerState, part: Sequence[Weighted], stats: TokenStats
    ) -> Callable[[slice], Tensor]:
        """Returns the teacher's logits of the examples' tokens, by slice; only hidden states are kept."""
        sequences = [(one.teacher_ids, len(one.example.completion_ids)) for one in part]
        mixture = [
            (share, self._hidden(adapter, sequences, stats), losses.Projection(self.base.head))
            for adapter, share in self._teachers(learner)
        ]

        def logits(rows: slice) -> Tensor:
            return _mixed([(share, self._logprobs.logits(project(hidden[rows]))) for share, hidden, project in mixture])

        return logits

    def _teachers(self, learner: LearnerState) -> list[tuple[Adapter | None, float]]:
        """Returns the adapters (None: the base) whose logits make up the teacher's, with their shares."""
        settings = self._config.teacher
        match settings.teacher_regularization:
            case "ema":
                return [(learner.teacher, 1.0)]
            case "live":
                return [(learner.student, 1.0)]
            case "frozen":
                return [(self.reference, 1.0)]
            case "trust-region":
                rate = settings.teacher_update_rate
                return [(self.reference, 1 - rate), (learner.student, rate)]

    @torch.no_grad()
    def _hidden(self, adapter: Adapter | None, sequences: Sequence[tuple[Tokens, int]], stats: TokenStats) -> Tensor:
        """Returns hidden states (tokens, hidden) that predict the last tokens of each sequence: (tokens, how many)."""
        tokens = [ids for ids, _ in sequences]
        found = []
        with self.base.attached(adapter):
            for batch in self.base.batches(tokens, self._config.distillation.token_budget):
                forest = self.base.pack(tokens[batch.start : batch.stop])
                stats.processed["teacher"] += forest.size
                at = [row for here, index in enumerate(batch) for row in forest.rows(here)[-sequences[index][1] :]]
                found.append(self.base.hidden(forest)[torch.tensor(at, device=self.base.device)])
        return torch.cat(found)

    @torch.no_grad()
    def _distance(self, batch: Sequence[Weighted], stats: TokenStats) -> float:
        """Estimates the KL to the reference in nats per token on the first completions of the step."""
        probe = [one.example for one in batch if one.distil or not stats.distils][:_KL_PROBE]
        if not probe:
            return 0.0
        with self.base.attached(self.reference):
            base = self._logprobs.of([(example.prompt_ids, example.completion_ids) for example in probe])
        student = torch.cat(stats.student)[: len(base)]
        return float(losses.kl_to_base(student, base).mean())


def _load(path: str, config: Config, threads: int | None) -> Base:
    model = config.model
    return load_base(
        path,
        dtype=model.dtype,
        device=model.trainer_on,
        quantize=model.base_bits,
        gradient_checkpointing=config.distillation.checkpoint_over is not None,
        threads=threads,
        max_model_len=model.max_model_len,
    )


def _mixed(parts: Sequence[tuple[float, Tensor]]) -> Tensor:
    if len(parts) == 1:
        return parts[0][1]
    return torch.stack([share * logits for share, logits in parts]).sum(dim=0)
