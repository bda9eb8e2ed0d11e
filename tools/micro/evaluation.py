"""How likely the bundled model is to write the right program, by what its prompt shows; and which questions suit it.

The tests of a question distinguish the four operations of each verb, so almost all probability of solving it is that of
one text, the right program, whose exact probability is one forward pass. It is a lower bound: another operation that
happens to pass a test, or another spelling in tokens, adds a little (the model's README compares it with samples).
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch  # noqa: TID253

import problems.micro
from problems.micro import Part, Question, named, problem, program
from problems.micro.families import FAMILIES, MAX_RULES
from tools.micro.corpus import answer, conversation
from tools.micro.model import MicroModel, token_losses
from tools.micro.tokenizer import encode
from tools.micro.training import padded
from ttsd.prompts import context_text, question_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ATTEMPTS = (1, 2, 4, 6)
COLUMNS = ("question", *(f"feedback on {count}" for count in ATTEMPTS), "demonstration")


@dataclass(frozen=True, slots=True)
class Subset:
    """A list to be chosen: `each` questions of every family with `rules` rules and a probability in [least, most)."""

    name: str
    part: Part
    rules: tuple[int, ...]
    least: float
    most: float
    each: int


SUBSETS = (
    Subset("micro-demo", "test", (6,), 1 / 4000, 1 / 1000, each=1),
    Subset("micro-hard", "test", (3, 4, 5, 6), 1 / 1000, 1 / 100, each=8),
    Subset("micro-very-hard", "test", (4, 5, 6, 7), 1 / 5000, 1 / 1000, each=8),
    Subset("micro-long", "test", (MAX_RULES,), 1e-6, 1 / 5000, each=8),
    Subset("micro-tuning-hard", "tuning", (3, 4, 5, 6), 1 / 1000, 1 / 100, each=4),
    Subset("micro-tuning-very-hard", "tuning", (4, 5, 6, 7), 1 / 5000, 1 / 1000, each=4),
    Subset("micro-tuning-long", "tuning", (MAX_RULES,), 1e-6, 1 / 5000, each=2),
)


def log_p(model: MicroModel, tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Returns for each (prompt, program) the log-probability that the model answers with exactly this program."""
    found: list[float] = []
    for at in range(0, len(pairs), 16):
        some = [(prompt, answer(source)) for prompt, source in pairs[at : at + 16]]
        ids, weights = padded(encode(tokenizer, some), prompt_weight=0.0)
        with torch.inference_mode():
            losses = token_losses(model, ids).double()
            found += (losses * weights[:, 1:]).sum(dim=1).neg().tolist()
    return found


def table(
    model: MicroModel, tokenizer: Tokenizer, *, questions: int, rules: Sequence[int] = (2, 4, 6, 8), follows: float
) -> dict[str, list[float]]:
    """Returns geometric means of p(right program) over tuning questions: a row for each family and number of rules.

    `follows`: the share of the earlier feedback that the wrong attempts behind the feedback use. 0.9 is a good
    multi-turn player, 0 are independent attempts.
    """
    rows = {}
    for family in FAMILIES:
        for count in rules:
            rng = random.Random(f"{family}/{count}")
            asked = [named(name) for name in islice(names("tuning", family, (count,)), questions)]
            pairs = [(text, program(one)) for one in asked for text in prompts(one, rng, follows)]
            logs = torch.tensor(log_p(model, tokenizer, pairs)).view(questions, len(COLUMNS))
            rows[f"{family}:{count}"] = logs.mean(dim=0).exp().tolist()
    return rows


def prompts(asked: Question, rng: random.Random, follows: float) -> list[str]:
    """Returns the prompts behind COLUMNS."""
    text = question_text(problem(asked, ""))
    items = [conversation(asked, count, rng, follows=follows, luck=0.0) for count in ATTEMPTS]
    demonstrated = context_text(text, solution=answer(program(asked)))
    return [text, *(context_text(text, feedback=some) for some in items), demonstrated]


def markdown(rows: dict[str, list[float]]) -> str:
    """Returns `table` in Markdown."""
    head = ["", *COLUMNS]
    cells = [[name, *(f"{value:.2g}" for value in values)] for name, values in rows.items()]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *cells])


def write_subsets(model: MicroModel, tokenizer: Tokenizer, folder: Path = Path(problems.micro.__file__).parent) -> None:
    """Chooses SUBSETS for these weights, and writes their questions and the probability of each to `folder`."""
    lists = {wanted.name: choose(model, tokenizer, wanted) for wanted in SUBSETS}
    rounded = {name: {question: float(f"{p:.3g}") for question, p in one.items()} for name, one in lists.items()}
    (folder / "subsets.json").write_text(json.dumps(rounded, indent=1) + "\n", "utf-8")


def choose(model: MicroModel, tokenizer: Tokenizer, wanted: Subset) -> dict[str, float]:
    """Returns the first questions that fit, `wanted.each` of every family, with their probabilities."""
    chosen: dict[str, float] = {}
    for family in FAMILIES:
        found = _with_probability(model, tokenizer, names(wanted.part, family, wanted.rules))
        chosen |= islice(((name, p) for name, p in found if wanted.least <= p < wanted.most), wanted.each)
    return chosen


def names(part: Part, family: str, rules: Sequence[int]) -> Iterator[str]:
    """Returns the names of the questions of `part`, with `rules` in turn, by growing seed; without `micro:`."""
    every = (f"{family}:{rules[seed % len(rules)]}:{seed}" for seed in range(20_000))
    return (name for name in every if named(name).part == part)


def _with_probability(
    model: MicroModel, tokenizer: Tokenizer, candidates: Iterator[str]
) -> Iterator[tuple[str, float]]:
    while some := [(name, named(name)) for name in islice(candidates, 16)]:
        pairs = [(question_text(problem(asked, "")), program(asked)) for _, asked in some]
        for (name, _), log in zip(some, log_p(model, tokenizer, pairs), strict=True):
            yield f"micro:{name}", math.exp(log)
