"""Questions from a local file in the schema of LiveCodeBench's `code_generation_lite`: one JSON object a line.

Private tests come as JSON text or as base64 of zlib of a pickled JSON text. No pickle is ever loaded here: the one
string in it is read with a parser that knows strings only, so no global, no call and no memo can be smuggled in.
Every step has a size limit. A row that can't be read in full is an error that names it, never fewer tests.
"""

from __future__ import annotations

import base64
import difflib
import gzip
import itertools
import json
import pickletools
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from problems.problem import Case, Problem, ProblemError

SUFFIXES = (".jsonl", ".jsonl.gz")
MAX_ROW_BYTES = 256 << 20
MAX_TESTS_BYTES = 256 << 20
MAX_OPCODES = 64

_DETAILS = ("platform", "question_id", "contest_id", "contest_date", "difficulty")
_ID = re.compile(rb'"question_id"\s*:\s*("(?:[^"\\]|\\.)*")')
_STRING_OPCODES = {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE"}
_SILENT_OPCODES = {"PROTO", "FRAME", "MEMOIZE", "BINPUT", "LONG_BINPUT", "PUT", "STOP"}


def load(path: Path, question_id: str, name: str) -> Problem:
    """The question `question_id` of the file `path`, called `name`; raises ProblemError."""
    found = [row for row in _candidates(path, question_id) if row.get("question_id") == question_id]
    if not found:
        raise ProblemError(_unknown(path, question_id))
    if len(found) > 1:
        raise ProblemError(f"{path} has {len(found)} rows with the question_id {question_id!r}: leave one.")
    return _problem(found[0], name)


def question_ids(path: Path) -> list[str]:
    """The ids of all rows in file order, read without parsing the rows."""
    matches = (_ID.search(line) for line in _lines(path))
    return [_decoded_id(match[1]) for match in matches if match is not None]


def _candidates(path: Path, question_id: str) -> Iterator[dict[str, object]]:
    """Rows that mention the id: parsing megabytes of tests per row is what would make a large file slow."""
    needles = {json.dumps(question_id, ensure_ascii=ascii_).encode("utf-8", "replace") for ascii_ in (True, False)}
    for number, line in enumerate(_lines(path), 1):
        if any(needle in line for needle in needles):
            yield _row(line, f"{path}, line {number},")


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with _open(path) as file:
            while line := file.readline(MAX_ROW_BYTES + 1):
                if len(line) > MAX_ROW_BYTES:
                    raise ProblemError(f"{path} has a line of more than {MAX_ROW_BYTES >> 20} MiB: it is no question.")
                yield line
    except (OSError, EOFError, ValueError, zlib.error) as error:
        if isinstance(error, ProblemError):
            raise
        raise ProblemError(f"{path} can't be read ({_reason(error)}): give a file in LiveCodeBench's schema.") from None


def _open(path: Path) -> BinaryIO:
    if not path.is_file():
        raise ProblemError(f"There is no file {str(path)!r}: give the path of a file in LiveCodeBench's schema.")
    return cast(BinaryIO, gzip.open(path) if path.suffix == ".gz" else path.open("rb"))


def _row(line: bytes, where: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProblemError(f"{where} is not JSON ({_reason(error)}).") from None
    if not isinstance(row, dict):
        raise ProblemError(f"{where} is not a JSON object but a {type(row).__name__}.")
    return row


def _problem(row: dict[str, object], name: str) -> Problem:
    function = _function_name(row, name)
    public = _tests(
        _json(_text(row, "public_test_cases", name), f"{name}: public_test_cases"), function, name, public=True
    )
    private = _tests(_private_tests(_text(row, "private_test_cases", name), name), function, name, public=False)
    starter_code = _text(row, "starter_code", name)
    if function is not None and not starter_code.strip():
        raise ProblemError(f"{name} asks for the function {function!r} but has no starter_code: give it one.")
    return Problem(
        name=name,
        title=_text(row, "question_title", name),
        statement=_text(row, "question_content", name),
        cases=(*public, *private),
        entry_point=function,
        starter_code=starter_code,
        details={"source": "livecodebench"} | {key: str(row[key]) for key in _DETAILS if key in row},
        default_split="half",
    )


def _text(row: dict[str, object], key: str, name: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise ProblemError(f"{name} has no text in the field {key!r}: give it one, as in code_generation_lite.")
    return value


def _function_name(row: dict[str, object], name: str) -> str | None:
    metadata = row.get("metadata") or "{}"
    if isinstance(metadata, str):
        metadata = _json(metadata, f"{name}: metadata")
    function = metadata.get("func_name") if isinstance(metadata, dict) else metadata
    if function is None or (isinstance(function, str) and function.isidentifier()):
        return function
    raise ProblemError(f'{name} has metadata without a usable func_name: give {{}} or {{"func_name": ...}}.')


def _tests(tests: object, function: str | None, name: str, *, public: bool) -> Iterator[Case]:
    if not isinstance(tests, list):
        raise ProblemError(f"{name} has tests that are not a list but a {type(tests).__name__}.")
    wanted = "stdin" if function is None else "functional"
    for index, test in enumerate(tests):
        where = f"{name}, {'public' if public else 'private'} test {index},"
        if (
            not isinstance(test, dict)
            or not isinstance(test.get("input"), str)
            or not isinstance(test.get("output"), str)
        ):
            raise ProblemError(f"{where} has no input and output text.")
        if test.get("testtype", wanted) != wanted:
            raise ProblemError(
                f"{where} is of type {str(test['testtype'])[:40]!r}, but metadata names "
                f"{'no function' if function is None else f'the function {function!r}'}."
            )
        yield Case(test["input"] if function is None else test["input"].rstrip("\n"), test["output"], public)


def _private_tests(text: str, name: str) -> object:
    where = f"{name}: private_test_cases"
    if text.lstrip()[:1] in ("[", "{"):
        return _json(text, where)
    try:
        plain = pickled_text(_decompressed(base64.b64decode(text, validate=True)))
    except (ValueError, zlib.error) as error:
        raise ProblemError(f"{where} can't be decoded ({_reason(error)}): download the file again.") from None
    return _json(plain, where)


class UnpickleError(ValueError):
    """A blob is something else than one plain string."""


def _decompressed(data: bytes) -> bytes:
    decompressor = zlib.decompressobj()
    plain = decompressor.decompress(data, MAX_TESTS_BYTES)
    if not decompressor.eof:
        raise UnpickleError(f"it is cut short or holds more than {MAX_TESTS_BYTES >> 20} MiB")
    return plain


def pickled_text(data: bytes) -> str:
    """The string that `data` pickles, read without running a pickle machine; raises UnpickleError.

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
        raise UnpickleError(f"its pickle is broken: {_reason(error)}") from None
    if len(texts) != 1:
        raise UnpickleError(f"its pickle holds {len(texts)} strings instead of one")
    return texts[0]


def _json(text: str, where: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProblemError(f"{where} is not JSON ({_reason(error)}): download the file again.") from None


def _unknown(path: Path, question_id: str) -> str:
    ids = question_ids(path)
    close = difflib.get_close_matches(question_id, ids, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else "list them with `ttsd problems list`."
    return f"{path} has no question {question_id!r} among its {len(ids)} rows; {hint}"


def _decoded_id(quoted: bytes) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError:
        return quoted.decode("utf-8", "replace")


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0][:120] or type(error).__name__
