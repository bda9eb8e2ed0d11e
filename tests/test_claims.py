"""The lock on a run: who holds it, who only asks, and what stands where its file should be."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.commands import ROOT
from ttsd.errors import RunHeld, UserError
from ttsd.record.claims import claimed, is_claimed

DATABASE = Path("a.sqlite")


def test_a_run_is_claimed_while_it_is_held(tmp_path: Path) -> None:
    assert not is_claimed(tmp_path, 1)
    with claimed(tmp_path, 1, DATABASE, "me"):
        assert is_claimed(tmp_path, 1)
        assert not is_claimed(tmp_path, 2)
        with pytest.raises(RunHeld, match="another process works on run 1"), claimed(tmp_path, 1, DATABASE, "me"):
            pass
    assert not is_claimed(tmp_path, 1)


def test_readers_see_no_other_reader(tmp_path: Path) -> None:
    with claimed(tmp_path, 1, DATABASE, "me") as folder:
        pass
    with (folder / "lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert not is_claimed(tmp_path, 1)


def test_readers_keep_no_writer_out(tmp_path: Path) -> None:
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            is_claimed(tmp_path, 1)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(100):
            with claimed(tmp_path, 1, DATABASE, "me"):
                assert is_claimed(tmp_path, 1)
    finally:
        done.set()
        reader.join()


@pytest.mark.slow
def test_the_lock_ends_with_its_process_even_where_a_forked_child_goes_on(tmp_path: Path) -> None:
    holder = f"""
import os, signal, sys, time
from pathlib import Path
from ttsd.record.claims import claimed
with claimed(Path({str(tmp_path)!r}), 1, Path("a.sqlite"), "me"):
    parent = os.getpid()
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        os.kill(parent, signal.SIGKILL)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", holder], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        try:
            assert process.wait() == -signal.SIGKILL
            assert not is_claimed(tmp_path, 1)
            with claimed(tmp_path, 1, DATABASE, "me"):
                pass
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_link_in_the_locks_place_is_refused_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "run-1").mkdir()
    for target in (tmp_path / "other", tmp_path / "none"):
        (tmp_path / "other").write_text("left alone")
        (tmp_path / "run-1" / "lock").symlink_to(target)
        with pytest.raises(UserError, match="run-1/lock"), claimed(tmp_path, 1, DATABASE, "me"):
            pass
        assert not is_claimed(tmp_path, 1)
        (tmp_path / "run-1" / "lock").unlink()
    assert (tmp_path / "other").read_text() == "left alone"
    assert not (tmp_path / "none").exists()


def test_a_pipe_in_the_locks_place_stops_nobody(tmp_path: Path) -> None:
    """To open a pipe is to wait for its other end, unless one says otherwise."""
    (tmp_path / "run-1").mkdir()
    os.mkfifo(tmp_path / "run-1" / "lock")
    assert not is_claimed(tmp_path, 1)
    with claimed(tmp_path, 1, DATABASE, "me"):
        assert is_claimed(tmp_path, 1)
