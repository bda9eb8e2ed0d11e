r"""Tells whether a final answer is the right one: as text, as a number, as a collection of answers, or as mathematics.

- Texts: where the right answer has a word outside of LaTeX commands, the answer must be the same but for case, spaces
  and a final full stop. (Letters side by side are a product in LaTeX, so "listen" would equal "silent".)
- Numbers: a right answer that is exact (`3`, `1/3`) is met by its exact value alone, one with a decimal point by what
  is within a millionth of it, one with a `tolerance` by what is no further away than that. The answer must be written
  as a number (numerals.py); only with a tolerance may it be a constant such as `2\pi`, too.
- Collections: the elements of `\{1, 2\}` and of a bare `1, 2` in any order, those of `(1, 2)` and `[1, 2)` in theirs.
- Mathematics is LaTeX, or what reads the same without it, such as `x^2 + 1` (mathematics.py).

An answer that is not worked out is none (final_form.py). No answer ends its own comparison: time and memory are for
the owner of the process to limit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from ttsd.judging.scoring.elements import elements_of, named
from ttsd.judging.scoring.final_form import first_operation, letters, unfinished, unreadable
from ttsd.judging.scoring.mathematics import constant, same_mathematics
from ttsd.judging.scoring.numerals import Numeral, numeral

MAX_CHARACTERS = 2000
RELATIVE = Fraction(1, 10**6)

_COMMAND = re.compile(r"\\(?:text|mathrm|operatorname|begin|end)\{[^{}]*\}|\\[A-Za-z]+")
_MATRIX = re.compile(r"\{[bB]matrix\}")
_WORD = re.compile(r"[^\W\d_]{2,}")
_AROUND = (
    *(("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("*", "*"), ("__", "__"), ("_", "_")),
    *(("`", "`"), ('"', '"'), ("“", "”")),
)
_UPRIGHT = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\{([^{}\\]*)\}")
_UNIT = re.compile(r"\\(?:text|textbf|mathrm|mbox)\s*\{[^{}]*\}(?:\^\{?[0-9]\}?)?\s*$")
_NO_UNIT = re.compile(
    r"\b(?:or|and|if|mod|at|not|dozen|hundred|thousand|[mbtr]+illion|percent|squared|cubed|factorial|half|times|over)s?\b"
)
_PLAIN_UNIT = re.compile(
    r"(?<=[0-9}]) ?(?:[mck]m|[mk]g|m[lL]|ft|sec|min|mph|km/h|m/s|(?:second|minute|hour|day|week|month|year|met(?:er|re)"
    r"|mile|inch|degree|dollar|cent|euro|unit|point|way|student|apple)(?:e?s)?|people|persons?|feet)(?:\^?[23]|[²³])?\s*$"
)
_LETTER = re.compile(r"\\(?:mathrm|mathit|text|operatorname)\s*\{([ei])\}|\{\\rm ([ei])\}")
_EMPTY = re.compile(r"\\varnothing(?![A-Za-z])|∅|\\\{\s*\\\}")
_LEFT_RIGHT = re.compile(r"\\(?:left|right)(?![A-Za-z])")


@dataclass(frozen=True, slots=True)
class Comparison:
    """Holds the result: `unfinished` names what makes the answer no final one, which is neither right nor wrong."""

    right: bool
    unfinished: str = ""


RIGHT, WRONG = Comparison(True), Comparison(False)


def same_answer(given: str, expected: str, *, exact: bool, tolerance: float | None) -> Comparison:
    """Tells whether `given` says what `expected` says; never more than MAX_CHARACTERS are looked at."""
    if len(given) > max(MAX_CHARACTERS, 2 * len(expected)):
        return WRONG
    if given.strip() == expected.strip():
        return RIGHT
    if exact:
        return WRONG
    given, expected = _bare(given), _bare(expected)
    if _wordy(expected):
        return Comparison(_plain(given).casefold() == _plain(expected).casefold())
    if _plain(given) == _plain(expected) or (
        expected.isalpha() and given.strip("()").casefold() == expected.casefold()
    ):
        return RIGHT  # a letter is a choice among several, as in "(b)"
    allowed = None if tolerance is None else Fraction(repr(tolerance))
    return _compared(_plain(given), _plain(expected), allowed)


def _compared(given: str, expected: str, tolerance: Fraction | None) -> Comparison:
    (name, value), (wanted_name, wanted) = named(given), named(expected)
    if name and wanted_name:
        return _same_value(value, wanted, tolerance) if name == wanted_name else WRONG
    if "=" in given and "=" in expected:
        return _same_mathematics(given, expected)
    return _same_value(value, wanted, tolerance)


def _same_value(given: str, expected: str, tolerance: Fraction | None) -> Comparison:
    given, expected = _without_unit(given, expected)
    kind, elements = elements_of(expected)
    if (number := numeral(expected)) is not None:
        return _same_number(given, number, tolerance)
    if not kind and tolerance is not None and (value := constant(expected)) is not None:
        return _same_number(given, Numeral(value), tolerance)
    given_kind, given_elements = elements_of(given)
    if kind != given_kind or len(elements) != len(given_elements):
        return Comparison(False, unfinished(given, expected, closed_forms=False))
    if not kind:
        return _same_mathematics(given, expected)
    if kind[0] in "([":
        pairs = zip(given_elements, elements, strict=True)
        return _all(_same_value(one, other, tolerance) for one, other in pairs)
    return _in_any_order(given_elements, elements, tolerance)


def _same_number(given: str, wanted: Numeral, tolerance: Fraction | None) -> Comparison:
    found = numeral(given)
    value = found.value if found else None
    if value is None:
        if token := unfinished(given, "", closed_forms=tolerance is not None):
            return Comparison(False, token)
        value = None if tolerance is None or letters(given) else constant(given)
    if value is None:
        return WRONG if letters(given) else Comparison(False, first_operation(given))
    if tolerance is None:
        tolerance = RELATIVE * abs(wanted.value) if wanted.rounded else Fraction(0)
    return Comparison(abs(value - wanted.value) <= tolerance)


def _same_mathematics(given: str, expected: str) -> Comparison:
    if token := unfinished(given, expected, closed_forms=False):
        return Comparison(False, token)
    if unreadable(expected):
        return Comparison("".join(given.split()) == "".join(expected.split()))
    # A letter more than in the right answer would have to cancel out, which a final answer does not leave to others.
    return Comparison(letters(given) <= letters(expected) and same_mathematics(given, expected))


def _without_unit(given: str, expected: str) -> tuple[str, str]:
    r"""Returns both without a unit at their ends, as in `5\text{ cm}`: one may leave it out, but not exchange it."""
    unit, wanted = _unit(given), _unit(expected)
    if wanted is None and unit is not None and not _NO_UNIT.search(unit[0]):
        return given[: unit.start()], expected
    if wanted is None:
        return given, expected
    if unit and _name(unit) == _name(wanted):
        given = given[: unit.start()]
    return given, expected[: wanted.start()]


def _unit(text: str) -> re.Match[str] | None:
    match = _UNIT.search(text) or _PLAIN_UNIT.search(text)
    return match if match and text[: match.start()].strip() else None


def _name(unit: re.Match[str]) -> str:
    return "".join(unit[0].split())


def _all(comparisons: Iterator[Comparison]) -> Comparison:
    return next((one for one in comparisons if not one.right), RIGHT)


def _in_any_order(given: Sequence[str], expected: Sequence[str], tolerance: Fraction | None) -> Comparison:
    left, failed = list(given), WRONG
    for wanted in expected:
        for at, one in enumerate(left):
            comparison = _same_value(one, wanted, tolerance)
            if comparison.right:
                del left[at]
                break
            failed = comparison if comparison.unfinished else failed
        else:
            return failed
    return RIGHT


def _bare(text: str) -> str:
    """Returns `text` without the marks that only begin and end mathematics, code, emphasis or a quotation."""
    text = text.strip().rstrip(". ")
    for opening, closing in _AROUND:
        inside = text.removeprefix(opening).removesuffix(closing)
        if len(text) - len(inside) == len(opening + closing) and closing not in inside and inside.strip():
            return _bare(inside)
    match = _UPRIGHT.fullmatch(text)
    return (match[1] if match else text).strip()


def _plain(text: str) -> str:
    text = _LETTER.sub(lambda letter: letter[1] or letter[2], _LEFT_RIGHT.sub("", text))
    text = _MATRIX.sub("{pmatrix}", _EMPTY.sub(r"\\emptyset", text))
    return " ".join(text.rstrip(". \n").split())


def _wordy(text: str) -> bool:
    return _WORD.search(_COMMAND.sub(" ", text)) is not None
