"""Who works on a run: a lock in the run's folder that goes with its process."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ttsd.errors import RunHeld
from ttsd.record.faults import faults_in_words


@contextmanager
def claimed(state_dir: Path, run: int, path: Path) -> Iterator[Path]:
    """Holds the folder of run `run` in `state_dir` against other processes. The lock ends with its process.

    `path`: the database that errors speak of.
    """
    folder = state_dir / f"run-{run}"
    with faults_in_words(path):
        folder.mkdir(parents=True, exist_ok=True)
        lock: IO[str] = (folder / "lock").open("w")
    with lock:
        if not _locked(lock, fcntl.LOCK_EX):
            raise RunHeld(
                f"run {run} is being worked on by another process; wait for it, or start another with --fresh"
            )
        for draft in folder.glob(".step-*"):  # of a process that was killed while it wrote
            shutil.rmtree(draft, ignore_errors=True)
        yield folder


def is_claimed(state_dir: Path, run: int) -> bool:
    """Whether a process works on the run."""
    try:
        with (state_dir / f"run-{run}" / "lock").open("r") as lock:
            return not _locked(lock, fcntl.LOCK_SH, tries=1)
    except OSError:
        return False


def _locked(lock: IO[str], kind: int, tries: int = 10) -> bool:
    """Takes the lock. More than one try, as whoever asks whether it is free holds it for a moment."""
    for _ in range(tries):
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
            return True
        except OSError:
            time.sleep(0.02)
    return False
