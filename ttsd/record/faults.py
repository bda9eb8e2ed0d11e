"""Faults of disk and database, in one sentence with a remedy, and files that SQLite had better not open."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ttsd.errors import InfrastructureError, UserError

_NAMES_ANOTHER = bytes.fromhex("d9d505f920a163d7")  # the end of a journal that belongs to several databases


def check_files(path: Path) -> None:
    """Checks the files that SQLite keeps next to the database, which may have come with it. UserError: it must not.

    SQLite waits at a pipe, and deletes the file that a journal of several databases names; ours belong to one.
    """
    for file in (path.with_name(f"{path.name}{end}") for end in ("-journal", "-wal", "-shm")):
        if file.is_symlink() or (file.exists() and not file.is_file()) or _names_another(file):
            raise UserError(f"{file} is no part of a run database; delete it, or give another store.path")


def _names_another(file: Path) -> bool:
    if not file.name.endswith("-journal") or not file.exists():
        return False
    with file.open("rb") as journal:
        journal.seek(max(0, file.stat().st_size - len(_NAMES_ANOTHER)))
        return journal.read(len(_NAMES_ANOTHER)) == _NAMES_ANOTHER


@contextmanager
def faults_in_words(path: Path) -> Iterator[None]:
    """Turns what a disk or a file can do to us into one sentence. `path`: the database."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        text = str(error)
        if "not a database" in text or "malformed" in text:
            raise UserError(f"{path} is not a usable SQLite database ({text}); give another with store.path") from None
        if "too big" in text:
            raise UserError(f"{path} holds a value that is too long to read; give another with store.path") from None
        if "locked" in text or "busy" in text:
            raise UserError(
                f"the database {path} is locked by another program; end what holds it, or give another with store.path"
            ) from None
        if "readonly" in text or "unable to open" in text:
            raise UserError(
                f"can't write the database {path} ({text}); correct its permissions or set store.path"
            ) from None
        raise InfrastructureError(f"the database {path} failed ({text}); free disk space or set store.path") from None
    except OverflowError:
        raise UserError(f"{path} has no number of that size; `ttsd show` lists the runs it has") from None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(
            f"can't use {error.filename or path} ({reason}); choose another place with store.path"
        ) from None
