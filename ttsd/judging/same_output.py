"""Compares what an untrusted program left behind with what was expected. Pure; linear in the expected output's size.

The rules are those of LiveCodeBench's grader. Where this module departs from it:

- Output of more than four times the expected size plus 64 KiB is wrong without being read: padding that long is no
  honest answer, and to read it would cost seconds.
- Output that is not UTF-8 is wrong, and so is a result that is not plain JSON (NaN and infinities included): nothing
  that a program returns is compared as an object, so no `__eq__` of its own can say that it is right.
- A signalling NaN among the decimals is unequal to everything; there it crashes the grader.
- Results cross the sandbox's border as JSON, in which tuples are lists at every depth (there: at the outermost) and
  the keys of dictionaries are text. LeetCode does not distinguish these either.

As there, the digits of every script are digits: a line of Arabic-Indic ones equals the same number in ASCII. (Final
answers are read more strictly, see scoring/numerals.py.)

As there, a result is compared by value: `True` equals `1`, `1.0` equals `1`, and 0.1 + 0.2 does not equal 0.3. An
empty expected output is matched by blank output. There is no tolerance and no special judge.

This runs in the event loop on what a program wrote, so no step takes more than linear time: numbers of more digits than
Python converts quickly are refused by its own limit, and `Decimal` compares without writing an exponent out.
"""

from __future__ import annotations

from decimal import Decimal, DecimalException

from problems.problem import strict_json

SLACK_FACTOR = 4
SLACK_BYTES = 64 << 10


def same_output(printed: bytes, expected: str) -> bool:
    """Tells whether a script's standard output is right: line by line, each stripped, equal as text or as decimals."""
    text = _decoded(printed, expected)
    if text is None:
        return False
    lines, wanted = _lines(text), _lines(expected)
    return len(lines) == len(wanted) and all(map(_same_line, lines, wanted))


def same_result(returned: bytes | None, expected: str) -> bool:
    """Tells whether a function's return value, as JSON, is right. None (nothing was returned at all) never is."""
    text = None if returned is None else _decoded(returned, expected)
    if text is None:
        return False
    try:
        return bool(strict_json(text) == strict_json(expected))
    except (ValueError, RecursionError):
        return False


def _decoded(data: bytes, expected: str) -> str | None:
    if len(data) > SLACK_FACTOR * len(expected) + SLACK_BYTES:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]


def _same_line(line: str, wanted: str) -> bool:
    if line == wanted:
        return True
    numbers, wanted_numbers = _decimals(line), _decimals(wanted)
    return numbers is not None and numbers == wanted_numbers


def _decimals(line: str) -> list[Decimal] | None:
    """Returns the line's tokens as decimals; None where one is not a number or is NaN, which equals nothing."""
    try:
        numbers = [Decimal(token) for token in line.split()]
    except (DecimalException, ValueError):
        return None
    return None if any(number.is_nan() for number in numbers) else numbers
