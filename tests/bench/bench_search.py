"""Methods on a synthetic landscape: attempts to the first pass of a policy that can read programs, and learns.

A program is a list of choices, one for each case; a case passes where its choice is right. Without a parent every
choice is sampled from the policy. With one each choice is the parent's, or sampled again: `keeps` is the chance of the
first. Landscapes differ in what revising is worth:

    revise   revising keeps what is right
    long     the same with more cases
    ignore   the parent is not read
    copy     the parent is copied, hardly ever changed
    trap     the first choice is never revised, so that many parents lead nowhere

    python -m tests.bench.bench_search
"""

from __future__ import annotations

import argparse
import asyncio
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from tests.fakes import text_of, writer
from ttsd.config import Config
from ttsd.loop import learn
from ttsd.methods import METHODS, MethodOnQuestion
from ttsd.nouns import Attempt, Completion, Example, Status, Verdict
from ttsd.training.rows import weighted

CHOICES = 4
Programs = tuple[int, ...]


@dataclass(frozen=True)
class Landscape:
    """How likely a choice is right at first (lowest and highest), and how likely it is kept."""

    cases: int
    likely: tuple[float, float]
    keeps: float
    stuck: int = 0  # first choices that are always kept


LANDSCAPES = {
    "revise": Landscape(6, (0.12, 0.45), 0.75),
    "long": Landscape(10, (0.2, 0.6), 0.8),
    "ignore": Landscape(6, (0.3, 0.6), 0.0),
    "copy": Landscape(6, (0.3, 0.6), 0.98),
    "trap": Landscape(6, (0.2, 0.5), 0.7, stuck=1),
}


class Reviser:
    """A policy on a landscape; choice 0 is right. It takes plain gradient steps on the rewarded examples."""

    def __init__(self, land: Landscape, seed: int, lr: float) -> None:
        self._random, self._lr = np.random.default_rng(seed), lr
        right = self._random.uniform(*land.likely, land.cases)
        others = self._random.dirichlet([1.0] * (CHOICES - 1), land.cases) * (1 - right)[:, None]
        self._logits = np.log(np.column_stack([right, others]) + 1e-4)
        self._keeps = np.where(np.arange(land.cases) < land.stuck, 1.0, land.keeps)
        self.adapter_version = 0

    def _chances(self, prompt: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Returns the chance of each choice, (cases, choices), and the part of it that is not the parent's."""
        own = np.exp(self._logits) / np.exp(self._logits).sum(axis=1, keepdims=True)
        shown = re.findall(r"Attempt:\n\n([\d ]+)", text_of(tuple(prompt)))
        if not shown:
            return own, own
        kept = np.eye(CHOICES)[[int(choice) for choice in shown[-1].split()]] * self._keeps[:, None]
        own = own * (1 - self._keeps)[:, None]
        return own + kept, own

    async def sample(self, prompt_ids: Sequence[int]) -> Completion:
        chances, _ = self._chances(prompt_ids)
        ids = tuple(int(self._random.choice(CHOICES, p=row / row.sum())) for row in chances)
        logprobs = tuple(math.log(row[choice]) for row, choice in zip(chances, ids, strict=True))
        return Completion(ids, " ".join(map(str, ids)), logprobs, "stop", self.adapter_version)

    async def distil(self, examples: Sequence[Example]) -> Mapping[str, float]:
        """Climbs the mean of advantage x log-probability."""
        gradient = np.zeros_like(self._logits)
        for one in weighted(examples):
            ids, (chances, own) = one.example.completion_ids, self._chances(one.example.prompt_ids)
            at = np.arange(len(ids)), list(ids)
            free = own.sum(axis=1, keepdims=True)
            score = np.eye(CHOICES)[list(ids)] - own / np.maximum(free, 1e-9)
            gradient += one.policy * (own[at] / chances[at])[:, None] * score
        self._logits += self._lr * gradient
        self.adapter_version += 1
        return {}

    async def return_to(self, step: int) -> None:
        """Is never asked for."""


async def judge(completion: Completion) -> tuple[str, Verdict]:
    """Passes a case for each choice that is 0."""
    right, cases = completion.token_ids.count(0), len(completion.token_ids)
    status = Status.ACCEPTED if right == cases else Status.WRONG_ANSWER
    feedback = "" if right == cases else f"{right} of {cases}"
    return completion.text, Verdict(status, right, cases, 0, 0, feedback=feedback)


async def attempts_needed(land: Landscape, method: str, config: Config, seed: int, lr: float) -> int:
    """Returns the number of the first attempt that passes, or the budget."""
    on = MethodOnQuestion(METHODS[method], writer(config))
    async for event in learn(Reviser(land, seed, lr), judge, on, METHODS[method].rules(config)):
        if isinstance(event, Attempt) and event.verdict.accepted:
            return event.number
    return config.budget.attempts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--lr", type=float, default=3.0)
    parser.add_argument("--methods", default="best-of-k,grpo,search,search+grpo")
    options = parser.parse_args()
    config = Config().changed("budget", attempts=256).changed("extensions", reward="visible-fraction")
    print("geometric mean of the attempts needed, share found")
    print("method".ljust(14), *(name.rjust(12) for name in LANDSCAPES))
    for method in options.methods.split(","):
        cells = []
        for land in LANDSCAPES.values():
            needed = [
                asyncio.run(attempts_needed(land, method, config, seed, options.lr)) for seed in range(options.seeds)
            ]
            mean, found = math.exp(fmean(map(math.log, needed))), fmean(one < 256 for one in needed)
            cells.append(f"{mean:7.0f} {found:.2f}")
        print(method.ljust(14), *(cell.rjust(12) for cell in cells), flush=True)


if __name__ == "__main__":
    main()
