"""Reads a question of the user's own: a folder with a statement and cases.

    statement.md        what the model reads; its first `# heading` is the title
    problem.toml        optional: title, entry_point, starter_code, time_limit_seconds, memory_limit_mib, public_cases,
                        and how cases are graded (grading.py)
    starter.py          optional: the starter code, instead of in problem.toml
    cases.toml          [[case]] tables, or
    cases/NAME.in, cases/NAME.out, or
    tests.py, test_*.py a pytest module with plain assertions, which is read and never run
    solution.py         optional: a right program, for `ttsd problems check`; never shown to a model

With `entry_point` the answer is a function (or a method of `class Solution`), otherwise a program that reads standard
input. A case of cases.toml has `input` and `expected` texts, or `args` (a list) and `expected` (any value) for a
function; case files hold the same texts, for a function one argument a line (values.py) and a JSON result. The
assertions of a pytest module are on one function, which is then the entry_point (pytest_cases.py says what is read).

Where some cases are public (`public = true`, or the names of cases or test functions in `public_cases`), the split
`public` is the default: the others stay hidden. Where none or all are, every case is visible.

A question that asks for an answer instead of a program has no cases, but an answer or a judge (answers.py).
"""

from __future__ import annotations

import re
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import cast

from problems import answers, grading, pytest_cases
from problems.asserts import definition
from problems.problem import MAX_CASES, MAX_CASES_CHARACTERS, Case, Problem, ProblemError, cause, hint
from problems.values import any_length_integers, as_json, plain_toml, positive

MAX_FILE_BYTES = 64 << 20

_SETTINGS: Mapping[str, type | tuple[type, ...]] = {
    "title": str,
    "entry_point": str,
    "starter_code": str,
    "time_limit_seconds": (int, float),
    "memory_limit_mib": int,
    "public_cases": list,
    **grading.SETTINGS,
    **answers.SETTINGS,
}


@any_length_integers()
def load(path: Path, name: str) -> Problem:
    """Returns the question in the folder `path`, called `name`; raises ProblemError naming the file and the remedy."""
    statement = _read(path, "statement.md")
    settings = _settings(path)
    title = str(settings.get("title") or _heading(statement) or path.resolve().name)
    if answers.wanted(settings):
        return answers.problem(path, name, title, statement, settings)
    entry_point, cases, names = _entry_point_and_cases(path, settings)
    return Problem(
        name=name,
        title=title,
        statement=statement,
        cases=cases,
        entry_point=entry_point,
        starter_code=_starter_code(path, settings, entry_point, cases),
        default_split="public" if len({case.public for case in cases}) == 2 else "all",
        time_limit_seconds=cast("float | None", settings.get("time_limit_seconds")),
        memory_limit_mib=cast("int | None", settings.get("memory_limit_mib")),
        checker=grading.checker(path, settings),
        points=grading.points(path, settings, names),
    )


def _settings(path: Path) -> Mapping[str, object]:
    if not (path / "problem.toml").exists():
        return {}
    settings = _toml(path, "problem.toml")
    where = path / "problem.toml"
    _refuse_unknown(settings, _SETTINGS, f"{where}")
    for key, value in settings.items():
        if not isinstance(value, _SETTINGS[key]) or isinstance(value, bool) != (_SETTINGS[key] is bool):
            raise ProblemError(
                f"{where} has {key} = {value!r:.80}, which is of the wrong type ({type(value).__name__})"
            )
        if key != "answer" and not isinstance(value, bool | str | list) and positive(value) is None:
            raise ProblemError(f"{where} has {key} = {value!r:.80}: give a number above zero and below 1e308")
    return settings


def reference(path: Path) -> str | None:
    """Returns the program in solution.py, None where there is none; raises ProblemError."""
    return _read(path, "solution.py") if (path / "solution.py").exists() else None


def _starter_code(path: Path, settings: Mapping[str, object], entry_point: str | None, cases: Collection[Case]) -> str:
    """Returns what is given; else a function's first line. Prompts show it, so it must name what the judge calls."""
    in_file = (path / "starter.py").exists()
    if in_file and "starter_code" in settings:
        raise ProblemError(f"{path} has starter code in problem.toml and in starter.py: leave one")
    given = _read(path, "starter.py") if in_file else str(settings.get("starter_code", ""))
    if entry_point is None:
        return given
    if given.strip() and not re.search(rf"\b{re.escape(entry_point)}\b", given):
        raise ProblemError(f"{path} has starter code without the function {entry_point!r:.80}: add it")
    return given if in_file or "starter_code" in settings else first_line(entry_point, cases)


def first_line(entry_point: str, cases: Iterable[Case]) -> str:
    """Returns the function's `def` line, with as many parameters as the first case has arguments."""
    first = next(iter(cases), Case("", ""))
    return definition(entry_point, len(first.input.split("\n")) if first.input else 0)


def _heading(statement: str) -> str:
    lines = statement.splitlines()
    return next((line[2:].strip() for line in lines if line.startswith("# ")), "")


def _entry_point_and_cases(
    path: Path, settings: Mapping[str, object]
) -> tuple[str | None, tuple[Case, ...], Sequence[str]]:
    """Returns the function to call, the cases, and each case's name."""
    entry_point = cast("str | None", settings.get("entry_point"))
    public = cast("list[object]", settings.get("public_cases", []))
    modules = sorted(file.name for file in path.glob("*.py") if pytest_cases.is_module(file.name))
    given = {"cases.toml": (path / "cases.toml").exists(), "cases/": (path / "cases").exists()}
    kinds = [name for name, there in given.items() if there] + modules[:1]
    if not kinds:
        raise ProblemError(f"{path} has no cases: write cases.toml, cases/NAME.in and cases/NAME.out, or tests.py")
    if len(kinds) > 1:
        raise ProblemError(f"{path} has cases in {' and '.join(kinds)}: leave one")
    if modules:
        texts = {str(path / module): _read(path, module) for module in modules}
        return pytest_cases.read(texts, entry_point, public)
    if given["cases/"]:
        names = _case_files(path, public)
        return entry_point, tuple(_cases_from_files(path, names, entry_point, public)), names
    if "public_cases" in settings:
        raise ProblemError(f"{path} has public_cases for case files, but its cases are in cases.toml: mark them there")
    cases = tuple(_cases_from_toml(path, entry_point))
    return entry_point, cases, [str(number) for number in range(len(cases))]


def _case_files(path: Path, public: list[object]) -> list[str]:
    """Returns the names of the case files in order; raises ProblemError where one lacks its other half."""
    given, outputs = (
        {file.stem for file in islice(path.glob(f"cases/*.{end}"), MAX_CASES + 1)} for end in ("in", "out")
    )
    _refuse_too_many(max(len(given), len(outputs)), path / "cases")
    names = sorted(given, key=lambda name: (len(name), name))
    if unpaired := sorted(outputs ^ given):
        missing = "out" if unpaired[0] in names else "in"
        raise ProblemError(f"{path / 'cases'} has no {unpaired[0]}.{missing}: every case is a NAME.in and a NAME.out")
    if unknown := [name for name in public if name not in outputs]:
        raise ProblemError(f"{path / 'problem.toml'} makes {unknown[0]!r} public, but there is no such case")
    return names


def _cases_from_files(
    path: Path, names: Sequence[str], entry_point: str | None, public: list[object]
) -> Iterator[Case]:
    left = MAX_CASES_CHARACTERS
    for name in names:
        given, expected = _read(path, f"cases/{name}.in"), _read(path, f"cases/{name}.out")
        left -= len(given) + len(expected)
        if left < 0:
            raise ProblemError(f"{path / 'cases'} holds more than {MAX_CASES_CHARACTERS >> 20} MiB: give fewer cases")
        # The newline that editors put at the end of a file would be one argument more.
        yield Case(given if entry_point is None else given.rstrip("\r\n"), expected, name in public)


def _cases_from_toml(path: Path, entry_point: str | None) -> Iterator[Case]:
    document = _toml(path, "cases.toml")
    _refuse_unknown(document, {"case"}, f"{path / 'cases.toml'}")
    tables = document.get("case", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ProblemError(f"{path / 'cases.toml'} has a 'case' that is no table: write every case under [[case]]")
    _refuse_too_many(len(tables), path / "cases.toml")
    for index, table in enumerate(tables):
        where = f"{path / 'cases.toml'}, case {index},"
        yield (_text_case if entry_point is None else _call_case)(table, where)


def _text_case(table: Mapping[str, object], where: str) -> Case:
    if "args" in table:
        raise ProblemError(f"{where} has args, but problem.toml names no entry_point: name the function there")
    _refuse_unknown(table, {"input", "expected", "public"}, where)
    given, expected = table.get("input"), table.get("expected")
    if not isinstance(given, str) or not isinstance(expected, str):
        raise ProblemError(f"{where} needs the texts input and expected")
    return Case(given, expected, _public(table, where))


def _call_case(table: Mapping[str, object], where: str) -> Case:
    if "input" in table:
        raise ProblemError(f"{where} has input, but problem.toml names an entry_point: give args, or leave that out")
    _refuse_unknown(table, {"args", "expected", "public"}, where)
    args = table.get("args")
    if not isinstance(args, list) or "expected" not in table:
        raise ProblemError(f"{where} needs args, the list of the function's arguments, and expected, its result")
    lines = [_as_json(value, where) for value in args]
    return Case("\n".join(lines), _as_json(table["expected"], where), _public(table, where))


def _public(table: Mapping[str, object], where: str) -> bool:
    public = table.get("public", False)
    if not isinstance(public, bool):
        raise ProblemError(f"{where} has public = {public!r}: give true or false")
    return public


def _as_json(value: object, where: str) -> str:
    try:
        return as_json(value)
    except (TypeError, ValueError, RecursionError):
        raise ProblemError(
            f"{where} has a value that JSON can't carry (a date, nan or inf): use text, numbers, booleans or lists"
        ) from None


def _toml(path: Path, file: str) -> dict[str, object]:
    try:
        return plain_toml(_read(path, file))
    except ValueError as error:
        if isinstance(error, ProblemError):
            raise
        raise ProblemError(f"{path / file} is not TOML: {str(error)[:200] or type(error).__name__}") from None


def _read(path: Path, file: str) -> str:
    """Returns the text of a file inside the folder. A link out of it could show the model anything on this disk."""
    where = path / file
    try:
        if not where.resolve().is_relative_to(path.resolve()):
            raise ProblemError(f"{where} is a link that leads out of the folder: put a copy of the file there")
        info = where.stat()
        if not stat.S_ISREG(info.st_mode) or info.st_size > MAX_FILE_BYTES:
            raise ProblemError(f"{where} is not a plain file of at most {MAX_FILE_BYTES >> 20} MiB")
        return where.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ProblemError(f"there is no {where}: write it") from None
    except UnicodeDecodeError as error:
        raise ProblemError(f"{where} is not UTF-8 (byte {error.start}): save it as UTF-8") from None
    except (OSError, RuntimeError) as error:
        why = cause(error) if isinstance(error, OSError) else error
        raise ProblemError(f"{where} can't be read: {why}") from None


def _refuse_unknown(given: Collection[str], known: Collection[str], where: str) -> None:
    for key in given:
        if key not in known:
            guess = hint(key, known, f"known are {', '.join(known)}")
            raise ProblemError(f"{where} has an unknown key {key[:80]!r}; {guess}")


def _refuse_too_many(count: int, where: Path) -> None:
    if count > MAX_CASES:
        raise ProblemError(f"{where} has {count} cases: give at most {MAX_CASES}")
