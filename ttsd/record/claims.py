"""A run's folder of learner's states, and the lock in it that says which process works on the run.

The folder may come from somebody else, with the run database next to it. So no link in it is followed, and nothing in
it is deleted but folders of the names that a run gives its states.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ttsd.errors import RunHeld, UserError
from ttsd.record.faults import faults_in_words

PATIENCE_SECONDS = 0.3  # a reader that asks whether the lock is free shares it for a moment
_OWNER = "owner"
_STATE = re.compile(r"step-\d+", re.ASCII)
_DRAFT = re.compile(r"\.step-\d+-\w+", re.ASCII)


@contextmanager
def claimed(state_dir: Path, run: int, path: Path, owner: str) -> Iterator[Path]:
    """Holds the folder of run `run` in `state_dir` against other processes. The lock ends with its process.

    It is flock, which NFS, SMB and FUSE may keep to one machine or ignore: there it holds between no two machines.

    `path`: the database that errors name. `owner`: the run's own id, which no run of another database has. RunHeld:
    another process has it. UserError: the lock can't be a file there, or the folder is another database's.
    """
    folder = _run_folder(state_dir, run)
    # Without the fallback to a file that says who holds the lock: it would outlive a process that is killed.
    lock = FileLock(folder / "lock", timeout=PATIENCE_SECONDS, thread_local=False, fallback_to_soft=False)
    with faults_in_words(path):
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_links(folder, *folder.iterdir())
        try:
            lock.acquire()
        except Timeout:
            remedy = "wait for it, stop it, or start another run with ttsd solve --fresh"
            raise RunHeld(f"another process works on run {run}; {remedy}") from None
    try:
        with faults_in_words(path):
            _own(folder, owner, is_default=state_dir == default_state_dir(path.absolute()))
        drafts = [place.name for place in folder.iterdir() if _DRAFT.fullmatch(place.name)]
        _delete(folder, drafts)  # of a process that was killed while it wrote
        yield folder
    finally:
        lock.release()


def default_state_dir(path: Path) -> Path:
    """Returns the folder of states next to a database, which is that database's alone."""
    return path.with_name(path.name + ".state")


def check_owner(folder: Path, owner: str) -> None:
    """Checks that a run's folder is not that of another database's run. UserError: it is."""
    mark = folder / _OWNER
    if mark.is_file() and mark.read_text("utf-8", "replace") not in ("", owner):  # "": the disk was full
        raise UserError(
            f"{folder} has the learner's states of another database, or of a deleted run; set store.state_dir to a "
            "folder that this database alone uses, or delete that folder if nothing needs it"
        )


def _own(folder: Path, owner: str, *, is_default: bool) -> None:
    """Marks a run's folder. What a deleted database left in the default place is taken over."""
    if not is_default:
        check_owner(folder, owner)
    (folder / _OWNER).unlink(missing_ok=True)  # a stranger's may be a pipe, or another name of some other file
    (folder / _OWNER).write_text(owner, "utf-8")


def state_of(folder: Path, step: int) -> Path:
    """Returns where the learner's state after `step` is kept in its run's folder."""
    return folder / f"step-{step}"


def is_claimed(state_dir: Path, run: int) -> bool:
    """Tells whether a process works on the run.

    FileLock's own lock (flock), but shared and only read: readers see no other reader, and need no right to write.
    """
    try:
        lock = os.open(_run_folder(state_dir, run) / "lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (OSError, UserError):
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def state_folder(state_dir: Path, run: int, name: str) -> Path:
    """Returns the folder of the learner's state that the run database calls `name`; it may be gone.

    UserError: that is no name of a state, or there is a link or a pipe where its folder or files should be.
    """
    if not _STATE.fullmatch(name):
        raise UserError(
            f"{name!r} is none of the names that learner's states have; give another database than run {run}'s"
        )
    folder = _run_folder(state_dir, run) / name
    _refuse_links(folder)
    if folder.is_dir():
        for file in folder.iterdir():
            if file.is_symlink() or not file.is_file():
                raise UserError(f"{file} is not a plain file, which a learner's state consists of; delete it")
    return folder


def prune_states(state_dir: Path, run: int, names: Iterable[str]) -> None:
    """Deletes the folders of these states, as far as they are folders."""
    _delete(_run_folder(state_dir, run), filter(_STATE.fullmatch, names))


def _delete(folder: Path, names: Iterable[str]) -> None:
    for place in (folder / name for name in names):
        if not place.is_symlink() and place.is_dir():
            shutil.rmtree(place, ignore_errors=True)


def _run_folder(state_dir: Path, run: int) -> Path:
    """Returns the run's folder. UserError: it would be found by following a link."""
    folder = state_dir / f"run-{run}"
    _refuse_links(state_dir, folder)
    return folder


def _refuse_links(*places: Path) -> None:
    for place in places:
        if place.is_symlink():
            raise UserError(f"{place} is a link, which is not followed; delete it, or set store.state_dir to a folder")
