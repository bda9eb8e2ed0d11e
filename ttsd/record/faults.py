"""Faults of disk and database, in one sentence with a remedy."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ttsd.errors import InfrastructureError, UserError


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
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(
            f"can't use {error.filename or path} ({reason}); choose another place with store.path"
        ) from None
