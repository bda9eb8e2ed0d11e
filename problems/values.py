"""Writes and reads a function's arguments and results: JSON, or a Python literal where JSON can't carry a value.

    [1, 2]      "text"      null      1.5      (1, 2)      {3, 4}      {(0, 1): "a"}

In JSON, integers have any length. Elsewhere Python reads and writes them in quadratic time, so there they have up to
MAX_DIGITS digits. Nothing is executed.
"""

from __future__ import annotations

import ast
import json
import os
import re
import stat
import sys
import tomllib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

MAX_VALUES = 8 << 20
MAX_QUICK_DIGITS = 4300
MAX_DIGITS = 20_000  # ten milliseconds for each such number
MAX_TOML_CHARACTERS = 16 << 20
MAX_TOML_STEPS = 10**8  # of the parser, which takes the square of a dotted key's length
MAX_LITERAL_CHARACTERS = 1 << 20  # the tree of a literal takes much more than its text
_PART = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
_DOTTED = re.compile(rf"(?<![\w-]){_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{64,}}+")
# A text that does not end goes to the end of all, so that none is looked at twice.
_STRINGS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)


def strict_json(text: str) -> object:
    """Returns the value of one JSON text without NaN and infinities; raises ValueError for anything else.

    Integers of more than MAX_QUICK_DIGITS digits become Decimal, which is exact and takes linear time. Python's parser
    gives up on deep nesting with RecursionError; that too means: not JSON that anyone should compare.
    """
    refuse_bomb(text)
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_integer)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def argument(line: str) -> object:
    """Returns the value of one argument, JSON or else a Python literal; raises ValueError."""
    refuse_bomb(line)
    try:
        return strict_json(line)
    except ValueError as error:
        not_json = error
    if len(line) > MAX_LITERAL_CHARACTERS:
        raise not_json
    try:
        with any_length_integers(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in strings
            value = ast.literal_eval(line)
            if isinstance(value, tuple) and not line.lstrip().startswith("("):
                raise not_json  # `1, 2` is a slip, not a tuple
            return value
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise not_json from None


def plain_toml(text: str) -> dict[str, object]:
    """Returns what a TOML document says; raises ValueError where it says nothing or would take too long to read."""
    if len(text) > MAX_TOML_CHARACTERS:
        raise ValueError(f"it has more than {MAX_TOML_CHARACTERS >> 20} million characters")
    if sum(chain.count(".") ** 2 for chain in _DOTTED.findall(text)) > MAX_TOML_STEPS:
        raise ValueError("it has keys of too many parts; put long texts into files of their own")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def plain_text(path: Path) -> str:
    """Returns the text of a TOML file. A pipe would be waited for without end, and a device has none.

    OSError or UnicodeDecodeError: it is no plain file of a size that is read, can't be read, or is not UTF-8.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_TOML_CHARACTERS:
            raise OSError(0, f"it is no plain file of at most {MAX_TOML_CHARACTERS >> 20} MiB")
        return file.read(MAX_TOML_CHARACTERS).decode()


def positive(value: object) -> float | None:
    """Returns a number above zero that a float can hold; None for anything else."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= sys.float_info.max:
        return None
    return float(value)


def as_json(value: object) -> str:
    """Returns a result, or an argument, as JSON; raises ValueError, TypeError or RecursionError."""
    with any_length_integers():
        return json.dumps(value, ensure_ascii=False, allow_nan=False)


def encoded(value: object) -> str:
    """Returns an argument as one line; raises ValueError or TypeError where neither JSON nor a literal carries it."""
    with any_length_integers():
        if not _needs_python(value):
            return as_json(value)
        text = repr(_without_frozensets(value))
        if ast.literal_eval(text) != value:
            raise ValueError(f"{text[:60]} is no plain value")
        return text


def refuse_bomb(text: str, most: int | None = None) -> None:
    """Raises ValueError where `text`, as JSON, has more than `most`, or MAX_VALUES, values: that would take gigabytes.

    An empty list costs two characters and 64 bytes. What stands inside of strings costs no more than its length.
    """
    marks, most = marks_in(text), most or MAX_VALUES
    if marks > most and marks_in(_STRINGS.sub("", text)) > most:
        raise ValueError(f"it holds more than {most} values")


def marks_in(text: str) -> int:
    """Returns the number of commas and opening brackets: about as many values has JSON, or fewer."""
    return sum(map(text.count, ",[{"))


@contextmanager
def any_length_integers() -> Iterator[None]:
    """Lifts Python's limit on the digits of integers in text, up to MAX_DIGITS."""
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(MAX_DIGITS)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(before)


def _without_frozensets(value: object) -> object:
    """Returns a value with sets in place of frozen ones, which have no literal, outside of sets and keys."""
    if isinstance(value, list | tuple):
        return type(value)(map(_without_frozensets, value))
    if isinstance(value, dict):
        return {key: _without_frozensets(item) for key, item in value.items()}
    return set(value) if isinstance(value, frozenset) else value


def _needs_python(value: object) -> bool:
    """Tells whether JSON would bring `value` back as another one: tuples, sets, keys that are no text."""
    if isinstance(value, dict):
        return any(not isinstance(key, str) for key in value) or any(map(_needs_python, value.values()))
    if isinstance(value, list):
        return any(map(_needs_python, value))
    return isinstance(value, tuple | set | frozenset)


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _finite(number: str) -> float:
    value = float(number)
    if value in (float("inf"), float("-inf")):
        raise ValueError("a number is too large for a float")
    return value


def _integer(digits: str) -> int | Decimal:
    return int(digits) if len(digits) <= MAX_QUICK_DIGITS else Decimal(digits)
