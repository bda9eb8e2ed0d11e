r"""Reads numbers as final answers write them, exactly: `12,345`, `-0.5`, `3/4`, `\frac34`, `3\frac{1}{2}`, `5\%`,
`1.2 \times 10^{5}`, `1.2e5`. Only 0 to 9 are digits, and a comma only stands between groups of three.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

_LAYOUT = re.compile(r"\\(?:left|right)(?![A-Za-z])|\\[,!;: ]|\^\{?\\circ\}?|°")
_SPACED_SIGN = re.compile(r"^([+-])\s+")
_TIMES_POWER = re.compile(r"\s*(?:\*|\\times|\\cdot|×|·)\s*10\^(?:\{([+-]?[0-9]+)\}|([+-]?[0-9]+))$")
_POWER = re.compile(r"^([+-]?)10\^(?:\{([+-]?[0-9]+)\}|([+-]?[0-9]+))$")
_INTEGER = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)"
_DECIMAL = re.compile(rf"([+-]?(?:{_INTEGER}(?:\.[0-9]*)?|\.[0-9]+))(?:[eE]([+-]?[0-9]{{1,4}}))?")
_REPEATING = re.compile(r"([+-]?)([0-9]*)\.([0-9]*)\\overline\s*\{?([0-9]+)\}?")
_PART = r"\s*(?:\{\s*(-?[0-9]+)\s*\}|([0-9]))"
_LATEX_FRACTION = rf"\\[dtc]?frac{_PART}{_PART}"
_FRACTION = re.compile(rf"([+-]?)\s*(?:{_LATEX_FRACTION}|({_INTEGER})\s*/\s*(-?{_INTEGER}))")
_MIXED = re.compile(rf"([+-]?)\s*([0-9]+)\s*(?:{_LATEX_FRACTION}|\s([0-9]+)/([0-9]+))")


@dataclass(frozen=True, slots=True)
class Numeral:
    """Holds a number as written. `rounded`: it has a decimal point or an exponent, and may stand for its neighbours."""

    value: Fraction
    rounded: bool = False


def numeral(text: str) -> Numeral | None:
    """Returns the number that `text` is; None where it is anything else, `2 + 3` and `2^{10}` included."""
    text = _bare(text)
    percent = text.endswith("%")
    if percent:
        text = text.removesuffix("%").rstrip()
    try:
        found = _decimal(text) or _fraction(text) or _mixed(text) or _repeating(text)
    except (ValueError, ZeroDivisionError):  # thousands of digits, or a division by zero
        return None
    return Numeral(found.value / 100, found.rounded) if found and percent else found


def _bare(text: str) -> str:
    """Returns a text without spacing, degrees, currency, and brackets around the whole."""
    text = _LAYOUT.sub("", text.replace("−", "-").replace("{,}", ",")).strip().removeprefix("\\$").removeprefix("$")
    text = _SPACED_SIGN.sub(r"\1", text.replace("\\%", "%"))
    while len(text) > 2 and (text[0], text[-1]) in (("(", ")"), ("{", "}")) and not set(text[1:-1]) & set("(){}"):
        text = text[1:-1].strip()
    return text


def _decimal(text: str) -> Numeral | None:
    if match := _POWER.match(text):
        text = f"{match[1]}1e{match[2] or match[3]}"
    elif match := _TIMES_POWER.search(text):
        text = f"{text[: match.start()]}e{match[1] or match[2]}"
    match = _DECIMAL.fullmatch(text)
    if match is None:
        return None
    digits, exponent = match[1].replace(",", ""), int(match[2] or 0)
    return Numeral(Fraction(digits) * Fraction(10) ** exponent, rounded="." in digits or match[2] is not None)


def _fraction(text: str) -> Numeral | None:
    match = _FRACTION.fullmatch(text)
    if match is None:
        return None
    above, below = (_integer(match[2] or match[3] or match[6]), _integer(match[4] or match[5] or match[7]))
    return Numeral(Fraction(-above if match[1] == "-" else above, below))


def _mixed(text: str) -> Numeral | None:
    match = _MIXED.fullmatch(text)
    if match is None:
        return None
    part = Fraction(_integer(match[3] or match[4] or match[7]), _integer(match[5] or match[6] or match[8]))
    value = int(match[2]) + part
    return Numeral(-value if match[1] == "-" else value) if 0 < part < 1 else None


def _repeating(text: str) -> Numeral | None:
    match = _REPEATING.fullmatch(text)
    if match is None:
        return None
    sign, whole, fixed, repeated = match.groups()
    part = Fraction(int(repeated), 10 ** len(repeated) - 1) / 10 ** len(fixed)
    value = Fraction(f"{whole or 0}.{fixed or 0}") + part
    return Numeral(-value if sign == "-" else value)


def _integer(text: str) -> int:
    return int(text.replace(",", ""))
