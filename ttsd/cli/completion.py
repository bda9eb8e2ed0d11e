"""What the shell completes: questions, subsets and configurations. Reads files of this machine; nothing heavy loads."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from importlib import resources
from pathlib import Path

RECORD = "ttsd.sqlite"  # the record in this folder, if nobody says otherwise
_PLAIN = re.compile(r"[\w.:/#@+][\w.:/#@+-]*", re.ASCII)


def question_names(incomplete: str) -> list[str]:
    """Bundled and pulled questions, and those of the record in this folder."""
    return _matching(incomplete, _questions())


def subset_names(incomplete: str) -> list[str]:
    """Shipped subsets and sources that were pulled; once a name has a colon, questions."""
    return _matching(incomplete, _questions() if ":" in incomplete else _subsets())


def config_names(incomplete: str) -> list[str]:
    """Returns the shipped configurations."""
    names = (file.name for file in resources.files("configs").iterdir())
    return _matching(incomplete, (name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def model_names(incomplete: str) -> list[str]:
    """Returns the bundled model, the well-known ones, and folders and GGUF files here."""
    from ttsd.machine.shape import KNOWN

    here = (path for path in Path.cwd().iterdir() if path.suffix == ".gguf" or (path / "config.json").is_file())
    return _matching(incomplete, iter(["micro", *KNOWN, *(path.name for path in here)]))


def method_names(incomplete: str) -> list[str]:
    """Returns the names of the table of methods."""
    from ttsd.methods import METHODS

    return _matching(incomplete, iter(METHODS))


def _matching(incomplete: str, names: Iterator[str]) -> list[str]:
    """Returns names that begin so. Shells evaluate what they are given: only names without signs of theirs are."""
    return sorted({name for name in names if name.startswith(incomplete) and _PLAIN.fullmatch(name)})


def _subsets() -> Iterator[str]:
    from problems.collection import pulled_names
    from problems.subsets import shipped

    yield from shipped()
    yield from {name.partition(":")[0] for name in pulled_names()}
    yield "micro:"


def _questions() -> Iterator[str]:
    from problems import micro
    from problems.collection import pulled_names

    for questions in micro.lists().values():
        yield from questions
    yield from pulled_names()
    if Path(RECORD).is_file():
        with (
            suppress(sqlite3.Error),
            closing(sqlite3.connect(f"file:{RECORD}?mode=ro", uri=True, timeout=0.1)) as record,
        ):
            yield from (name for (name,) in record.execute("select distinct question from runs"))
