"""Finds the program, or the final answer, in what a model wrote.

It runs in the event loop, so it is linear in the text's length. Thinking is left out, since drafts are in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ttsd.thinking import without_thinking

_BLANKS = " \t\r\ufeff"
_CONTAINERS = _BLANKS + ">-*+.)0123456789"  # what CommonMark may have before a fence: quotes and list marks
_MOST_QUOTES = 3
_CODE = re.compile(r"\\.|\"\"\"|'''|[\"'#]|`{3,}")
_BRACES = re.compile(r"\\boxed ?\{|\\fbox ?\{|\\.|[{}]", re.DOTALL)
_MARKS = _BLANKS + "\f\v*_#>"
_MOST_MARKS = 16  # before the word `Answer` on its line
_PYTHON = re.compile(r"[{.]{0,2}(?:python|pypy|py)[\d.]{0,8}\}?", re.IGNORECASE)


def extract_program(answer: str) -> str | None:
    """Returns the program in `answer`; None where no fenced block is closed.

    A block whose language is Python is taken before one without a language, and that before any other; among equals
    the longest (the paper's rule), among equally long ones the last.
    """
    blocks = [block for block in _blocks(without_thinking(answer)) if block.text.strip()]
    return max(reversed(blocks), key=lambda block: (block.rank, len(block.text))).text if blocks else None


class _Block(NamedTuple):
    rank: int
    text: str


class _Fence(NamedTuple):
    """Describes an opening fence: its marks, how deep in quotes and how far in it stands, and its language."""

    marks: str
    quotes: int
    indent: int
    language: str

    @property
    def rank(self) -> int:
        """Returns 2 for Python, 1 where no language is named, 0 for another one."""
        return 2 if _PYTHON.fullmatch(self.language) else int(not self.language)

    def inside(self, line: str) -> str:
        """Returns a line of the block without the quote marks and the indentation of the fence."""
        for _ in range(self.quotes):
            line = line.lstrip(_BLANKS).removeprefix(">")
        line = line.removeprefix(" ") if self.quotes else line
        return line[min(self.indent, len(line) - len(line.lstrip(" \t"))) :]


class _End(NamedTuple):
    """Names a fence that closes a block, or may: line `number`, at `column`; `content` has the lines before it."""

    number: int
    column: int
    content: list[str]

    def text(self, last: str) -> str:
        """Returns the block's text; `last` is the line with the fence."""
        rest = [last[: self.column]] if last[: self.column].strip() else []
        return "".join(f"{line}\n" for line in [*self.content, *rest])


def _blocks(text: str, *, nested: bool = False) -> Iterator[_Block]:
    """Yields the closed blocks. A block without a language may hold Markdown of its own, one level deep."""
    lines, number, strings = text.split("\n"), 0, True
    while number < len(lines):
        fence = _opening(lines[number])
        number += 1
        if fence is None:
            continue
        first = next((at for at in range(number, len(lines)) if lines[at].strip()), number - 1)
        if lines[first][: fence.indent].strip() and not fence.quotes:
            fence = fence._replace(indent=0)  # the fence alone is indented
        end, certain = _end(lines, number, fence, strings=strings)
        if end is None:
            return
        strings &= certain  # where a string seems never to be closed, quotes are no guide from here on
        block = _Block(fence.rank, end.text(fence.inside(lines[end.number])))
        may_hold_blocks = not nested and fence.rank < 2 and fence.marks != "```"
        yield from (list(_blocks(block.text, nested=True)) if may_hold_blocks else []) or [block]
        number = end.number + (0 if _reopens(lines[end.number]) else 1)


def _opening(line: str) -> _Fence | None:
    """Returns the fence that `line` opens, if it does: after quote and list marks, or behind other text.

    Behind other text only the language may follow, since more would be a sentence with code in it.
    """
    at = line.find("```") if "```" in line else line.find("~~~")
    if at < 0:
        return None
    before, rest = line[:at], line[at:]
    info = rest.lstrip(rest[0])
    words = info.split()
    own_line = not before.strip(_CONTAINERS)
    sentence = len(words) > 1 or (words and not words[0].strip("{.+#-}").isalnum())
    if (rest[0] == "`" and "`" in info) or (not own_line and (rest[0] == "~" or sentence)):
        return None
    quotes = min(before.count(">"), _MOST_QUOTES) if own_line else 0
    column = before.rpartition(">")[2].removeprefix(" ") if quotes else before.lstrip("\ufeff")
    return _Fence(rest[: len(rest) - len(info)], quotes, len(column) if own_line else 0, words[0] if words else "")


def _reopens(line: str) -> bool:
    """Tells whether a fence that closed a block opens the next one: a model that begins once more forgets to close."""
    fence = _opening(line)
    return fence is not None and fence.rank == 2


def _end(lines: Sequence[str], begin: int, fence: _Fence, *, strings: bool) -> tuple[_End | None, bool]:
    """Returns where the block that begins at line `begin` is closed, and whether that is certain.

    A fence in a string or at the end of a comment is no certain end: it counts where no other one comes.
    """
    doubtful: _End | None = None
    content: list[str] = []
    quote = ""
    for number in range(begin, len(lines)):
        line = fence.inside(lines[number])
        if fence.rank and strings and fence.marks[0] == "`":
            column, quote, sure = _in_code(line, fence.marks, quote)
        else:
            column, sure = _in_text(line, fence.marks), True
        if column is not None and sure:
            return _End(number, column, content), True
        if column is not None and doubtful is None:
            doubtful = _End(number, column, [*content])
        content.append(line)
    return doubtful, doubtful is None


def _in_text(line: str, marks: str) -> int | None:
    """Returns the column at which a line of text closes the block: at its beginning or at its end."""
    stripped = line.strip(_BLANKS)
    if stripped.startswith(marks) and (marks[0] == "`" or not stripped.strip("~")):
        return 0
    return len(line.rstrip(_BLANKS).rstrip("`")) if marks[0] == "`" and stripped.endswith(marks) else None


def _in_code(line: str, marks: str, quote: str) -> tuple[int | None, str, bool]:
    """Returns the column at which a line of Python closes the block, the string that is open after it, and certainty.

    `quote` is the string that is open before it: three quotation marks, or nothing.
    """
    if quote and line.lstrip(_BLANKS).startswith(marks):
        return 0, quote, False
    for token in _CODE.finditer(line):
        mark = token[0]
        if mark.startswith("`"):
            if len(mark) >= len(marks) and quote in ("", "#"):
                at_end = not line[token.end() :].strip(_BLANKS)
                if not quote or at_end:
                    return token.start(), "", not quote
        elif quote == "#" or mark.startswith("\\"):
            continue
        elif not quote:
            quote = mark
        elif mark[0] == quote[0] and len(mark) >= len(quote):
            quote = ""
    return None, quote if len(quote) == 3 else "", True


def extract_answer(answer: str) -> str | None:
    r"""Returns what stands in the last `\boxed{...}` or behind the last `Answer:`, whichever ends later; None: neither.

    `Answer:` begins its line, behind any marks and list numbers; the value may stand on the line below.
    """
    text = without_thinking(answer)
    begin, found = max(_last_boxed(text), _last_marked(text))
    return found.strip() or None if begin >= 0 else None


def _last_boxed(text: str) -> tuple[int, str]:
    r"""Returns where the content of the last closed `\boxed{...}` or `\fbox{...}` begins, and that content.

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
    """Returns where the value behind the last `Answer:` begins, and that value; (-1, "") where there is none."""
    end, below = len(text), (-1, "")
    while end >= 0:
        start = text.rfind("\n", 0, end) + 1
        line = text[start:end]
        content = _marked(line)
        if content:
            return end - len(content), content.rstrip(_MARKS)
        if content is not None and below[1]:
            return below
        if line.strip(_MARKS) and line.strip() not in ("\\[", "$$"):
            below = (start, line.strip(_MARKS)) if content is None else (-1, "")
        end = start - 1
    return -1, ""


def _marked(line: str) -> str | None:
    """Returns what follows `Answer:` or `**Final answer:**` on a line that begins so; None where it does not.

    Without the colon nothing may follow, as in a heading.
    """
    first = next((at for at, sign in enumerate(line[:_MOST_MARKS]) if sign.isalpha()), 0)
    line = line[first:]
    for words in ("final answer", "answer"):
        if line[: len(words)].casefold() == words:
            rest = line[len(words) :].lstrip(_MARKS)
            if rest.startswith((":", "：")):
                return rest[1:].lstrip(_MARKS)
            return None if rest else ""
    return None
