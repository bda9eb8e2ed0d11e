"""How likely the bundled model is to write the right program, alone and with hindsight.

The tests of a question tell the four operations of a verb apart, so almost all probability of solving it lies on one
text: the right program. Its exact probability is one forward pass; large samples agree (see the model's card).
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import torch  # noqa: TID253
import torch.nn.functional as F  # noqa: TID253

from problems.micro import Question, problem, program, question
from problems.micro.families import FAMILIES
from ttsd.micro_corpus import answer, conversation
from ttsd.micro_model import MicroModel
from ttsd.prompts import student_prompt, teacher_prompt

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BLOCKS = (0, 1, 2, 4, 6)


def log_p(model: MicroModel, tokenizer: Tokenizer, prompts: list[str], right: str) -> list[float]:
    """Natural log-probability of the answer with program `right` (and its end of turn) after each prompt."""
    answer_ids = tokenizer.encode(answer(right) + "<|end|>").ids
    found = []
    for prompt in prompts:
        ids = tokenizer.encode(f"<|user|>{prompt}<|end|><|assistant|>").ids + answer_ids
        with torch.no_grad():
            logits = model(torch.tensor([ids]))[0, -len(answer_ids) - 1 : -1]
        found.append(-F.cross_entropy(logits.float(), torch.tensor(answer_ids), reduction="sum").item())
    return found


def tuning_questions(family: str, rules: int, count: int, seed: int = 0) -> list[Question]:
    rng = random.Random(f"{seed}/{family}/{rules}")
    found: list[Question] = []
    while len(found) < count:
        asked = question(FAMILIES[family], rules, rng.randrange)
        if asked.part == "tuning":
            found.append(asked)
    return found


def table(
    model: MicroModel, tokenizer: Tokenizer, *, questions: int, rules: tuple[int, ...] = (2, 4, 6)
) -> dict[str, list[float]]:
    """Geometric means of p(right program): columns are BLOCKS blocks of feedback, then a demonstration."""
    model.eval()
    rng = random.Random(0)
    rows = {}
    for family in FAMILIES:
        for count in rules:
            sums = torch.zeros(len(BLOCKS) + 1)
            for asked in tuning_questions(family, count, questions):
                sums += torch.tensor(log_p(model, tokenizer, _prompts(asked, rng), program(asked)))
            rows[f"{family}:{count}"] = [float(f"{p:.2g}") for p in (sums / questions).exp()]
    model.train()
    return rows


def _prompts(asked: Question, rng: random.Random) -> list[str]:
    prompt = student_prompt(problem(asked, ""))
    told = [conversation(asked, blocks, rng, heed=0.9, luck=0.0) for blocks in BLOCKS]
    demonstrated = teacher_prompt(prompt, demonstration=answer(program(asked)))
    return [prompt, *(teacher_prompt(prompt, feedback=texts) for texts in told[1:]), demonstrated]
