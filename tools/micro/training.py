"""Builds the bundled model from a seed: tokenizer, corpus, weights.

Muon moves the matrices, AdamW the embedding and the norms. The corpus is a function of seed and step, and gradients are
added in a fixed order, so one machine and one version of Python and torch give the same weights every time.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch  # noqa: TID253
from torch import Tensor  # noqa: TID253

from tools.micro.corpus import TOKENIZER_STAGE, example, examples
from tools.micro.model import CONFIG, MicroModel, token_losses
from tools.micro.tokenizer import CHAT_TEMPLATE, END, PAD, build_tokenizer, encode

if TYPE_CHECKING:
    from tokenizers import Tokenizer

STEPS, EXAMPLES_PER_STEP = 3100, 64
TOKEN_BUDGET = 1000  # of one micro-batch, padding included
THREADS = 2  # each computes its own micro-batch; a single operation is too small to gain from threads
MATRIX_RATE, OTHER_RATE = 0.02, 4e-3
MOMENTUM = 0.95
PROMPT_WEIGHT = 0.03
# Factors of the learning rates, linear between these steps.
SCHEDULE = ((-1, 0.0), (29, 1.0), (700, 1.0), (1000, 0.6), (2200, 0.6), (3100, 0.0))
TOKENIZER_EXAMPLES = 4000

Batch = tuple[Tensor, Tensor]  # token ids and the weights of their losses, both (batch, length)


def train(seed: int, folder: Path, steps: int = STEPS) -> list[float]:
    """Trains for `steps` steps, writes the model folder, and returns the mean loss of a weighted token at each step."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    rng, began, losses = random.Random(f"{seed}/tokenizer"), time.monotonic(), list[float]()
    tokenizer = build_tokenizer(text for _ in range(TOKENIZER_EXAMPLES) for text in example(rng, TOKENIZER_STAGE))
    model = MicroModel()
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    muon, adam = Muon(matrices), torch.optim.AdamW(others, betas=(0.9, 0.95), weight_decay=0.0)
    with ThreadPoolExecutor(THREADS, initializer=torch.set_num_threads, initargs=(1,)) as workers:
        for step in range(steps):
            pairs = encode(tokenizer, examples(seed, step, EXAMPLES_PER_STEP))
            losses.append(set_gradients(model, list(micro_batches(pairs)), workers))
            muon.step(learning_rate(step) * MATRIX_RATE)
            adam.param_groups[0]["lr"] = learning_rate(step) * OTHER_RATE
            adam.step()
            if len(losses) % 20 == 0:
                print(f"step {len(losses)} loss {losses[-1]:.4f} seconds {time.monotonic() - began:.0f}", flush=True)
    save(model, tokenizer, folder)
    return losses


def micro_batches(pairs: Sequence[tuple[list[int], list[int]]]) -> Iterator[Batch]:
    """Divides prompts and answers into batches, the shortest first, of at most TOKEN_BUDGET tokens (or one pair)."""
    batch: list[tuple[list[int], list[int]]] = []
    for pair in sorted(pairs, key=lambda pair: len(pair[0] + pair[1])):
        if batch and (len(batch) + 1) * len(pair[0] + pair[1]) > TOKEN_BUDGET:
            yield padded(batch, PROMPT_WEIGHT)
            batch = []
        batch.append(pair)
    yield padded(batch, PROMPT_WEIGHT)


def padded(pairs: Sequence[tuple[list[int], list[int]]], prompt_weight: float) -> Batch:
    """Returns prompts and answers as one batch; an answer's tokens weigh 1, padding 0."""
    length = max(len(prompt) + len(answer) for prompt, answer in pairs)
    ids, weights = torch.zeros(len(pairs), length, dtype=torch.long), torch.zeros(len(pairs), length)
    for row, (prompt, answer) in enumerate(pairs):
        end = len(prompt) + len(answer)
        ids[row, :end] = torch.tensor(prompt + answer)
        weights[row, : len(prompt)], weights[row, len(prompt) : end] = prompt_weight, 1.0
    return ids, weights


def set_gradients(model: MicroModel, batches: Sequence[Batch], workers: Executor) -> float:
    """Sets the gradients of the mean loss of a weighted token, and returns that loss."""
    parameters, weight = list(model.parameters()), sum(float(weights[:, 1:].sum()) for _, weights in batches)

    def part(batch: Batch) -> tuple[float, tuple[Tensor, ...]]:
        loss = (token_losses(model, batch[0]) * batch[1][:, 1:]).sum() / weight
        return loss.item(), torch.autograd.grad(loss, parameters)

    parts = list(workers.map(part, batches))
    for parameter, *gradients in zip(parameters, *(gradients for _, gradients in parts), strict=True):
        parameter.grad = torch.stack(gradients).sum(dim=0)
    return sum(loss for loss, _ in parts)


def learning_rate(step: int) -> float:
    """Returns the factor of the learning rates at `step`."""
    (start, low), (end, high) = next(points for points in pairwise(SCHEDULE) if step <= points[1][0])
    return low + (high - low) * (step - start) / (end - start)


class Muon:
    """Momentum with an orthogonalised update, so that every direction of a matrix moves alike.

    Not `torch.optim.Muon`, which orthogonalises in bfloat16 and would give other weights.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._velocities = [(parameter, torch.zeros_like(parameter)) for parameter in parameters]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        for parameter, velocity in self._velocities:
            assert parameter.grad is not None
            velocity.lerp_(parameter.grad, 1 - MOMENTUM)
            rows, columns = parameter.shape
            update = orthogonal(parameter.grad.lerp(velocity, MOMENTUM))
            parameter.add_(update, alpha=-rate * max(1.0, rows / columns) ** 0.5)


def orthogonal(matrix: Tensor) -> Tensor:
    """Returns roughly the nearest matrix with orthonormal rows or columns (Newton-Schulz, five steps).

    Its singular values are between 0.7 and 1.2.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x: Tensor = wide / (wide.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if wide is not matrix else x


def save(model: MicroModel, tokenizer: Tokenizer, folder: Path) -> None:
    """Writes the folder that transformers and vLLM load."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().to(torch.bfloat16).contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(folder / "tokenizer.json"))
    end, pad = tokenizer.token_to_id(END), tokenizer.token_to_id(PAD)
    ends = {"eos_token_id": end, "pad_token_id": pad, "bos_token_id": None}
    files: dict[str, dict[str, Any]] = {
        "config": CONFIG | ends | {"dtype": "bfloat16"},
        "generation_config": ends | {"do_sample": True, "temperature": 1.0},
        "tokenizer_config": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": END,
            "pad_token": PAD,
            "model_max_length": CONFIG["max_position_embeddings"],
            "clean_up_tokenization_spaces": False,
            "chat_template": CHAT_TEMPLATE,
        },
    }
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value, indent=2) + "\n", "utf-8")
