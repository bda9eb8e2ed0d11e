"""Compares what an untrusted program left behind with what was expected, by the question's built-in checker.

The default checker, `tokens`, has the rules of LiveCodeBench's grader. Where it departs from them:

- Output of more than four times the expected size plus 64 KiB is wrong without being read: padding that long is no
  honest answer, and comparing it would cost seconds.
- Output that is not UTF-8 is wrong, and so is a result that is not plain JSON (NaN and infinities included): nothing
  that a program returns is compared as an object, so no `__eq__` of its own can say that it is right.
- A signalling NaN among the decimals is unequal to everything; there it crashes the grader.
- Results cross the sandbox's border as JSON, in which tuples are lists at every depth (there: at the outermost) and
  the keys of dictionaries are text. LeetCode does not distinguish these either.

As there, the digits of every script are digits: a line of Arabic-Indic ones equals the same number in ASCII. (Final
answers are read more strictly, see scoring/numerals.py.) And as there, a result is compared by value: `True` equals
`1`, `1.0` equals `1`, and 0.1 + 0.2 does not equal 0.3. An empty expected output is matched by blank output.

What a program wrote may be long, so no step takes more than linear time, but for sorting: long integers stay decimal
digits, and `Decimal` compares without writing an exponent out. Output with other numbers of lines or values than the
expected one has is wrong without being taken apart, and tokens are read one by one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal, DecimalException
from itertools import zip_longest
from typing import Any

from problems.checker import EXACT, TOKENS, Checker
from problems.problem import Case
from problems.values import marks_in, refuse_bomb, strict_json

SLACK_FACTOR = 4
SLACK_BYTES = 64 << 10
EXACT_FLOATS = 2**53
WORDS_AT_ONCE = 1 << 16
_NUMBERS = (int, float, Decimal)


def right(output: bytes | None, case: Case, checker: Checker, *, function: bool) -> bool:
    """Tells whether what a program printed, or what a function returned, is right for `case`."""
    if function:
        return same_result(output, case.expected, EXACT if case.exact else checker)
    return same_output(output, case.expected, checker)


def same_output(printed: bytes | None, expected: str, checker: Checker = TOKENS) -> bool:
    """Tells whether a script's standard output is right."""
    text = decoded(printed, expected)
    if text is None:
        return False
    if checker.kind == "exact":
        return text.removesuffix("\n") == expected.removesuffix("\n")
    if checker.kind == "floats":
        return all(_close_tokens(*pair, checker) for pair in _pairs(text, expected))
    text, expected = text.strip(), expected.strip()
    if text.count("\n") != expected.count("\n"):
        return False
    if checker.kind == "unordered":
        return _same_in_any_order(_lines(text), _lines(expected))
    if checker.kind == "case-insensitive":
        text, expected = text.casefold(), expected.casefold()
    return all(map(_same_line, _lines(text), _lines(expected)))


def same_result(returned: bytes | None, expected: str, checker: Checker = TOKENS) -> bool:
    """Tells whether a function's return value, as JSON, is right. None (nothing was returned at all) never is."""
    text = decoded(returned, expected)
    if text is None:
        return False
    try:
        refuse_bomb(text, SLACK_FACTOR * marks_in(expected) + SLACK_BYTES)
        return _same_value(strict_json(text), strict_json(expected), checker)
    except (ValueError, RecursionError, ArithmeticError):
        return False


def decoded(data: bytes | None, expected: str) -> str | None:
    """Returns what a program left as text; None where that can't be right: nothing, or too long, or not UTF-8."""
    if data is None or len(data) > SLACK_FACTOR * len(expected) + SLACK_BYTES:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n")]


def _pairs(text: str, wanted: str) -> Iterator[tuple[str, str]]:
    """Yields the tokens of both texts, pair by pair; "" where one has no more."""
    return zip_longest(_tokens(text), _tokens(wanted), fillvalue="")


def _tokens(text: str) -> Iterator[str]:
    """Yields the words of `text` without a list of all of them."""
    while True:
        words = text.split(None, WORDS_AT_ONCE)
        yield from words[:WORDS_AT_ONCE]
        if len(words) <= WORDS_AT_ONCE:
            return
        text = words[-1]


def _same_line(line: str, wanted: str) -> bool:
    if line == wanted:
        return True
    try:
        return all(Decimal(token) == Decimal(other) for token, other in _pairs(line, wanted))
    except (DecimalException, ValueError):  # no number, or one side has no more of them
        return False


def _decimals(line: str) -> list[Decimal] | None:
    """Returns the line's tokens as decimals; None where one is not a number or is NaN, which equals nothing."""
    try:
        numbers = [Decimal(token) for token in line.split()]
    except (DecimalException, ValueError):
        return None
    return None if any(number.is_nan() for number in numbers) else numbers


def _close_tokens(token: str, wanted: str, checker: Checker) -> bool:
    if token == wanted:
        return True
    try:
        one, other = float(token), float(wanted)
    except ValueError:
        return False
    if _clearly_close(one, other, checker):
        return True
    numbers = _decimals(f"{token} {wanted}")
    return numbers is not None and _close(numbers[0], numbers[1], checker)


def _clearly_close(one: float, wanted: float, checker: Checker) -> bool:
    """Tells whether two numbers are so close that no rounding matters; what is not clear is for `_close`."""
    allowed = max(checker.absolute, checker.relative * abs(wanted))
    return max(abs(one), abs(wanted)) < EXACT_FLOATS and abs(one - wanted) < 0.999 * allowed


def _close(one: Decimal, wanted: Decimal, checker: Checker) -> bool:
    if one == wanted:
        return True
    if not one.is_finite() or not wanted.is_finite():
        return False
    allowed = max(Decimal(repr(checker.absolute)), Decimal(repr(checker.relative)) * abs(wanted))
    try:
        return abs(one - wanted) <= allowed
    except DecimalException:  # an exponent beyond all bounds
        return False


def _same_in_any_order(lines: list[str], wanted: list[str]) -> bool:
    """Compares lines in any order; where one line alone has several tokens, its tokens may be in any order instead."""
    if _same_parts(lines, wanted):
        return True
    return (
        len(lines) == len(wanted)
        and sum(len(line.split()) > 1 for line in wanted) == 1
        and all(_same_parts(line.split(), other.split()) for line, other in zip(lines, wanted, strict=True))
    )


def _same_parts(parts: list[str], wanted: list[str]) -> bool:
    """Compares lines, or tokens, in any order."""
    if len(parts) != len(wanted):
        return False
    given, missing = Counter(parts) - Counter(wanted), Counter(wanted) - Counter(parts)
    return sorted(map(_line_key, given.elements())) == sorted(map(_line_key, missing.elements()))


def _line_key(line: str) -> tuple[int, list[Decimal] | str]:
    """Returns what equal lines, and no others, have in common, so that they can be sorted."""
    numbers = _decimals(line)
    return (0, numbers) if numbers is not None else (1, line)


def _same_value(one: Any, wanted: Any, checker: Checker) -> bool:
    if checker.kind == "exact":
        return _alike(one, wanted, lambda left, right: type(left) is type(right) and bool(left == right))
    if checker.kind == "floats":
        return _alike(one, wanted, lambda left, right: _close_values(left, right, checker))
    if checker.kind == "case-insensitive":
        return _alike(one, wanted, _same_but_for_case)
    if checker.kind == "unordered" and isinstance(one, list) and isinstance(wanted, list):
        return sorted(map(_value_key, one)) == sorted(map(_value_key, wanted))
    return bool(one == wanted)


def _alike(one: Any, wanted: Any, same: Callable[[Any, Any], bool]) -> bool:
    """Compares lists and dictionaries at every depth, and what is in them by `same`."""
    if isinstance(one, list) and isinstance(wanted, list):
        return len(one) == len(wanted) and all(_alike(*pair, same) for pair in zip(one, wanted, strict=True))
    if isinstance(one, dict) and isinstance(wanted, dict):
        return one.keys() == wanted.keys() and all(_alike(one[key], wanted[key], same) for key in one)
    return same(one, wanted)


def _close_values(one: Any, wanted: Any, checker: Checker) -> bool:
    if one == wanted:
        return True
    if type(one) not in _NUMBERS or type(wanted) not in _NUMBERS:
        return False
    if isinstance(one, float) and isinstance(wanted, float) and _clearly_close(one, wanted, checker):
        return True
    decimals = [Decimal(repr(value)) if isinstance(value, float) else Decimal(value) for value in (one, wanted)]
    return _close(decimals[0], decimals[1], checker)


def _same_but_for_case(one: Any, wanted: Any) -> bool:
    if isinstance(one, str) and isinstance(wanted, str):
        return one.casefold() == wanted.casefold()
    return bool(one == wanted)


def _value_key(value: Any) -> str:
    """Returns what equal values, and no others, have in common, so that they can be sorted."""
    return json.dumps(_by_value(value), sort_keys=True)


def _by_value(value: Any) -> Any:
    """Returns a value in which numbers are the same where they are equal: True, 1 and 1.0 are 1."""
    if isinstance(value, list):
        return [_by_value(item) for item in value]
    if isinstance(value, dict):
        return {key: _by_value(item) for key, item in value.items()}
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    return {"": str(value)} if isinstance(value, Decimal) else value
