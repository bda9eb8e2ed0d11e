"""Which process works on a run: a lock in the run's folder that ends with its process."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ttsd.errors import RunHeld
from ttsd.record.faults import faults_in_words

PATIENCE_SECONDS = 0.3  # a reader that asks whether the lock is free shares it for a moment


@contextmanager
def claimed(state_dir: Path, run: int, path: Path) -> Iterator[Path]:
    """Holds the folder of run `run` in `state_dir` against other processes. The lock ends with its process.

    `path`: the database that errors name. RunHeld: another process has it. UserError: the lock can't be a file there.
    """
    folder = state_dir / f"run-{run}"
    # Without the fallback to a file that says who holds the lock: it would outlive a process that is killed.
    lock = FileLock(folder / "lock", timeout=PATIENCE_SECONDS, thread_local=False, fallback_to_soft=False)
    with faults_in_words(path):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            held = f"another process works on run {run}; wait for it, or start another run with --fresh"
            raise RunHeld(held) from None
    try:
        for draft in folder.glob(".step-*"):  # of a process that was killed while it wrote
            shutil.rmtree(draft, ignore_errors=True)
        yield folder
    finally:
        lock.release()


def state_of(folder: Path, step: int) -> Path:
    """Returns where the learner's state after `step` is kept in its run's folder."""
    return folder / f"step-{step}"


def is_claimed(state_dir: Path, run: int) -> bool:
    """Tells whether a process works on the run.

    FileLock's own lock (flock), but shared and only read: readers see no other reader, and need no right to write.
    """
    try:
        lock = os.open(state_dir / f"run-{run}" / "lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
