"""The bundled model's tokenizer and chat template.

A byte-level BPE that reads any text. The tool's fixed sentences and the suite's expressions and values are one token
each: what a verb may mean is then one choice, what a test says one token at a fixed distance from the rule's name,
and several attempts' feedback fits into what a very small model can read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from problems.micro.families import ARGUMENTS, FAMILIES, Family, evaluate
from ttsd.config.sections import FEEDBACK_TEMPLATE, REPROMPT_TEMPLATE, SOLUTION_TEMPLATE
from ttsd.prompts import FUNCTION_FORMAT, STDIN_FORMAT

if TYPE_CHECKING:
    from tokenizers import Tokenizer

VOCABULARY = 768
PAD, USER, END, ASSISTANT, SYSTEM = SPECIAL = ("<|pad|>", "<|user|>", "<|end|>", "<|assistant|>", "<|system|>")
CHAT_TEMPLATE = (
    "{%- for message in messages -%}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|assistant|>' }}{%- endif -%}"
)
_PIECES = r"[A-Za-z]+ ?|[0-9]+|[^A-Za-z0-9]+"


def chat(prompt: str) -> str:
    """Returns what the chat template makes of one user turn, up to where the answer begins."""
    return f"{USER}{prompt}{END}{ASSISTANT}"


def phrases() -> list[str]:
    """Returns the fixed texts of questions, prompts and feedback."""
    before, after = FUNCTION_FORMAT.split("{starter_code}")
    feedback = FEEDBACK_TEMPLATE.replace("{feedback_raw}", "")
    solved = SOLUTION_TEMPLATE.replace("{successful_previous_attempt}", "")
    asked = REPROMPT_TEMPLATE.replace("{prompt}{solution}{feedback}", "")
    judged = ["Wrong Answer\nInput:\n", "\nOutput:\n", "\nExpected:\n", "Runtime Error\n", "\nInput:\n"]
    judged += ["\n\nWrong Answer\nInput:\n", "\n\nRuntime Error\n", 'File "solution.py", line ']
    intros = [family.intro + "\n" for family in FAMILIES.values()]
    programs = ["\n```", *chain.from_iterable(_skeleton(family) for family in FAMILIES.values())]
    fixed = ["\n\n" + STDIN_FORMAT, "\n\n" + before, after, feedback, solved, asked, "```python\n"]
    return list(dict.fromkeys([*intros, *fixed, *judged, *programs]))


def terms() -> list[str]:
    """Returns the suite's expressions and the JSON values that tests mention, all but those of one character."""
    found: dict[str, None] = {}
    for family in FAMILIES.values():
        for operation in chain.from_iterable(family.verbs.values()):
            arguments = [json.dumps(argument) for argument in ARGUMENTS[operation.takes]]
            results = [evaluate(operation.code, family.variable, argument)[0] for argument in arguments]
            found |= dict.fromkeys([operation.code, *arguments, *results])
    return [text for text in found if len(text) > 1]


def _skeleton(family: Family) -> list[str]:
    """Returns what stands between the names and the expressions of a program."""
    before, between, after = re.split(r"\{name\}|\{code\}", family.rule)
    return [family.head + before, between, after + re.split(r"\{name\}", family.next_rule)[0]]


def build_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Returns a tokenizer of at most VOCABULARY tokens, made from `texts` and the fixed phrases; deterministic."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(_PIECES), "isolated")
    spelling = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, spelling])
    tokenizer.decoder = decoders.ByteLevel()
    fixed = [*phrases(), *terms()]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(fixed),
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(chain.from_iterable(_without(text, fixed) for text in texts), trainer)
    tokenizer.add_tokens([AddedToken(text, normalized=False, special=False) for text in fixed])
    return tokenizer


def _without(text: str, fixed: Sequence[str]) -> list[str]:
    parts = [text]
    for phrase in sorted(fixed, key=len, reverse=True):
        parts = [piece for part in parts for piece in part.split(phrase)]
    return parts
