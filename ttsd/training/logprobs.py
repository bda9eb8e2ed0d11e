"""Log-probabilities of completion tokens under the weights that are attached to the base.

They are those of the distribution that is sampled from: of the logits divided by the temperature. A training step
compares and trains that distribution; the parity check at the start compares the ways in which it can be computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch  # noqa: TID253
from torch import Tensor  # noqa: TID253

from ttsd.backbone import Base
from ttsd.backbone.lora import Adapter
from ttsd.backbone.packing import Forest, Tokens
from ttsd.config import Config
from ttsd.errors import InfrastructureError
from ttsd.training import LOGITS_AT_ONCE, losses
from ttsd.training.rows import joined

Pair = tuple[Tokens, Tokens]  # prompt and completion


class Logprobs:
    """Computes log-probabilities on one base, never more than `chunk` rows of the vocabulary at a time."""

    def __init__(self, base: Base, config: Config) -> None:
        self._base = base
        self._temperature = config.sampling.temperature
        self._token_budget = config.distillation.token_budget
        self.chunk = max(1, LOGITS_AT_ONCE // len(base.head))

    def logits(self, projected: Tensor) -> Tensor:
        """Returns the logits that are compared, of hidden states that were projected to the vocabulary."""
        return self._tempered(self._base.finish.finished(projected))

    def of(self, pairs: Sequence[Pair]) -> Tensor:
        """Returns the log-probabilities of all completion tokens of `pairs`, which are computed in one pack."""
        forest, at, ids = self._packed(pairs)
        return self._of_hidden(self._base.hidden(forest)[at], ids)

    def each_way(self, student: Adapter, pairs: Sequence[Pair], others: Sequence[Pair]) -> dict[str, list[float]]:
        """Returns the log-probabilities of all completion tokens of `pairs` as the student has them, in several ways.

        `packed` as in a step, `gradient` the same with gradients on, `plain` by transformers' own forward pass, one
        sequence at a time, `rounded` the same for the first pair with each layer's output rounded once more; and under
        the base alone (`base`) those of `pairs` and of `others`. No pass is larger than a step's micro-batch.
        InfrastructureError: the model's layers have no finite gradient.
        """
        with self._base.attached(student), torch.no_grad():
            packed, plain = self._in_parts(self.of, pairs), self._plain(pairs)
            with self._base.rounded_again():
                rounded = self._plain(pairs[:1])
        with self._base.attached(student, learns=True):
            learning = self._in_parts(self._probed_gradient, pairs)
        finite = bool(student.gradient.isfinite().all()) and bool(student.gradient.any())
        student.gradient.zero_()
        if not finite:
            raise InfrastructureError("the model's layers give no finite gradient; choose another model")
        with self._base.attached(None), torch.no_grad():
            base = self._in_parts(self.of, [*pairs, *others])
        found = {"packed": packed, "gradient": learning, "plain": plain, "rounded": rounded, "base": base}
        return {way: values.tolist() for way, values in found.items()}

    def _tempered(self, logits: Tensor) -> Tensor:
        return logits if self._temperature == 1.0 else logits / self._temperature

    def _packed(self, pairs: Sequence[Pair]) -> tuple[Forest, Tensor, Tensor]:
        """Returns the pairs in one pack, the rows of it that predict completion tokens, and those tokens' ids."""
        forest = self._base.pack([joined(*pair) for pair in pairs])
        at = [row for index, (_, tokens) in enumerate(pairs) for row in forest.rows(index)[-len(tokens) :]]
        ids = [token for _, tokens in pairs for token in tokens]
        return forest, torch.tensor(at, device=self._base.device), torch.tensor(ids, device=self._base.device)

    def _of_hidden(self, hidden: Tensor, ids: Tensor) -> Tensor:
        project = losses.Projection(self._base.head)
        parts = zip(torch.split(hidden, self.chunk), torch.split(ids[:, None], self.chunk), strict=True)
        return torch.cat([losses.log_probs_at(self.logits(project(states)), own)[:, 0] for states, own in parts])

    def _plain(self, pairs: Sequence[Pair]) -> Tensor:
        found = []
        for prompt, completion in pairs:
            logits = self._base.plain_logits(joined(prompt, completion), len(completion))
            ids = torch.tensor(completion, device=logits.device)
            found.append(losses.log_probs_at(self._tempered(logits), ids[:, None])[:, 0])
        return torch.cat(found)

    def _in_parts(self, way: Callable[[Sequence[Pair]], Tensor], pairs: Sequence[Pair]) -> Tensor:
        """Returns what `way` gives for all pairs, one micro-batch at a time."""
        parts = self._base.batches([joined(*pair) for pair in pairs], self._token_budget)
        return torch.cat([way([pairs[at] for at in part]) for part in parts])

    def _probed_gradient(self, pairs: Sequence[Pair]) -> Tensor:
        """Adds to the attached adapter's gradient; returns the log-probabilities of the pass."""
        forest, at, ids = self._packed(pairs)
        try:
            hidden = self._base.hidden(forest)[at]
            torch.autograd.backward(hidden.float().square().mean())
        except (RuntimeError, ValueError, TypeError) as error:
            raise InfrastructureError(f"the model's layers can't be trained: {error}; choose another model") from error
        return self._of_hidden(hidden.detach(), ids)
