"""Folders with a question of the user's own."""

from __future__ import annotations

from pathlib import Path

import pytest

import problems
from problems import ProblemError

STATEMENT = "Some words.\n\n# Double it \n\nPrint the double.\n"


def made(path: Path, **files: str) -> Path:
    """A folder with `files`, whose names write a dot as `__` and a slash as `___`."""
    for name, text in ({"statement__md": STATEMENT} | files).items():
        file = path / name.replace("___", "/").replace("__", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ProblemError) as refused:
        problems.load(str(path))
    message = str(refused.value)
    assert "\n" not in message
    assert str(path) in message
    return message
