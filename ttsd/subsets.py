"""Lists of questions by name: bundled subsets, TOML files, or the questions themselves."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

from problems import micro
from ttsd.errors import UserError


def questions(names: Sequence[str]) -> list[str]:
    """The questions that `names` stand for, in order, each once.

    A name is a bundled subset (`micro-hard`), a TOML file with `questions = [...]`, or a question.
    """
    found = [question for name in names for question in _of(name)]
    if not found:
        raise UserError(f"{', '.join(names)} names no question; give at least one")
    return list(dict.fromkeys(found))


def _of(name: str) -> list[str]:
    if name in micro.subsets():
        return micro.subset(name)
    if name.endswith(".toml"):
        return _from_file(Path(name))
    if ":" in name or "#" in name or Path(name).is_dir():
        return [name]
    raise UserError(
        f"there is no subset {name!r}; give one of {', '.join(micro.subsets())}, a .toml file with questions = [...], "
        "or questions by name"
    )


def _from_file(path: Path) -> list[str]:
    try:
        listed = tomllib.loads(path.read_text("utf-8")).get("questions")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"can't read the subset {str(path)!r} ({error}); give a TOML file") from None
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise UserError(f'the subset {str(path)!r} has no list `questions` of names; write questions = ["..."]')
    return listed
