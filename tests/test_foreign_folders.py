"""A run database of somebody else: its folder of states, its links and pipes, its rights, and who else opens it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.commands import ROOT
from tests.records import attempt, begin
from tests.strangers import journal_of_two, listed
from ttsd.errors import UserError
from ttsd.nouns import Step
from ttsd.record.claims import claimed, is_claimed
from ttsd.record.store import Store

DATABASE = Path("a.sqlite")
NOBODY = 65534


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder of somebody's, with all names that a run's own folder can have."""
    folder = tmp_path / "theirs"
    for name in ("step-1", "step-2", "step-3", "step-4", ".step-9-abcdefgh", "run-1/step-1"):
        (folder / name).mkdir(parents=True)
        (folder / name / "kept").write_text("left alone")
    (folder / "lock").write_text("left alone")
    return folder


@pytest.mark.parametrize("linked", ["state folder", "run", "lock", "state", "tracker"])
def test_no_link_in_a_folder_of_states_is_followed(tmp_path: Path, theirs: Path, linked: str) -> None:
    states, before = tmp_path / "states", listed(theirs)
    if linked == "state folder":
        states.symlink_to(theirs)
    else:
        states.mkdir()
        names = {"run": "run-1", "lock": "run-1/lock", "state": "run-1/step-1", "tracker": "run-1/tensorboard"}
        link = states / names[linked]
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(theirs / "lock" if linked == "lock" else theirs)
    with pytest.raises(UserError, match="link"), claimed(states, 1, DATABASE, "me"):
        pass
    assert not is_claimed(states, 1)
    assert listed(theirs) == before


def test_a_hard_link_in_the_locks_place_leaves_its_file_as_it_is(tmp_path: Path, theirs: Path) -> None:
    (tmp_path / "run-1").mkdir()
    os.link(theirs / "lock", tmp_path / "run-1" / "lock")
    with claimed(tmp_path, 1, DATABASE, "me"):
        pass
    assert (theirs / "lock").read_text() == "left alone"


@pytest.mark.parametrize("kind", ["hard link", "pipe"])
def test_what_stands_in_the_place_of_the_owners_name_is_left_alone(tmp_path: Path, theirs: Path, kind: str) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        own = store.state_dir / f"run-{begin(store)}"
        own.mkdir(parents=True)
        os.mkfifo(own / "owner") if kind == "pipe" else os.link(theirs / "lock", own / "owner")
        with store.claim(1):
            pass
    assert (theirs / "lock").read_text() == "left alone"


def test_a_folder_that_the_user_names_may_be_a_link(tmp_path: Path, theirs: Path) -> None:
    (tmp_path / "big-disk").symlink_to(theirs)
    with Store(tmp_path / "a.sqlite", tmp_path / "big-disk") as store, store.claim(begin(store)) as folder:
        assert folder == theirs / "run-1"


@pytest.mark.parametrize("named", ["../../theirs", "step-1/../../../theirs/step-1", "lock", "step-1\n", "step-x", ""])
def test_a_state_has_a_states_name_and_place(tmp_path: Path, theirs: Path, named: str) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        for name in (named, str(theirs / named)):
            with pytest.raises(UserError, match="none"):
                store.state_folder(1, name)


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_state_consists_of_plain_files(tmp_path: Path, theirs: Path, kind: str) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        begin(store)
        assert not store.state_folder(1, "step-1").exists()
        state = store.state_dir / "run-1" / "step-1"
        state.mkdir(parents=True)
        assert store.state_folder(1, "step-1") == state
        file = state / "state.json"
        os.mkfifo(file) if kind == "pipe" else file.symlink_to(theirs / "lock")
        with pytest.raises(UserError, match=r"state\.json is not a plain file"):
            store.state_folder(1, "step-1")


def finish_steps(store: Store, run: int, folder: Path, count: int) -> None:
    for number in range(1, count + 1):
        (folder / f"step-{number}").mkdir(exist_ok=True)
        store.add_step(run, Step(number, (attempt(number, number),), number), folder / f"step-{number}", {})


def test_only_names_that_the_database_holds_are_pruned(tmp_path: Path, theirs: Path) -> None:
    before = listed(theirs)
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)
        own = store.state_dir / f"run-{run}"
        for name in ("step-0", "step-99", "step-notes", ".step-mine", "results"):
            (own / name).mkdir(parents=True)
        with store.claim(run) as folder:
            finish_steps(store, run, folder, 2)
            shutil.rmtree(own / "step-1")
            (own / "step-1").symlink_to(theirs)
            store._db.execute("update steps set state = '../../theirs/step-1' where step = 2")
            for number in (3, 4, 5):
                (own / f"step-{number}").mkdir()
                step = Step(number, (attempt(number, number),), number)
                store.add_step(run, step, own / f"step-{number}", {})
        names = {entry.name for entry in own.iterdir()}
        assert names == {
            *("step-0", "step-99", "step-notes", ".step-mine", "results", "lock", "owner", "step-1", "step-2"),
            *("step-4", "step-5"),
        }
    assert listed(theirs) == before


def test_pipes_where_folders_should_be_stop_nobody(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)
        with store.claim(run) as folder:
            for name in ("step-1", ".step-1-abcdefgh"):
                os.mkfifo(folder / name)
        with store.claim(run) as folder:
            for number in (1, 2, 3):
                store.add_step(run, Step(number, (attempt(number, number),), number), folder / f"step-{number}", {})
        os.mkfifo(store.state_dir / f"run-{begin(store)}")
        with pytest.raises(UserError, match="run-2"), store.claim(2):
            pass


@contextmanager
def unprivileged() -> Iterator[None]:
    """Whoever runs the tests, as a user for whom rights count."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def common() -> Iterator[Path]:
    """A folder that every user can enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def one_run(folder: Path) -> Path:
    path = folder / "a #1?.sqlite"
    with Store(path) as store:
        store.add_attempt(begin(store), attempt(1))
    path.chmod(0o444)
    return path


def test_a_database_is_read_where_nothing_can_be_written(common: Path) -> None:
    path = one_run(common)
    common.chmod(0o555)
    before = sorted(common.iterdir())
    with unprivileged(), Store.read_only(path) as store:
        assert store.answer(1).attempts == 1
    assert sorted(common.iterdir()) == before


def test_rows_that_are_not_yet_in_the_file_are_not_kept_quiet_about(common: Path) -> None:
    path = one_run(common)
    with Store(path) as store:
        store.add_attempt(1, attempt(2))
        for end in ("", "-wal"):
            shutil.copy(f"{path}{end}", common / f"copy.sqlite{end}")
    common.chmod(0o555)
    with unprivileged(), pytest.raises(UserError, match=r"copy\.sqlite-wal, which can't be read here; copy both"):
        Store.read_only(common / "copy.sqlite")


def test_a_journal_deletes_no_other_file(tmp_path: Path, theirs: Path) -> None:
    """SQLite deletes the list once it has rolled back: any file that a hostile journal names."""
    path = tmp_path / "a.sqlite"
    Store(path).close()
    (tmp_path / "a.sqlite-journal").write_bytes(journal_of_two(path, theirs / "lock"))
    for opening in (Store, Store.read_only):
        with pytest.raises(UserError, match=r"a\.sqlite-journal is no part of a run database"):
            opening(path)
    assert (theirs / "lock").read_text() == "left alone"


@pytest.mark.parametrize("end", ["-journal", "-wal", "-shm"])
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_sqlite_would_open_is_a_plain_file(tmp_path: Path, theirs: Path, end: str, kind: str) -> None:
    Store(tmp_path / "a.sqlite").close()
    place = tmp_path / f"a.sqlite{end}"
    os.mkfifo(place) if kind == "pipe" else place.symlink_to(theirs / "lock")
    for opening in (Store, Store.read_only):
        with pytest.raises(UserError, match="no part of a run database"):
            opening(tmp_path / "a.sqlite")


CREATES = """
import sys
from ttsd.record.store import Store
print(flush=True)
sys.stdin.readline()
Store(sys.argv[1]).close()
"""


@pytest.mark.slow
def test_processes_create_one_database_at_once(tmp_path: Path) -> None:
    for number in range(5):
        makers = [
            subprocess.Popen(
                [sys.executable, "-c", CREATES, str(tmp_path / f"{number}.sqlite")],
                cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )
            for _ in range(4)
        ]  # fmt: skip
        for maker in makers:
            assert maker.stdout
            maker.stdout.readline()
            maker.stdout.close()
        for maker in makers:
            assert maker.stdin
            with suppress(BrokenPipeError):
                maker.stdin.write(b"\n")
                maker.stdin.close()
        assert [maker.wait() for maker in makers] == [0, 0, 0, 0]


def test_a_number_that_no_database_can_hold_is_a_users_mistake(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        begin(store)
        for ask in (store.run, store.attempts, store.answer, lambda number: list(store.steps(number))):
            with pytest.raises(UserError, match="no number of that size"):
                ask(10**23)
