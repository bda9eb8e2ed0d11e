"""One word, one meaning: words that were retired stay out of code, comments, messages, settings and pages.

The scan finds whole words, also in identifiers, which it divides at underscores and capitals. It doesn't know meanings.
A name that must keep a retired word (a key of the paper's code, a name of another library) is in ALLOWED with its file.
COVERED grows until it has all of `ttsd`, `problems`, `sandbox`, `configs`, `tools`, `README.md` and `docs/*.md`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.commands import ROOT

COVERED = (
    "configs",
    "tools",
    "ttsd/__init__.py",
    "ttsd/errors.py",
    "ttsd/examples.py",
    "ttsd/loop.py",
    "ttsd/methods.py",
    "ttsd/nouns.py",
    "ttsd/record/claims.py",
    "ttsd/training/losses",
)

# The words, and what is said instead.
WORDS = {
    "reading readings reprompt reprompts": "prompt",
    "hindsight": "context",
    "lesson lessons": "example",
    "rollout rollouts": "attempt, or completion for tokens only",
    "draw draws drawing drew drawn": "sample",
    "chain chains chained": "conversation",
    "window windows": "history_length",
    "texts blocks": "feedback items",
    "gains": "token advantages",
    "arm arms": "variant",
    "pools": "iid",
    "agreement self-test": "log-probability parity check",
    "lend lends lending lent borrow borrows borrowed": "attach",
    "readied": "prepared",
    "card cards": "GPU",
    "anew": "again",
    "beside": "next to, with",
    "dearer": "more expensive",
    "mend mends": "correct",
    "told": "said",
    "whoever": "the one that",
}

# Names that keep a retired word, by file.
ALLOWED = {
    "configs/*.toml": ("[reprompt]", "max_reprompt_len"),
    "tools/micro/corpus.py": ("Reprompt",),
    "tools/micro/model.py": ("use_sliding_window",),
    "tools/micro/tokenizer.py": ("REPROMPT_TEMPLATE",),
    "ttsd/training/losses/whole_batch.py": ("rollout_is_weights",),
}

INSTEAD = {word: instead for words, instead in WORDS.items() for word in words.split()}
RETIRED = re.compile(rf"\b({'|'.join(INSTEAD)})\b")
SUFFIXES = (".py", ".toml", ".md", ".jinja")


def files(covered: str) -> list[Path]:
    tops = ROOT.glob(covered)
    return sorted(path for top in tops for path in (top, *top.rglob("*")) if path.suffix in SUFFIXES)


def offences(text: str) -> list[str]:
    """Returns a sentence for each retired word in `text`."""
    words = re.sub(r"_|(?<=[a-z0-9])(?=[A-Z])", " ", text).lower().split("\n")
    return [
        f"line {number}: {word!r} is retired; say {INSTEAD[word]}"
        for number, line in enumerate(words, 1)
        for word in RETIRED.findall(line)
    ]


@pytest.mark.parametrize("covered", COVERED)
def test_no_retired_word_is_used(covered: str) -> None:
    assert files(covered), f"there is no {covered}; correct COVERED"
    found = []
    for path in files(covered):
        name, text = path.relative_to(ROOT), path.read_text("utf-8")
        for allowed in (allowed for pattern, names in ALLOWED.items() if name.match(pattern) for allowed in names):
            text = text.replace(allowed, "")
        found += [f"{name}, {offence}" for offence in offences(text)]
    assert not found, "\n".join(found)


def test_what_is_allowed_is_used() -> None:
    for pattern, names in ALLOWED.items():
        paths = list(ROOT.glob(pattern))
        assert paths, f"there is no {pattern}; correct ALLOWED"
        assert [name for name in names if not any(name in path.read_text("utf-8") for path in paths)] == []


def test_whole_words_are_found_also_in_identifiers() -> None:
    assert offences("the thread is already spread over a chainsaw") == []
    assert offences("ok\nclass ReadingList: last_drawn = 1") == [
        "line 2: 'reading' is retired; say prompt",
        "line 2: 'drawn' is retired; say sample",
    ]
