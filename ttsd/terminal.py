"""Text for terminals: whatever a question, a record or a model brings along, it steers none.

Everything that `ttsd` prints goes through `CleanStream`, which stands in for stdout and stderr from the first line of a
command on, so that no call can forget it; libraries and tracebacks are covered, too. rich has to write escape sequences
of its own: it gets the stream itself (`unwrapped`), and only text that went through `readable`.
"""

from __future__ import annotations

import json
import re
import sys
from io import TextIOWrapper
from typing import Any, TextIO, cast

# Control characters but newline and tab; halves of characters; and what Unicode has no sign for: formats (among them
# those that turn the direction of writing or take no room), separators of lines, fillers, selectors. The selectors
# U+FE0E and U+FE0F only choose between two looks of a sign.
_STEERS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5"
    r"\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb"
    r"\U000110bd\U000110cd\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def readable(text: str) -> str:
    """Returns `text` with U+FFFD for what could steer a terminal, or print as something else or as nothing."""
    return _STEERS.sub("\ufffd", text.replace("\r\n", "\n"))


def one_line(text: object) -> str:
    """Returns `text`, readable and on one line: a title or a name can't add lines that look like ours."""
    return " ".join(readable(str(text)).split())


def json_text(value: Any, indent: int | None = None) -> str:
    """Returns JSON in printable ASCII, which a terminal shows and a program reads as it is."""
    return json.dumps(value, default=dict, indent=indent).replace("\x7f", "\\u007f")


def say(text: str) -> None:
    """Prints on stderr, where talk goes."""
    print(readable(text), file=sys.stderr, flush=True)


class CleanStream:
    """Wraps a stream of text: what is written to it is readable.

    `progress`: a bar of a library, which begins with a carriage return and has no newline, renews its line.
    """

    def __init__(self, stream: TextIO, *, progress: bool) -> None:
        self.stream, self._progress = stream, progress

    def write(self, text: str) -> int:
        start = "\r" * (self._progress and text[:1] == "\r" and "\n" not in text)
        self.stream.write(start + readable(text.removeprefix(start)))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def keep_streams_clean() -> None:
    """Cleans what this process prints from now on. Again after somebody put streams of their own in place."""
    if not isinstance(sys.stdout, CleanStream):
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # as stderr's: not every locale has every sign
        sys.stdout = cast(TextIO, CleanStream(sys.stdout, progress=False))
    if not isinstance(sys.stderr, CleanStream):
        sys.stderr = cast(TextIO, CleanStream(sys.stderr, progress=True))


def unwrapped(stream: TextIO) -> TextIO:
    """Returns the stream that is under `stream`."""
    return stream.stream if isinstance(stream, CleanStream) else stream


def print_answer(text: str) -> None:
    """Prints a program or an answer on stdout: exactly, in UTF-8, to a pipe or a file; readable on a terminal."""
    out = sys.stdout if sys.stdout.isatty() else unwrapped(sys.stdout)
    if isinstance(out, TextIOWrapper):
        out.reconfigure(encoding="utf-8")  # in which Python reads programs
    print(text, file=out)
