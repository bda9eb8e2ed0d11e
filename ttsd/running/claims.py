"""Who works on a run: a lock in the run's folder that goes with its process."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ttsd.errors import UserError
from ttsd.running.faults import faults_in_words


@contextmanager
def claimed(state_dir: Path, run: int, path: Path) -> Iterator[Path]:
    """Run `run`'s folder in `state_dir`, held against other processes. The lock goes with the process, however it ends.

    `path`: the database that errors speak of.
    """
    folder = state_dir / f"run-{run}"
    with faults_in_words(path):
        folder.mkdir(parents=True, exist_ok=True)
        lock: IO[str] = (folder / "lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"run {run} is being worked on by another process; wait for it, or start another run with --fresh"
            ) from None
        for draft in folder.glob(".step-*"):  # of a process that was killed while it wrote
            shutil.rmtree(draft, ignore_errors=True)
        yield folder
