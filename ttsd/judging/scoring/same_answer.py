r"""Whether a final answer is the right one: as text, as a number, as a collection of answers, or as mathematics.

- Texts: where the right answer has a word outside of LaTeX commands, the answer must be the same but for case, spaces
  and a final full stop. (Letters side by side are a product in LaTeX, so "listen" would equal "silent".)
- Numbers: a right answer that is exact (`3`, `1/3`) is met by its exact value alone, one with a decimal point by what
  is within a millionth of it, one with a `tolerance` by what is no further away than that. The answer must be written
  as a number (numerals.py); only with a tolerance may it be a constant such as `2\pi`, too.
- Collections: the elements of `\{1, 2\}` and of a bare `1, 2` in any order, those of `(1, 2)` and `[1, 2)` in theirs.
- Mathematics is LaTeX, or what reads the same without it (`x^2 + 1`): expressions are the same where they have the
  same value to 20 digits at several points. Relations are left to math_verify, whose door this is; its parser is the
  one for LaTeX alone, since the other one that the library has calls `eval`.

An answer that is not worked out is none (final_form.py). No answer ends its own comparison: time and memory are for
the owner of the process to limit.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ttsd.judging.scoring.final_form import first_operation, letters, unfinished
from ttsd.judging.scoring.numerals import Numeral, numeral

MAX_CHARACTERS = 2000
RELATIVE = Fraction(1, 10**6)
DIGITS = 20

_SIGNS = {"$": "", "**": "^", "−": "-", "·": "\\cdot ", "×": "\\times ", "π": "\\pi ", "θ": "\\theta ", "∞": "\\infty "}
_COMMAND = re.compile(r"\\(?:text|mathrm|operatorname|begin|end)\{[^{}]*\}|\\[A-Za-z]+")
_MATRIX = re.compile(r"\{[bB]matrix\}")
_WORD = re.compile(r"[^\W\d_]{2,}")
_DELIMITERS = re.compile(r"^(?:\$+|\\\(|\\\[)(.*?)(?:\$+|\\\)|\\\])$", re.DOTALL)
_UPRIGHT = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\{([^{}\\]*)\}")
_EMPTY = re.compile(r"\\varnothing(?![A-Za-z])|∅")
_LEFT_RIGHT = re.compile(r"\\(?:left|right)(?![A-Za-z])")
_NAME = re.compile(
    r"^\s*(\\?[A-Za-z]+(?:_(?:\{\w+\}|\w))?(?:\([A-Za-z, ]*\))?)\s*(?:=|\\in(?![A-Za-z]))(.*)$", re.DOTALL
)
_PIECES = re.compile(r"\\[{}]|\\cup(?![A-Za-z])|[()\[\]{},∪]")
_OPENING = {"(": ")", "[": "]", "{": "}", "\\{": "\\}"}
_CLOSING = {")", "]", "}", "\\}"}


@dataclass(frozen=True, slots=True)
class Comparison:
    """`unfinished` names what makes the answer no final one; it is then neither right nor wrong."""

    right: bool
    unfinished: str = ""


RIGHT, WRONG = Comparison(True), Comparison(False)


def same_answer(given: str, expected: str, *, exact: bool, tolerance: float | None) -> Comparison:
    """Whether `given` says what `expected` says; never more than MAX_CHARACTERS are looked at."""
    if len(given) > max(MAX_CHARACTERS, 2 * len(expected)):
        return WRONG
    if given.strip() == expected.strip():
        return RIGHT
    if exact:
        return WRONG
    given, expected = _bare(given), _bare(expected)
    if _wordy(expected):
        return Comparison(_plain(given).casefold() == _plain(expected).casefold())
    if _plain(given) == _plain(expected):
        return RIGHT
    allowed = None if tolerance is None else Fraction(repr(tolerance))
    return _compared(_plain(given), _plain(expected), allowed)


def _compared(given: str, expected: str, tolerance: Fraction | None) -> Comparison:
    (name, value), (wanted_name, wanted) = _named(given), _named(expected)
    if name and wanted_name:
        return _same_value(value, wanted, tolerance) if name == wanted_name else WRONG
    if "=" in given and "=" in expected:
        return _same_mathematics(given, expected)
    return _same_value(value, wanted, tolerance)


def _same_value(given: str, expected: str, tolerance: Fraction | None) -> Comparison:
    if (number := numeral(expected)) is not None:
        return _same_number(given, number, tolerance)
    kind, elements = _elements(expected)
    given_kind, given_elements = _elements(given)
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
        value = None if tolerance is None or letters(given) else _constant(given)
    if value is None:
        return WRONG if letters(given) else Comparison(False, first_operation(given))
    if tolerance is None:
        tolerance = RELATIVE * abs(wanted.value) if wanted.rounded else Fraction(0)
    return Comparison(abs(value - wanted.value) <= tolerance)


def _all(comparisons: Iterator[Comparison]) -> Comparison:
    return next((one for one in comparisons if not one.right), RIGHT)


def _in_any_order(given: Sequence[str], expected: Sequence[str], tolerance: Fraction | None) -> Comparison:
    left = list(given)
    for wanted in expected:
        comparisons = [_same_value(one, wanted, tolerance) for one in left]
        at = next((at for at, one in enumerate(comparisons) if one.right), None)
        if at is None:
            return next((one for one in comparisons if one.unfinished), WRONG)
        del left[at]
    return RIGHT


def _bare(text: str) -> str:
    """Without the marks that only say that mathematics begins and ends."""
    text = text.strip()
    match = _DELIMITERS.match(text)
    inside = match[1].strip() if match else text
    match = _UPRIGHT.fullmatch(inside)
    return (match[1] if match else inside).strip()


def _plain(text: str) -> str:
    text = _MATRIX.sub("{pmatrix}", _EMPTY.sub(r"\\emptyset", _LEFT_RIGHT.sub("", text)))
    return " ".join(text.rstrip(". \n").split())


def _wordy(text: str) -> bool:
    return _WORD.search(_COMMAND.sub(" ", text)) is not None


def _named(text: str) -> tuple[str, str]:
    """The name that `x = 5` gives to its value, and the value; one equals sign alone begins a value as well."""
    match = _NAME.match(text)
    if match is None or "=" in match[2]:
        return "", text.removeprefix("=").strip()
    return "".join(match[1].split()), match[2].strip()


def _elements(text: str) -> tuple[str, list[str]]:
    r"""What kind of collection `text` is, and its elements; the kind is empty where it is a single value.

    The kinds: "cup" for a union, "set" for `\{1, 2\}` and `1, 2`, the outer brackets for what has an order.
    """
    if len(parts := _split(text, ("\\cup", "∪"))) > 1:
        return "cup", parts
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


def _split(text: str, separators: Sequence[str]) -> list[str]:
    """`text` at the separators that stand outside of all brackets."""
    parts, begin, depth = [], 0, 0
    for piece in _PIECES.finditer(text):
        depth += (piece[0] in _OPENING) - (piece[0] in _CLOSING)
        if not depth and piece[0] in separators:
            parts.append(text[begin : piece.start()].strip())
            begin = piece.end()
    return [*parts, text[begin:].strip()]


def _brackets(text: str) -> tuple[str, str] | None:
    """The brackets round the whole of `text`, if there are such."""
    pieces, depth = list(_PIECES.finditer(text.strip())), 0
    if not pieces or pieces[0].start() or pieces[-1].end() < len(text.strip()) or pieces[0][0] not in _OPENING:
        return None
    for piece in pieces:
        depth += (piece[0] in _OPENING) - (piece[0] in _CLOSING)
        if not depth and piece is not pieces[-1]:
            return None
    return (pieces[0][0], pieces[-1][0]) if not depth else None


def _signed(elements: Sequence[str]) -> list[str]:
    r"""The elements with `\pm 2` as the two that it stands for, and `x = 2` as 2."""
    found = []
    for element in elements:
        text = _named(element.replace("±", "\\pm "))[1]
        found += [text.replace("\\pm", sign) for sign in "+-"] if text.count("\\pm") == 1 else [text]
    return found


def _constant(text: str) -> Fraction | None:
    r"""The value of a constant that no fraction equals, such as `2\pi`, to DIGITS digits; None for anything else."""
    from sympy import Rational

    parsed = _parsed(text)
    if not getattr(parsed, "is_number", False) or parsed.is_real is False or parsed.doit().is_rational:
        return None
    try:
        value = Rational(str(parsed.evalf(DIGITS)))
        return Fraction(value.p, value.q)
    except (TypeError, ValueError):
        return None


def _same_mathematics(given: str, expected: str) -> Comparison:
    if token := unfinished(given, expected, closed_forms=False):
        return Comparison(False, token)
    # A letter more than in the right answer would have to cancel out, which a final answer does not leave to others.
    return Comparison(letters(given) <= letters(expected) and _mathematically_same(given, expected))


def _mathematically_same(given: str, expected: str) -> bool:
    from math_verify import verify
    from sympy import Eq, Expr, MatrixBase

    one, other = _parsed(given), _parsed(expected)
    if isinstance(one, Expr) and isinstance(other, Expr):
        return _same_everywhere(one, other)
    if isinstance(one, MatrixBase) and isinstance(other, MatrixBase):
        return bool(one.shape == other.shape and all(map(_same_everywhere, one, other)))
    if isinstance(one, Eq) and isinstance(other, Eq):
        return _proportional(one.lhs - one.rhs, other.lhs - other.rhs)
    return one is not None and other is not None and bool(verify([other], [one], timeout_seconds=None))


def _parsed(text: str) -> Any:
    """What the LaTeX parser makes of `text`, with exact decimals; None where it can't read it."""
    from math_verify import LatexExtractionConfig, parse
    from sympy import Float, Rational

    found = parse(f"${_latex(text)}$", [LatexExtractionConfig()], parsing_timeout=None)
    found = [one for one in found if not isinstance(one, str)]
    if not found:
        return None
    if not hasattr(found[0], "atoms"):
        return found[0]
    return found[0].xreplace({decimal: Rational(str(decimal)) for decimal in found[0].atoms(Float)})


def _latex(text: str) -> str:
    for sign, command in _SIGNS.items():
        text = text.replace(sign, command)
    return text


def _same_everywhere(one: Any, other: Any) -> bool:
    """Whether two expressions have the same value at several points, which are the same at every call."""
    if one == other:
        return True
    return all(_close(one_value, other_value) for one_value, other_value in _values(one, other))


def _values(one: Any, other: Any) -> Iterator[tuple[Any, Any]]:
    """Values at two positive points, and at points with one negative coordinate where both values are real."""
    from sympy import E, I

    symbols = one.free_symbols | other.free_symbols
    for positive, point in _points(sorted({symbol.name for symbol in symbols})):
        numbers = {symbol: {"e": E, "i": I}.get(symbol.name, point[symbol.name]) for symbol in symbols}
        values = (one.subs(numbers).evalf(2 * DIGITS), other.subs(numbers).evalf(2 * DIGITS))
        if positive or all(value.is_real for value in values):
            yield values


def _points(names: Sequence[str]) -> Iterator[tuple[bool, dict[str, Any]]]:
    """Whether all coordinates are positive, and a coordinate a name: the same fractions at every call."""
    from sympy import Rational

    for salt in ("first", "second"):
        drawn = {name: hashlib.sha256(f"{salt} {name}".encode()).digest() for name in names}
        point = {name: Rational(2**15 + int.from_bytes(digest[:2], "big"), 2**16) for name, digest in drawn.items()}
        yield True, point
    for name in names:
        yield False, point | {name: -point[name]}


def _close(one: Any, other: Any) -> bool:
    if not (one.is_number and other.is_number and one.is_finite and other.is_finite):
        return False
    return bool(abs(one - other) <= max(abs(one), abs(other)) * Fraction(1, 10**DIGITS))


def _proportional(one: Any, other: Any) -> bool:
    """Whether one equation's difference is a constant times the other's."""
    ratios = [(a / b).evalf(2 * DIGITS) for a, b in _values(one, other) if b.is_number and not b.is_zero]
    return bool(ratios) and all(_close(ratios[0], ratio) and not ratio.is_zero for ratio in ratios)
