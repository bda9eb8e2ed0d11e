"""Reads LiveCodeBench: rows in the schema of `code_generation_lite`, from a local file or pulled from the hub.

Private tests come as JSON text, as base64 of zlib of JSON text, or as base64 of zlib of a pickled JSON text; rows that
somebody has decoded have lists. No pickle is ever loaded here: the one string in it is read with a parser that knows
strings only, so no global, no call and no memo can be smuggled in. Every step has a size limit. A row that can't be
read in full is an error that names it, never fewer tests.
"""

from __future__ import annotations

import base64
import itertools
import json
import pickletools
import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

from problems import rows
from problems.problem import Case, Problem, ProblemError, hint, reason
from problems.rows import Row, in_list, json_text, known, lines, parsed, sides, text, text_case
from problems.source import Release, Source

SCHEMA = "LiveCodeBench's schema"
NEWEST = 6
MAX_TESTS_BYTES = 256 << 20
MAX_OPCODES = 64

_ID = re.compile(rb'"question_id"\s*:\s*("[^"\\]*+(?:\\.[^"\\]*+)*+")')
_STATEMENT = re.compile(rb'"question_content"\s*:\s*("[^"\\]*+(?:\\.[^"\\]*+)*+")')
_STRING_OPCODES = {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE"}
_SILENT_OPCODES = {"PROTO", "FRAME", "MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT", "STOP"}


def load(path: Path, question_id: str, name: str) -> Problem:
    """Returns the question `question_id` of the file `path`, called `name`; raises ProblemError."""
    found = [row for row in _candidates(path, question_id) if row.get("question_id") == question_id]
    if not found:
        raise ProblemError(_unknown(path, question_id))
    if len(found) > 1:
        raise ProblemError(f"{path} has {len(found)} rows with the question_id {question_id!r}: leave one")
    return problem(found[0], name)


def question_ids(path: Path) -> list[str]:
    """Returns the ids of all rows in file order; raises ProblemError as `listed` does."""
    return [question_id for question_id, _ in listed(path)]


def listed(path: Path) -> list[tuple[str, str]]:
    """Returns the id and the statement of each row in file order, where a statement is to be seen.

    Only rows without an id are parsed, to say what is wrong. Raises ProblemError that names the line, also where the
    file has no row at all.
    """
    found = []
    for number, line in enumerate(lines(path, SCHEMA), 1):
        if match := _ID.search(line):
            statement = _STATEMENT.search(line)
            found.append((_decoded(match[1]), _decoded(statement[1]) if statement else ""))
        elif line.strip():
            fields = [key[:20] for key in parsed(line, f"{path}, line {number},")][:4]
            raise ProblemError(f"{path}, line {number}, has no text question_id, but {fields}: give rows in {SCHEMA}")
    if not found:
        raise ProblemError(f"{path} has no rows: give a file in {SCHEMA}, one JSON object a line")
    return found


def _candidates(path: Path, question_id: str) -> Iterator[Row]:
    """Yields rows that mention the id: parsing megabytes of tests per row is what would make a large file slow."""
    needles = {json.dumps(question_id, ensure_ascii=ascii_).encode("utf-8", "replace") for ascii_ in (True, False)}
    for number, line in enumerate(lines(path, SCHEMA), 1):
        if len(line) > rows.MAX_ROW_BYTES or any(needle in line for needle in needles):
            yield parsed(line, f"{path}, line {number},")


def problem(row: Row, name: str) -> Problem:
    """Returns the question in `row`, called `name`; raises ProblemError."""
    function = _function_name(row, name)
    public = _tests(_decoded_tests(row, "public_test_cases", name), function, name, public=True)
    private = _tests(_decoded_tests(row, "private_test_cases", name), function, name, public=False)
    starter_code = text(row, "starter_code", name, SCHEMA)
    if function is not None and not starter_code.strip():
        raise ProblemError(f"{name} asks for the function {function!r} but has no starter_code: give it one")
    return Problem(
        name=name,
        title=text(row, "question_title", name, SCHEMA),
        statement=text(row, "question_content", name, SCHEMA),
        cases=(*public, *private),
        entry_point=function,
        starter_code=starter_code,
        default_split="half",
    )


def question_id(row: Row) -> str:
    """Returns an id such as `abc387_b` or `3629`."""
    found = row.get("question_id")
    if not isinstance(found, str) or not found:
        raise ProblemError("it has no question_id")
    return found


def facts(row: Row) -> dict[str, str]:
    """Returns the fields of `row` that an index has."""
    return {
        "date": known(row, "contest_date"),
        "difficulty": known(row, "difficulty"),
        "platform": known(row, "platform"),
    }


def _function_name(row: Row, name: str) -> str | None:
    metadata = row.get("metadata") or "{}"
    if isinstance(metadata, str):
        metadata = json_text(metadata, f"{name}: metadata")
    function = metadata.get("func_name") if isinstance(metadata, dict) else metadata
    if function is None or (isinstance(function, str) and function.isidentifier()):
        return function
    raise ProblemError(f'{name} has metadata without a usable func_name: give {{}} or {{"func_name": ...}}')


def _tests(tests: object, function: str | None, name: str, *, public: bool) -> Iterator[Case]:
    wanted = "stdin" if function is None else "functional"
    for index, test in enumerate(in_list(tests, f"{name} has tests")):
        where = f"{name}, {'public' if public else 'private'} test {index},"
        case = text_case(*sides(test), where, public=public)
        if test.get("testtype", wanted) != wanted:
            raise ProblemError(
                f"{where} is of type {str(test['testtype'])[:40]!r}, but metadata names "
                f"{'no function' if function is None else f'the function {function!r}'}"
            )
        yield case if function is None else replace(case, input=case.input.rstrip("\n"))


def _decoded_tests(row: Row, key: str, name: str) -> object:
    where = f"{name}: {key}"
    if isinstance(row.get(key), list):
        return row[key]
    packed = text(row, key, name, SCHEMA)
    if packed.lstrip()[:1] in ("[", "{") or key == "public_test_cases":
        return json_text(packed, where)
    try:
        data = _decompressed(base64.b64decode(packed, validate=True))
        plain = data.decode() if data.lstrip()[:1] == b"[" else pickled_text(data)
    except (ValueError, zlib.error) as error:
        raise ProblemError(f"{where} can't be decoded ({reason(error)}): download the file again") from None
    return json_text(plain, where)


class UnpickleError(ValueError):
    """Says that a blob is something else than one plain string."""


def _decompressed(data: bytes) -> bytes:
    decompressor = zlib.decompressobj()
    plain = decompressor.decompress(data, MAX_TESTS_BYTES)
    if not decompressor.eof:
        raise UnpickleError(f"it is cut short or holds more than {MAX_TESTS_BYTES >> 20} MiB")
    return plain


def pickled_text(data: bytes) -> str:
    """Returns the string that `data` pickles, read without running a pickle machine; raises UnpickleError.

    Refusing globals alone would leave a machine whose memo can be made to ask for gigabytes by five bytes.
    """
    texts: list[str] = []
    try:
        for opcode, argument, _ in itertools.islice(pickletools.genops(data), MAX_OPCODES):
            if opcode.name in _STRING_OPCODES:
                texts.append(cast(str, argument))
            elif opcode.name not in _SILENT_OPCODES:
                raise UnpickleError(f"its pickle holds {opcode.name} where only a string may be")
    except UnpickleError:
        raise
    except (ValueError, OverflowError) as error:
        raise UnpickleError(f"its pickle is broken: {reason(error)}") from None
    if len(texts) != 1:
        raise UnpickleError(f"its pickle holds {len(texts)} strings instead of one")
    return texts[0]


def _unknown(path: Path, question_id: str) -> str:
    ids = question_ids(path)
    guess = hint(question_id, ids, "list them with `ttsd problems list`", 3)
    return f"{path} has no question {question_id!r} among its {len(ids)} rows; {guess}"


def _decoded(quoted: bytes) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError:
        return quoted.decode("utf-8", "replace")


def _releases() -> dict[str, Release]:
    """Returns the releases, the newest first: `v6` is all up to the sixth file, `v4_v6` what files 4 to 6 added."""
    files = ["test.jsonl", *(f"test{number}.jsonl" for number in range(2, NEWEST + 1))]
    spans = {f"v{last}": (1, last) for last in range(NEWEST, 0, -1)}
    spans |= {f"v{first}_v{last}": (first, last) for last in range(1, NEWEST + 1) for first in range(1, last + 1)}
    return {
        name: Release("livecodebench/code_generation_lite", tuple(files[first - 1 : last]))
        for name, (first, last) in spans.items()
    }


SOURCE = Source("livecodebench", "lcb", SCHEMA, _releases(), question_id, problem, facts)
