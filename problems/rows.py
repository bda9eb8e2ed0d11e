"""Reads files of questions row by row: one JSON object a line, plain or gzipped, or a Parquet table.

Every step has a limit, so that no file can fill the memory. What is wrong with one row never costs the others.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, cast

from problems.problem import Case, ProblemError, reason
from problems.values import refuse_bomb

Row = Mapping[str, object]

SUFFIXES = (".jsonl", ".jsonl.gz")
MAX_ROW_BYTES = 256 << 20
MAX_FILE_BYTES = 64 << 30
MAX_LINES = 1_000_000
MAX_GZIP_RATIO = 100  # text in JSON shrinks to a tenth; more is no question
MAX_GZIP_BYTES = 64 << 20  # that every file may hold
MAX_GROUP_BYTES = 4 << 30


def lines(path: Path, schema: str) -> Iterator[bytes]:
    """Yields the rows of `path` as JSON lines; a ProblemError names `schema`, what the file should have been.

    A row of more than MAX_ROW_BYTES comes cut to one byte more, its rest passed over.
    """
    try:
        yield from _parquet_lines(path) if path.suffix == ".parquet" else _text_lines(path, schema)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        if isinstance(error, ProblemError):
            raise
        raise ProblemError(f"{path} can't be read ({reason(error)}): give a file in {schema}") from None


def parsed(line: bytes, where: str) -> Row:
    """Returns the row in `line`; raises ProblemError."""
    if len(line) > MAX_ROW_BYTES:
        raise ProblemError(f"{where} has more than {MAX_ROW_BYTES >> 20} MiB: it is no question")
    try:
        content = line.decode("utf-8-sig")
        refuse_bomb(content)
        row = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ProblemError(f"{where} is not JSON ({reason(error)})") from None
    if not isinstance(row, dict):
        raise ProblemError(f"{where} is not a JSON object but a {type(row).__name__}")
    return row


def text(row: Row, key: str, name: str, schema: str) -> str:
    """Returns the text in the field `key` of the question `name`; raises ProblemError where there is none."""
    value = row.get(key)
    if not isinstance(value, str):
        raise ProblemError(f"{name} has no text in the field {key!r}: give it one, as in {schema}")
    return value


def known(row: Row, *keys: str) -> str:
    """Returns the text in the first of these fields that has any; empty where none has."""
    return next((value for key in keys if isinstance(value := row.get(key), str) and value), "")


def json_text(content: str, where: str) -> Any:
    """Returns what the text of a field says; raises ProblemError where it is not JSON."""
    try:
        refuse_bomb(content)
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ProblemError(f"{where} is not JSON ({reason(error)}): download the file again") from None


def text_case(given: object, expected: object, where: str, *, public: bool = False) -> Case:
    """Returns a case whose two sides must be texts; raises ProblemError."""
    if not isinstance(given, str) or not isinstance(expected, str):
        raise ProblemError(f"{where} has no input and output text")
    return Case(given, expected, public)


def in_list(tests: object, what: str) -> list[Any]:
    """Returns tests, which must be a list; raises ProblemError that begins with `what`."""
    if not isinstance(tests, list):
        raise ProblemError(f"{what} that are not a list but a {type(tests).__name__}")
    return tests


def sides(test: object) -> tuple[object, object]:
    """Returns what a row gives as the input and the output of a test."""
    return (test.get("input"), test.get("output")) if isinstance(test, dict) else (None, None)


def _text_lines(path: Path, schema: str) -> Iterator[bytes]:
    read, most = 0, MAX_FILE_BYTES
    if path.suffix == ".gz" and path.is_file():
        most = min(most, MAX_GZIP_BYTES + MAX_GZIP_RATIO * path.stat().st_size)
    with _open(path, schema) as file:
        for number in count():
            if number > MAX_LINES:
                raise ProblemError(f"{path} has more than {MAX_LINES} lines: split it")
            if not (line := file.readline(MAX_ROW_BYTES + 1)):
                return
            rest = line
            while len(rest) > MAX_ROW_BYTES and not rest.endswith(b"\n"):
                read += len(rest)
                _check_size(read, most, path)
                rest = file.readline(MAX_ROW_BYTES + 1)
            read += len(rest)
            _check_size(read, most, path)
            yield line


def _check_size(read: int, most: int, path: Path) -> None:
    if read > most:
        raise ProblemError(f"{path} holds more than {most >> 20} MiB: split it")


def _open(path: Path, schema: str) -> BinaryIO:
    if not path.is_file():
        raise ProblemError(f"there is no file {str(path)!r}: give the path of a file in {schema}")
    return cast(BinaryIO, gzip.open(path) if path.suffix == ".gz" else path.open("rb"))


def _parquet_lines(path: Path) -> Iterator[bytes]:
    from problems.hub import parquet_rows

    for row in parquet_rows(path, MAX_GROUP_BYTES):
        yield json.dumps(row, default=str).encode()
