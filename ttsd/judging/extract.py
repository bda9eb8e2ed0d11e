"""Finds the program, or the final answer, in what a model wrote."""

from __future__ import annotations

import re

# A fence opens a line; anything may follow the language name. Thinking is cut first: drafts live there.
_BLOCK = re.compile(r"^```[^\n`]*\n(.*?)^[ \t]*```", re.DOTALL | re.MULTILINE)
_THINKING = re.compile(r"^.*</think>", re.DOTALL)
_FINAL = re.compile(r"^[*_#>\s]*(?:final )?answer[*_\s]*:[*_]*[ \t]*(\S.*?)[*_\s]*$", re.IGNORECASE | re.MULTILINE)


def extract_program(answer: str) -> str | None:
    """The longest closed fenced block (the paper's rule), the last one of equals; None where there is none."""
    blocks = _BLOCK.findall(_THINKING.sub("", answer))
    program = max(reversed(blocks), key=len, default="")
    return program if program.strip() else None


def extract_answer(answer: str) -> str | None:
    r"""What stands in the last `\boxed{...}` or on the last line `Answer: ...`, whichever ends later; None: neither."""
    text = _THINKING.sub("", answer)
    line = next(reversed(list(_FINAL.finditer(text))), None)
    boxed = _last_boxed(text)
    if line is None and boxed is None:
        return None
    if line is None or (boxed is not None and boxed[0] > line.start(1)):
        return boxed[1].strip() or None if boxed else None
    return line[1].strip()


def _last_boxed(text: str) -> tuple[int, str] | None:
    """Where the content of the last closed `\\boxed{...}` begins, and that content, braces in it included."""
    end = len(text)
    while (start := text.rfind("\\boxed{", 0, end)) >= 0:
        depth, begin = 1, start + len("\\boxed{")
        for at in range(begin, len(text)):
            depth += (text[at] == "{") - (text[at] == "}")
            if not depth:
                return begin, text[begin:at]
        end = start
    return None
