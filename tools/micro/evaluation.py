"""How likely the bundled model is to write the right program, alone and with context; which questions suit it.

`python -m tools.micro evaluate FOLDER` prints the table of a model folder; with `--subsets` it also writes the lists
`problems/micro/subsets.json` and the probabilities `problems/micro/p_solve.json`, which belong to one set of weights.

The tests of a question tell the four operations of each verb apart, so almost all probability of solving it is on
one text, the right program, whose exact probability is one forward pass. It is a lower bound: another operation that
happens to pass a test, or another spelling in tokens, adds a little (compared with large samples in the model's card).
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
import torch.nn.functional as F  # noqa: TID253
from torch.nn.utils.rnn import pad_sequence  # noqa: TID253

import problems.micro
from problems.micro import Part, Question, hash_pick, named, problem, program, question
from problems.micro import load as load_problem
from problems.micro.families import FAMILIES, MAX_RULES
from tools.micro.corpus import TEMPLATES, answer, conversation
from tools.micro.model import MicroModel
from tools.micro.tokenizer import END, chat
from ttsd.prompts import context_text, question_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BLOCKS = (0, 1, 2, 4, 6)
COLUMNS = (*(f"{blocks} blocks" for blocks in BLOCKS), "demonstration")


@dataclass(frozen=True, slots=True)
class Subset:
    """A list to be chosen: questions of `part` with `rules` rules and a probability between `least` and `most`."""

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
    """Returns, for each (prompt, right program), the log-probability that the model answers with just that and ends its
    turn.
    """
    found = []
    with torch.inference_mode():
        for at in range(0, len(pairs), 16):
            found += _batch_log_p(model, tokenizer, pairs[at : at + 16])
    return found


def _batch_log_p(model: MicroModel, tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]]) -> list[float]:
    prompts = [tokenizer.encode(chat(prompt)).ids for prompt, _ in pairs]
    answers = [tokenizer.encode(answer(right) + END).ids for _, right in pairs]
    ids = pad_sequence([torch.tensor(p + a) for p, a in zip(prompts, answers, strict=True)], batch_first=True)
    losses = F.cross_entropy(model(ids[:, :-1]).transpose(1, 2), ids[:, 1:], reduction="none")
    spans = [(len(p) - 1, len(p) + len(a) - 1) for p, a in zip(prompts, answers, strict=True)]
    return [-losses[row, start:end].sum().item() for row, (start, end) in enumerate(spans)]


def table(
    model: MicroModel, tokenizer: Tokenizer, *, questions: int, rules: Sequence[int] = (2, 4, 6, 8), heed: float = 0.9
) -> dict[str, list[float]]:
    """Returns geometric means of p(right program) over tuning questions, one row a family and number of rules.

    The wrong attempts behind the feedback heed a share `heed` of what it said: 0.9 is a good multi-turn player,
    0 are independent attempts.
    """
    rows = {}
    for family in FAMILIES:
        for count in rules:
            rng = random.Random(f"{family}/{count}")
            asked = [_of_part("tuning", family, count, rng) for _ in range(questions)]
            pairs = [(prompt, program(q)) for q in asked for prompt in contexts(q, rng, heed)]
            logs = torch.tensor(log_p(model, tokenizer, pairs)).view(questions, len(COLUMNS))
            rows[f"{family}:{count}"] = logs.mean(dim=0).exp().tolist()
    return rows


def meanings(model: MicroModel, tokenizer: Tokenizer, family: str, *, questions: int, rules: int = 4) -> list[float]:
    """Returns how the model divides its guesses of a question's last verb among its four operations, mean over tuning
    questions; WEIGHTS / 10 if it has learnt how often a verb means what.
    """
    rng = random.Random(family)
    asked = [_of_part("tuning", family, rules, rng) for _ in range(questions)]
    before = [[rule.operation for rule in one.rules[:-1]] for one in asked]
    pairs = [
        (question_text(problem(one, "")), program(one, [*known, operation]))
        for one, known in zip(asked, before, strict=True)
        for operation in one.family.verbs[one.rules[-1].verb]
    ]
    guesses = torch.tensor(log_p(model, tokenizer, pairs)).view(questions, -1).softmax(dim=1)
    found: list[float] = guesses.mean(dim=0).tolist()
    return found


def contexts(asked: Question, rng: random.Random, heed: float) -> list[str]:
    """Returns the prompts behind COLUMNS."""
    prompt = question_text(problem(asked, ""))
    conversations = [conversation(asked, blocks, rng, heed=heed, luck=0.0) for blocks in BLOCKS[1:]]
    demonstrated = context_text(prompt, TEMPLATES, solution=answer(program(asked)))
    return [prompt, *(context_text(prompt, TEMPLATES, feedback=texts) for texts in conversations), demonstrated]


def choose(model: MicroModel, tokenizer: Tokenizer, wanted: Subset) -> dict[str, float]:
    """Returns the first questions that fit, `wanted.each` of every family, with their probabilities."""
    chosen: dict[str, float] = {}
    for family in FAMILIES:
        fitting = (
            (name, p) for name, p in _candidates(model, tokenizer, family, wanted) if wanted.least <= p < wanted.most
        )
        chosen |= dict(islice(fitting, wanted.each))
    return chosen


def _candidates(model: MicroModel, tokenizer: Tokenizer, family: str, wanted: Subset) -> Iterator[tuple[str, float]]:
    names = (f"{family}:{wanted.rules[seed % len(wanted.rules)]}:{seed}" for seed in range(20_000))
    of_part = (name for name in names if named(name).part == wanted.part)
    while some := list(islice(of_part, 16)):
        right = [(question_text(load_problem(name)), program(named(name))) for name in some]
        yield from (
            (f"micro:{name}", math.exp(log)) for name, log in zip(some, log_p(model, tokenizer, right), strict=True)
        )


def _of_part(part: Part, family: str, rules: int, rng: random.Random) -> Question:
    while True:
        asked = question(FAMILIES[family], rules, hash_pick(str(rng.random())))
        if asked.part == part:
            return asked


def shown(rows: dict[str, list[float]]) -> str:
    """Returns `table` in markdown."""
    head = ["question", *COLUMNS]
    cells = [[name, *(f"{value:.2g}" for value in values)] for name, values in rows.items()]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *cells])


def write_subsets(model: MicroModel, tokenizer: Tokenizer) -> None:
    """Chooses SUBSETS for these weights and writes them, and the probabilities, next to the suite."""
    lists = {wanted.name: choose(model, tokenizer, wanted) for wanted in SUBSETS}
    folder = Path(problems.micro.__file__).parent
    names = {name: list(chosen) for name, chosen in lists.items()}
    found = {name: float(f"{p:.3g}") for chosen in lists.values() for name, p in chosen.items()}
    for file, value in (("subsets.json", names), ("p_solve.json", found)):
        (folder / file).write_text(json.dumps(value, indent=1) + "\n", "utf-8")
