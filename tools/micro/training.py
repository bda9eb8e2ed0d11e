"""Builds the bundled model from a seed: tokenizer, corpus, weights. `python -m tools.micro train --out FOLDER`.

Muon moves the matrices, AdamW the embedding and the norms. The corpus is a function of seed and step, and gradients
are added in a fixed order, so a run that was interrupted goes on from its last checkpoint with `--resume` exactly as if
nothing had happened.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch  # noqa: TID253
import torch.nn.functional as F  # noqa: TID253
from torch import Tensor  # noqa: TID253

from tools.micro.corpus import TOKENIZER_STAGE, Example, example, stage_at
from tools.micro.model import CONFIG, MicroModel
from tools.micro.tokenizer import CHAT_TEMPLATE, END, PAD, build_tokenizer, chat

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True, slots=True)
class Recipe:
    seed: int = 0
    steps: int = 3100
    token_budget: int = 1000  # of one micro-batch, padding included
    threads: int = 2  # each computes a micro-batch of its own
    matrix_lr: float = 0.02
    other_lr: float = 4e-3
    prompt_weight: float = 0.03
    # Share of the learning rates at a step, linear between these points.
    schedule: tuple[tuple[int, float], ...] = ((-1, 0.0), (29, 1.0), (700, 1.0), (1000, 0.6), (2200, 0.6), (3100, 0.0))
    checkpoint_every: int = 100
    tokenizer_texts: int = 4000


def examples(recipe: Recipe, step: int) -> list[Example]:
    """Returns what step `step` learns from; a function of the seed and the step alone."""
    rng, stage = random.Random(f"{recipe.seed}/{step}"), stage_at(step)
    return [example(rng, stage) for _ in range(stage.batch)]


def batches(recipe: Recipe, tokenizer: Tokenizer, first: int) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Yields, for every step from `first`, micro-batches of ids (batch, length) and weights of the same shape."""
    with ThreadPoolExecutor(1) as ahead:
        waiting = ahead.submit(_step_batches, recipe, tokenizer, first)
        for step in range(first, recipe.steps):
            ready, waiting = waiting, ahead.submit(_step_batches, recipe, tokenizer, step + 1)
            yield ready.result()


def _step_batches(recipe: Recipe, tokenizer: Tokenizer, step: int) -> list[tuple[Tensor, Tensor]]:
    batch = examples(recipe, step)
    prompts = tokenizer.encode_batch([chat(item.prompt) for item in batch])
    answers = tokenizer.encode_batch([item.answer + END for item in batch])
    pairs = sorted(((p.ids, a.ids) for p, a in zip(prompts, answers, strict=True)), key=lambda p: len(p[0] + p[1]))
    return [_padded(some, recipe.prompt_weight) for some in _pieces(pairs, recipe.token_budget)]


def _pieces(pairs: Sequence[tuple[list[int], list[int]]], budget: int) -> Iterator[list[tuple[list[int], list[int]]]]:
    """Returns `pairs`, shortest first, cut so that a padded piece has at most `budget` tokens (or one pair)."""
    piece: list[tuple[list[int], list[int]]] = []
    for pair in pairs:
        if piece and (len(piece) + 1) * len(pair[0] + pair[1]) > budget:
            yield piece
            piece = []
        piece.append(pair)
    yield piece


def _padded(pairs: Sequence[tuple[list[int], list[int]]], prompt_weight: float) -> tuple[Tensor, Tensor]:
    length = max(len(prompt) + len(answer) for prompt, answer in pairs)
    ids, weights = torch.zeros(len(pairs), length, dtype=torch.long), torch.zeros(len(pairs), length)
    for row, (prompt, answer) in enumerate(pairs):
        ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        weights[row, : len(prompt)] = prompt_weight
        weights[row, len(prompt) : len(prompt) + len(answer)] = 1.0
    return ids, weights


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised (Newton-Schulz, five steps): every direction of a matrix moves alike."""

    def __init__(self, params: Sequence[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                velocity = state.setdefault("velocity", torch.zeros_like(parameter))
                velocity.lerp_(parameter.grad, 1 - group["momentum"])
                update = orthogonal(parameter.grad.lerp(velocity, group["momentum"]))
                rows, columns = parameter.shape
                parameter.add_(update, alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """Returns roughly the nearest matrix with orthonormal rows or columns; singular values end between 0.7 and 1.2."""
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x: Tensor = wide / (wide.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def loss_of(model: MicroModel, ids: Tensor, weights: Tensor) -> Tensor:
    """Returns the weighted sum of the next-token cross entropies."""
    logits: Tensor = model(ids[:, :-1])
    losses = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    return (losses * weights[:, 1:].flatten()).sum()


def learning_rate(recipe: Recipe, step: int) -> float:
    """Returns the share of the peak rates at `step`."""
    for (start, low), (end, high) in pairwise(recipe.schedule):
        if step <= end:
            return low + (high - low) * (step - start) / (end - start)
    return recipe.schedule[-1][1]


class Training:
    """A training in progress: model, tokenizer, optimizers and how many steps are done."""

    def __init__(self, recipe: Recipe) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.step = 0
        self.tokenizer = build_tokenizer(_tokenizer_texts(recipe))
        self.model = MicroModel()
        named = list(self.model.named_parameters())
        self.muon = Muon([p for name, p in named if _is_matrix(name, p)], recipe.matrix_lr)
        others = [p for name, p in named if not _is_matrix(name, p)]
        self.adam = torch.optim.AdamW(others, recipe.other_lr, betas=(0.9, 0.95), weight_decay=0.0)
        self._parameters = [parameter for _, parameter in named]
        # A thread for each micro-batch at work, and none for single operations, which are too small to gain from it.
        self._workers = ThreadPoolExecutor(recipe.threads, initializer=torch.set_num_threads, initargs=(1,))

    def advance(self, micro_batches: Sequence[tuple[Tensor, Tensor]]) -> float:
        """Takes one step on micro-batches of (ids, weights); returns the mean loss of a weighted token."""
        share = learning_rate(self.recipe, self.step)
        self.muon.param_groups[0]["lr"] = share * self.recipe.matrix_lr
        self.adam.param_groups[0]["lr"] = share * self.recipe.other_lr
        weight = sum(float(weights[:, 1:].sum()) for _, weights in micro_batches)
        parts = list(self._workers.map(partial(self._gradients, weight), micro_batches))
        for parameter, *gradients in zip(self._parameters, *(gradients for _, gradients in parts), strict=True):
            parameter.grad = torch.stack(gradients).sum(dim=0)
        for optimizer in (self.muon, self.adam):
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        return sum(loss for loss, _ in parts)

    def _gradients(self, weight: float, batch: tuple[Tensor, Tensor]) -> tuple[float, tuple[Tensor, ...]]:
        loss = loss_of(self.model, *batch) / weight
        return loss.item(), torch.autograd.grad(loss, self._parameters)

    def store(self, checkpoint: Path) -> None:
        parts = {name: getattr(self, name).state_dict() for name in ("model", "muon", "adam")}
        unfinished = checkpoint.with_suffix(".unfinished")
        torch.save(parts | {"step": self.step}, unfinished)
        unfinished.replace(checkpoint)

    def restore(self, checkpoint: Path) -> None:
        parts = torch.load(checkpoint, weights_only=True)
        for name in ("model", "muon", "adam"):
            getattr(self, name).load_state_dict(parts[name])
        self.step = parts["step"]


def train(recipe: Recipe, out: Path, *, resume: bool, stop_after: int | None = None) -> None:
    """Trains up to `stop_after` (None: all) steps and writes the model folder `out`.

    The checkpoint is next to it, in `out`.checkpoint; with `resume` the training goes on from there.
    """
    training, checkpoint = Training(recipe), out.with_suffix(".checkpoint")
    if resume and checkpoint.exists():
        training.restore(checkpoint)
    torch.set_num_threads(1)
    last = min(recipe.steps, training.step + (stop_after or recipe.steps))
    began = time.monotonic()
    for micro_batches in islice(batches(recipe, training.tokenizer, training.step), last - training.step):
        loss = training.advance(micro_batches)
        if training.step % 20 == 0 or training.step == last:
            print(f"step {training.step} loss {loss:.4f} seconds {time.monotonic() - began:.0f}", flush=True)
        if training.step % recipe.checkpoint_every == 0 or training.step == last:
            training.store(checkpoint)
            save(training.model, training.tokenizer, out)


def _tokenizer_texts(recipe: Recipe) -> Iterator[str]:
    rng = random.Random(f"{recipe.seed}/tokenizer")
    for _ in range(recipe.tokenizer_texts):
        item = example(rng, TOKENIZER_STAGE)
        yield from (item.prompt, item.answer)


def _is_matrix(name: str, parameter: Tensor) -> bool:
    return parameter.ndim == 2 and "embed" not in name


def save(model: MicroModel, tokenizer: Tokenizer, out: Path) -> None:
    """Writes the folder that transformers and vLLM load."""
    from safetensors.torch import save_file

    out.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().to(torch.bfloat16).contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(out / "tokenizer.json"))
    end, pad = tokenizer.token_to_id(END), tokenizer.token_to_id(PAD)
    ends = {"eos_token_id": end, "pad_token_id": pad, "bos_token_id": None}
    _write(out / "config.json", CONFIG | ends | {"dtype": "bfloat16"})
    _write(out / "generation_config.json", ends | {"do_sample": True, "temperature": 1.0})
    _write(
        out / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": END,
            "pad_token": PAD,
            "model_max_length": CONFIG["max_position_embeddings"],
            "clean_up_tokenization_spaces": False,
            "chat_template": CHAT_TEMPLATE,
        },
    )


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", "utf-8")
