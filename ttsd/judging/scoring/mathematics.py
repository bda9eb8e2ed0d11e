"""Tells whether two LaTeX texts are the same mathematics. The door to math_verify.

Expressions are the same where they have the same value to DIGITS digits at several points; relations and other objects
are left to math_verify. Its parser is the one for LaTeX alone, since the other one that it has calls `eval`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

DIGITS = 20
_SIGNS = {"$": "", "**": "^", "−": "-", "·": "\\cdot ", "×": "\\times ", "π": "\\pi ", "θ": "\\theta ", "∞": "\\infty "}


def constant(text: str) -> Fraction | None:
    r"""Returns the value of a constant that no fraction equals, such as `2\pi`, to DIGITS digits; None for the rest."""
    from sympy import Rational

    parsed = _parsed(text)
    if not getattr(parsed, "is_number", False) or parsed.is_real is False or parsed.doit().is_rational:
        return None
    try:
        value = Rational(str(parsed.evalf(DIGITS)))
        return Fraction(value.p, value.q)
    except (TypeError, ValueError):
        return None


def same_mathematics(given: str, expected: str) -> bool:
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
    """Returns what the LaTeX parser makes of `text`, with exact decimals; None where it can't read it."""
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
    """Tells whether two expressions have the same value at several points, which are the same at every call."""
    if one == other:
        return True
    return all(_close(one_value, other_value) for one_value, other_value in _values(one, other))


def _values(one: Any, other: Any) -> Iterator[tuple[Any, Any]]:
    """Yields values at two positive points, and at points with one negative coordinate where both values are real."""
    from sympy import E, I

    symbols = one.free_symbols | other.free_symbols
    for positive, point in _points(sorted({symbol.name for symbol in symbols})):
        numbers = {symbol: {"e": E, "i": I}.get(symbol.name, point[symbol.name]) for symbol in symbols}
        values = (one.subs(numbers).evalf(2 * DIGITS), other.subs(numbers).evalf(2 * DIGITS))
        if positive or all(value.is_real for value in values):
            yield values


def _points(names: Sequence[str]) -> Iterator[tuple[bool, dict[str, Any]]]:
    """Yields whether all coordinates are positive, and a coordinate for each name: the same at every call."""
    from sympy import Rational

    for salt in ("first", "second"):
        digests = {name: hashlib.sha256(f"{salt} {name}".encode()).digest() for name in names}
        point = {name: Rational(2**15 + int.from_bytes(digest[:2], "big"), 2**16) for name, digest in digests.items()}
        yield True, point
    for name in names:
        yield False, point | {name: -point[name]}


def _close(one: Any, other: Any) -> bool:
    if not (one.is_number and other.is_number and one.is_finite and other.is_finite):
        return False
    return bool(abs(one - other) <= max(abs(one), abs(other)) * Fraction(1, 10**DIGITS))


def _proportional(one: Any, other: Any) -> bool:
    """Tells whether one equation's difference is a constant times the other's."""
    ratios = [(a / b).evalf(2 * DIGITS) for a, b in _values(one, other) if b.is_number and not b.is_zero]
    return bool(ratios) and all(_close(ratios[0], ratio) and not ratio.is_zero for ratio in ratios)
