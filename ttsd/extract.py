"""Finds the program in an answer."""

from __future__ import annotations

import re

# A fence opens a line; anything may follow the language name. Thinking is cut first: drafts live there.
_BLOCK = re.compile(r"^```[^\n`]*\n(.*?)^[ \t]*```", re.DOTALL | re.MULTILINE)
_THINKING = re.compile(r"^.*</think>", re.DOTALL)


def extract_program(answer: str) -> str | None:
    """The longest closed fenced block (the paper's rule), the last one of equals; None where there is none."""
    blocks = _BLOCK.findall(_THINKING.sub("", answer))
    program = max(reversed(blocks), key=len, default="")
    return program if program.strip() else None
