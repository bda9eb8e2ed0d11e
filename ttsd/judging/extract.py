"""Finds the program, or the final answer, in what a model wrote.

It runs in the event loop, so it is linear in the text's length. Thinking is cut first, since drafts live there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ttsd.thinking import without_thinking

_FENCE = "```"
_BRACES = re.compile(r"\\boxed\{|\\.|[{}]", re.DOTALL)
_MARKS = " \t\r\f\v*_#>"


def extract_program(answer: str) -> str | None:
    """Returns the longest closed fenced block (the paper's rule), the last one of equals; None where there is none."""
    blocks = list(_blocks(without_thinking(answer)))
    program = max(reversed(blocks), key=len, default="")
    return program if program.strip() else None


def _blocks(text: str) -> Iterator[str]:
    """Returns the fenced blocks that are closed.

    A fence opens a line, and anything but a backtick may follow it there.
    """
    block: list[str] | None = None
    for line in text.split("\n"):
        if block is None:
            block = [] if line.startswith(_FENCE) and "`" not in line[len(_FENCE) :] else None
        elif line.lstrip(" \t").startswith(_FENCE):
            yield "".join(f"{one}\n" for one in block)
            block = None
        else:
            block.append(line)


def extract_answer(answer: str) -> str | None:
    r"""Returns what stands in the last `\boxed{...}` or on the last line `Answer: ...`, whichever ends later; None:
    neither.
    """
    text = without_thinking(answer)
    begin, found = max(_last_boxed(text), _last_marked(text))
    return found.strip() or None if begin >= 0 else None


def _last_boxed(text: str) -> tuple[int, str]:
    r"""Returns where the content of the last closed `\boxed{...}` begins, and that content, braces in it included.

    (-1, "") where there is none. A brace behind a backslash is a sign and opens or closes nothing.
    """
    open_braces: list[tuple[int, bool]] = []
    last = (-1, -1)
    for match in _BRACES.finditer(text):
        if match[0].endswith("{") and match[0] != "\\{":
            open_braces.append((match.end(), match[0] != "{"))
        elif match[0] == "}" and open_braces:
            begin, boxed = open_braces.pop()
            last = max(last, (begin, match.start())) if boxed else last
    return last[0], text[last[0] : last[1]] if last[0] >= 0 else ""


def _last_marked(text: str) -> tuple[int, str]:
    """Returns where the content of the last line `Answer: ...` begins, and that content; (-1, ""): none."""
    end = len(text)
    while end >= 0:
        start = text.rfind("\n", 0, end) + 1
        content = _marked(text[start:end])
        if content:
            return end - len(content), content.rstrip(_MARKS)
        end = start - 1
    return -1, ""


def _marked(line: str) -> str:
    """Returns what follows `Answer:` or `**Final answer:**` on a line that begins so."""
    line = line.lstrip(_MARKS)
    for words in ("final answer", "answer"):
        if line[: len(words)].casefold() == words:
            rest = line[len(words) :].lstrip(_MARKS)
            return rest[1:].lstrip(_MARKS) if rest.startswith(":") else ""
    return ""
