r"""Whether a final answer is the right one: as text, as numbers, or as mathematics.

The door to math_verify, which takes decimals for equal that agree to six places.
Mathematics is LaTeX, or what reads the same without it (`3/4`, `x^2 + 1`). Letters side by side are a product in
LaTeX, so "listen" would equal "silent": where the right answer has a word outside of commands (`\pi`), texts are
compared. The parser is the one for LaTeX alone, since the other one that the library has calls `eval`. No answer ends
its own comparison: time and memory are for the owner of the process to limit.
"""

from __future__ import annotations

import re

MAX_CHARACTERS = 2000

_COMMAND = re.compile(r"\\(?:text|mathrm|operatorname)\{[^{}]*\}|\\[A-Za-z]+")
_WORD = re.compile(r"[^\W\d_]{2,}")
_DELIMITERS = re.compile(r"^(?:\$+|\\\(|\\\[)(.*?)(?:\$+|\\\)|\\\])$", re.DOTALL)


def same_answer(given: str, expected: str, *, exact: bool, tolerance: float | None) -> bool:
    """Whether `given` says what `expected` says; never more than MAX_CHARACTERS are looked at."""
    if len(given) > max(MAX_CHARACTERS, 2 * len(expected)):
        return False
    if given.strip() == expected.strip():
        return True
    if exact:
        return False
    given, expected = _bare(given), _bare(expected)
    if tolerance is not None:
        one, other = _number(given), _number(expected)
        return one is not None and other is not None and abs(one - other) <= tolerance
    return _plain(given) == _plain(expected) or (not _wordy(expected) and _same_mathematics(given, expected))


def _bare(text: str) -> str:
    """Without the marks that only say that mathematics begins and ends."""
    text = text.strip()
    match = _DELIMITERS.match(text)
    return (match[1] if match else text).strip()


def _plain(text: str) -> str:
    return " ".join(text.casefold().rstrip(".").split())


def _wordy(text: str) -> bool:
    return _WORD.search(_COMMAND.sub(" ", text)) is not None


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        pass
    for value in _parsed(text):
        try:
            return float(value.evalf())  # type: ignore[attr-defined]
        except (AttributeError, TypeError, ValueError):
            continue
    return None


def _same_mathematics(given: str, expected: str) -> bool:
    from math_verify import verify

    right, answer = _parsed(expected), _parsed(given)
    return bool(right and answer and verify(right, answer, timeout_seconds=None))


def _parsed(text: str) -> list[object]:
    from math_verify import LatexExtractionConfig, parse

    inside = text.replace("$", "").replace("**", "^")
    return list(parse(f"${inside}$", [LatexExtractionConfig()], parsing_timeout=None))
