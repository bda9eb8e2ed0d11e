"""Lists of questions by name: bundled subsets, TOML files, or the questions themselves.

A TOML subset lists its questions, or filters those of a source that were pulled to this machine:

    questions = ["lcb:abc387_b", "micro:numbers:5:7"]

    [filter]
    source = "lcb"
    since = "2025-02-01"          # the first day
    until = "2025-05-01"          # the day after the last one
    difficulty = ["hard"]
    platform = ["atcoder"]
    indices = [1, 3]              # rows among those that the rest of the filter leaves, from 0
    pool = 131                    # how many rows that must be
    release = "v6"                # what to pull
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from problems import collection, livecodebench, micro, selection
from problems.problem import ProblemError, cause, hint
from problems.rows import SUFFIXES
from problems.selection import Filter
from problems.values import plain_text, plain_toml

_TYPES: Mapping[str, type] = {
    "source": str,
    "since": str,
    "until": str,
    "difficulty": list,
    "platform": list,
    "indices": list,
    "pool": int,
    "release": str,
}


def questions(names: Sequence[str]) -> list[str]:
    """Returns the questions that `names` stand for, in order, each once.

    A name is a shipped subset (`micro-hard`, `lcb-paper-hard`), a source (`lcb`: all that was pulled), a TOML file, a
    FILE.jsonl in LiveCodeBench's schema, a question, or a folder of questions.
    """
    found = [question for name in names for question in _of(name)]
    if not found:
        raise ProblemError(f"{', '.join(names)} names no question; give at least one")
    return list(dict.fromkeys(found))


def shipped() -> list[str]:
    """Returns the names of the subsets that come with the tool."""
    return [*micro.lists(), *sorted(_files())]


def _of(name: str) -> list[str]:
    if name in micro.lists():
        return micro.subset(name)
    if name in collection.SOURCES:
        return selection.names(collection.index(name), Filter())
    if name in _files():
        return _listed(_files()[name], name)
    if name.endswith(".toml"):
        return _listed(_text(Path(name)), name)
    if name.endswith(SUFFIXES):
        return [f"{name}#{question_id}" for question_id in livecodebench.question_ids(Path(name))]
    if name and Path(name).is_dir():
        return _in_folder(name)
    if ":" in name or "#" in name:
        return [name]
    others = f"give one of {', '.join(shipped())}, a .toml file, a .jsonl file, or questions by name"
    raise ProblemError(f"there is no subset {name!r}; {hint(name, shipped(), others)}")


def _in_folder(name: str) -> list[str]:
    """Returns the folder itself if it is a question, else its subfolders that are: runs leave other folders there."""
    if _is_question(Path(name)):
        return [str(Path(name))]
    inner = [str(path) for path in Path(name).iterdir() if path.name[0] not in "._" and _is_question(path)]
    if not inner:
        raise ProblemError(f"there is no question in {name}; give a problem folder, a folder of them, or names")
    return sorted(inner)


def _is_question(path: Path) -> bool:
    return any((path / file).is_file() for file in ("statement.md", "problem.toml", "cases.toml"))


def _files() -> dict[str, str]:
    folder = resources.files("configs") / "subsets"
    paths = sorted(folder.iterdir(), key=lambda path: path.name) if folder.is_dir() else ()
    return {path.name.removesuffix(".toml"): path.read_text("utf-8") for path in paths if path.name.endswith(".toml")}


def _text(path: Path) -> str:
    try:
        return plain_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ProblemError(f"can't read the subset {str(path)!r} ({cause(error)}); give a TOML file") from None


def _listed(text: str, name: str) -> list[str]:
    try:
        subset = plain_toml(text)
    except ValueError as error:
        raise ProblemError(f"can't read the subset {name!r} ({error}); give a TOML file") from None
    listed, filter_ = subset.get("questions"), subset.get("filter")
    if (listed is None) == (filter_ is None):
        raise ProblemError(f'the subset {name!r} needs either questions = ["..."] or a table [filter]')
    if listed is None:
        return _filtered(filter_, name)
    if not isinstance(listed, list) or not all(isinstance(question, str) for question in listed):
        raise ProblemError(f'the subset {name!r} has no list `questions` of names; write questions = ["..."]')
    return [os.path.expandvars(os.path.expanduser(question)) for question in listed]


def _filtered(table: object, name: str) -> list[str]:
    if not isinstance(table, dict):
        raise ProblemError(f"the subset {name!r} has a filter that is no table; write it under [filter]")
    _check(table, name)
    if "source" not in table:
        raise ProblemError(f'the filter of the subset {name!r} names no source; write source = "lcb"')
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    source = values.pop("source")
    try:
        scheme = collection.source_named(source).scheme
        return selection.names(collection.index(scheme, values.get("release", "")), Filter(**values))
    except ProblemError as error:
        raise ProblemError(f"the subset {name!r}: {error}") from None


def _check(table: Mapping[str, object], name: str) -> None:
    for key, value in table.items():
        if key not in _TYPES:
            guess = hint(key, _TYPES, f"known are {', '.join(_TYPES)}")
            raise ProblemError(f"the filter of the subset {name!r} has an unknown key {key!r}; {guess}")
        items, wanted = value if isinstance(value, list) else [], int if key == "indices" else str
        if type(value) is not _TYPES[key] or any(type(item) is not wanted for item in items):
            raise ProblemError(f"the filter of the subset {name!r} has {key} = {value!r}, which is of the wrong type")
