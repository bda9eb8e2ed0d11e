"""The bundled model's tokenizer and chat template.

A byte-level BPE that reads any text. The tool's fixed sentences and the suite's expressions and values are one token
each: the meaning of a verb is then one choice, feedback says it in one token at a fixed distance from the rule's name,
and feedback on several attempts fits into what a very small model can read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from problems.micro.families import ARGUMENTS, FAMILIES, Family, evaluate
from ttsd.prompts import FEEDBACK, FUNCTION_FORMAT, REPROMPT, SOLUTION, STDIN_FORMAT

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
    """Returns one user turn in the chat template, up to where the answer begins."""
    return f"{USER}{prompt}{END}{ASSISTANT}"


def encode(tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]]) -> list[tuple[list[int], list[int]]]:
    """Returns the token ids of each (prompt, answer): those up to the answer, and those of the answer with its end."""
    prompts = tokenizer.encode_batch([chat(prompt) for prompt, _ in pairs])
    answers = tokenizer.encode_batch([answer + END for _, answer in pairs])
    return [(prompt.ids, answer.ids) for prompt, answer in zip(prompts, answers, strict=True)]


def phrases() -> list[str]:
    """Returns the fixed phrases of questions, prompts, feedback and programs."""
    before, after = FUNCTION_FORMAT.split("{starter_code}")
    found = [family.intro + "\n" for family in FAMILIES.values()]
    found += ["\n\n" + STDIN_FORMAT, "\n\n" + before, after]
    found += [
        FEEDBACK.replace("{feedback_raw}", ""),
        SOLUTION.replace("{successful_previous_attempt}", ""),
        REPROMPT.replace("{prompt}{solution}{feedback}", ""),
    ]
    found += ["```python\n", "Wrong Answer\nInput:\n", "\nOutput:\n", "\nExpected:\n", "Runtime Error\n", "\nInput:\n"]
    found += ["\n\nWrong Answer\nInput:\n", "\n\nRuntime Error\n", 'File "solution.py", line ', "\n```"]
    found += [text for family in FAMILIES.values() for text in _skeleton(family)]
    return list(dict.fromkeys(found))


def terms() -> list[str]:
    """Returns the suite's expressions and the JSON values of its tests, except those of one character."""
    found: list[str] = []
    for family in FAMILIES.values():
        for operation in (operation for verb in family.verbs.values() for operation in verb):
            arguments = [json.dumps(argument) for argument in ARGUMENTS[operation.takes]]
            results = [evaluate(operation.code, family.variable, argument)[0] for argument in arguments]
            found += [operation.code, *arguments, *results]
    return [text for text in dict.fromkeys(found) if len(text) > 1]


def build_tokenizer(corpus: Iterable[str]) -> Tokenizer:
    """Returns a tokenizer of at most VOCABULARY tokens, made from `corpus` and the fixed phrases; deterministic."""
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
    tokenizer.train_from_iterator((piece for text in corpus for piece in _without(text, fixed)), trainer)
    tokenizer.add_tokens([AddedToken(text, normalized=False, special=False) for text in fixed])
    return tokenizer


def _skeleton(family: Family) -> list[str]:
    """Returns the parts of a program between the names and the expressions."""
    before, between, after = re.split(r"\{name\}|\{code\}", family.rule)
    return [family.head + before, between, after + family.next_rule.partition("{name}")[0]]


def _without(text: str, fixed: Sequence[str]) -> list[str]:
    pieces = [text]
    for phrase in sorted(fixed, key=len, reverse=True):
        pieces = [part for piece in pieces for part in piece.split(phrase)]
    return pieces
