"""Takes answers apart: a value with a name, and the elements of sets, lists, tuples, intervals and unions."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ttsd.judging.scoring.numerals import numeral

_NAME = re.compile(
    r"^\s*(\\?[A-Za-z]+(?:_(?:\{\w+\}|\w))?(?:\([A-Za-z, ]*\))?)\s*(?:=|\\in(?![A-Za-z]))(.*)$", re.DOTALL
)
_PIECES = re.compile(r"\\[{}]|\\cup(?![A-Za-z])|[()\[\]{},∪]")
_OPENING = {"(": ")", "[": "]", "{": "}", "\\{": "\\}"}
_CLOSING = {")", "]", "}", "\\}"}


def named(text: str) -> tuple[str, str]:
    """Returns the name that `x = 5` gives to its value, and the value; an equals sign alone begins a value, too."""
    match = _NAME.match(text)
    if match is None or "=" in match[2]:
        return "", text.removeprefix("=").strip()
    return "".join(match[1].split()), match[2].strip()


def elements_of(text: str) -> tuple[str, list[str]]:
    r"""Returns what kind of collection `text` is, and its elements; the kind is empty where it is a single value.

    The kinds: "set" for `\{1, 2\}`, `1, 2` and a union of such sets, "cup" for a union with other parts, the outer
    brackets for what has an order.
    """
    if len(parts := _split(text, ("\\cup", "∪"))) > 1:
        return _union(parts)
    if len(parts := _signed(_split(text, (",",)))) > 1:
        return "set", parts
    brackets = _brackets(text)
    if brackets is None:
        return "", [text.strip()]
    opening, closing = brackets
    inside = _signed(_split(text.strip().removeprefix(opening).removesuffix(closing), (",",)))
    if opening == "\\{" or (opening == "{" and len(inside) > 1):
        return "set", inside
    return (opening + closing, inside) if len(inside) > 1 else ("", [text.strip()])


def _union(parts: Sequence[str]) -> tuple[str, list[str]]:
    """Returns the kind and the elements of a union: its finite parts become one set, the empty set disappears."""
    finite: dict[object, str] = {}
    others = []
    for part in parts:
        kind, elements = elements_of(part)
        if kind == "set":
            finite |= {_key(element): element for element in elements}
        elif part != "\\emptyset":
            others.append(part)
    if not others:
        return "set", list(finite.values())
    if finite:
        others.append("\\{" + ", ".join(finite.values()) + "\\}")
    return ("cup", others) if len(others) > 1 else elements_of(others[0])


def _key(element: str) -> object:
    """Returns what equal elements of a set have in common: their value, else their text."""
    number = numeral(element)
    return number.value if number else "".join(element.split())


def _split(text: str, separators: Sequence[str]) -> list[str]:
    """Returns `text` divided at the separators that stand outside of all brackets."""
    parts, begin, depth = [], 0, 0
    for piece in _PIECES.finditer(text):
        depth += (piece[0] in _OPENING) - (piece[0] in _CLOSING)
        if not depth and piece[0] in separators:
            parts.append(text[begin : piece.start()].strip())
            begin = piece.end()
    return [*parts, text[begin:].strip()]


def _brackets(text: str) -> tuple[str, str] | None:
    """Returns the brackets round the whole of `text`, if there are any."""
    pieces, depth = list(_PIECES.finditer(text.strip())), 0
    if not pieces or pieces[0].start() or pieces[-1].end() < len(text.strip()) or pieces[0][0] not in _OPENING:
        return None
    for piece in pieces:
        depth += (piece[0] in _OPENING) - (piece[0] in _CLOSING)
        if not depth and piece is not pieces[-1]:
            return None
    return (pieces[0][0], pieces[-1][0]) if not depth else None


def _signed(elements: Sequence[str]) -> list[str]:
    r"""Returns the elements with `\pm 2` as the two that it stands for, and `x = 2` as 2."""
    found = []
    for element in elements:
        text = named(element.replace("±", "\\pm "))[1]
        found += [text.replace("\\pm", sign) for sign in "+-"] if text.count("\\pm") == 1 else [text]
    return found
