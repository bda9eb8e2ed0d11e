"""Reads how a folder's cases are graded: `checker`, `tolerance` and `points` of its problem.toml.

    checker = "floats"           exact, tokens (the default), floats, case-insensitive, unordered, or a file, "check.py"
    tolerance = 1e-6             of `floats`, absolute or relative; or `abs` and `rel`, one by one

    [[points]]                   optional, as often as there are groups: their cases must all pass
    cases = ["small-*"]          names of case files, patterns of them, numbers in cases.toml, test functions
    points = 30

The file has a function `check(input, output, expected)` that returns a bool or `(score, message)`; a score of 1 is
right. For a function's cases it gets the list of arguments and two values, otherwise texts. It is the user's own code
and runs outside the sandbox, in a process of its own; the program that it judges stays in the sandbox.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import cast

from problems.checker import BUILT_IN, Checker
from problems.problem import Points, ProblemError, hint
from problems.values import positive

SETTINGS: Mapping[str, type | tuple[type, ...]] = {
    "checker": str,
    "tolerance": (int, float),
    "abs": (int, float),
    "rel": (int, float),
    "points": list,
}
DEFAULT_TOLERANCE = 1e-6


def checker(path: Path, settings: Mapping[str, object]) -> Checker | None:
    """Returns the checker that the settings of the folder `path` name, None without one; raises ProblemError."""
    name, where = settings.get("checker"), path / "problem.toml"
    bounds = [key for key in ("tolerance", "abs", "rel") if key in settings]
    if name is None and not bounds:
        return None
    if name not in (None, "floats") and bounds:
        raise ProblemError(
            f'{where} has {bounds[0]}, which is for checker = "floats", and checker = {name!r}: leave one'
        )
    if name is None or name == "floats":
        return _floats(where, cast("Mapping[str, float]", settings), bounds)
    if str(name).endswith(".py"):
        return Checker("own", program=str(own_file(path, str(name), "checker")))
    if name not in BUILT_IN:
        guess = hint(str(name), BUILT_IN, f'give one of {", ".join(BUILT_IN)}, or a file, "check.py"')
        raise ProblemError(f"{where} has checker = {name!r}; {guess}")
    return Checker(name)  # type: ignore[arg-type]


def own_file(path: Path, name: str, what: str) -> Path:
    """Returns the Python file `name` of the folder `path`; raises ProblemError where there is none."""
    file = (path / name).resolve()
    if not file.is_file():
        raise ProblemError(f"{path / 'problem.toml'} names the {what} {name!r}, but there is no {file}: write it")
    return file


def points(path: Path, settings: Mapping[str, object], names: Sequence[str]) -> tuple[Points, ...]:
    """Returns the groups of cases that earn points; `names` has each case's. Raises ProblemError."""
    where = path / "problem.toml"
    return tuple(_group(table, names, where) for table in cast("list[object]", settings.get("points", [])))


def _floats(where: Path, settings: Mapping[str, float], bounds: Sequence[str]) -> Checker:
    if "tolerance" in bounds and len(bounds) > 1:
        raise ProblemError(f"{where} has tolerance and {bounds[1]}: leave tolerance, or give abs and rel")
    both = settings.get("tolerance", 0.0 if bounds else DEFAULT_TOLERANCE)
    return Checker("floats", float(settings.get("abs", both)), float(settings.get("rel", both)))


def _group(table: object, names: Sequence[str], where: Path) -> Points:
    cases = table.get("cases") if isinstance(table, dict) else None
    worth = table.get("points") if isinstance(table, dict) else None
    worth = positive(worth)
    if not isinstance(cases, list) or worth is None:
        raise ProblemError(f"{where} has {table!r:.80} under [[points]]: give cases, a list, and points above zero")
    found: list[int] = []
    for wanted in map(str, cases):
        matching = [index for index, name in enumerate(names) if fnmatchcase(name, wanted)]
        if not matching:
            raise ProblemError(f"{where} gives points to the case {wanted!r}, but there is no such case")
        found += matching
    return Points(tuple(sorted(set(found))), worth)
