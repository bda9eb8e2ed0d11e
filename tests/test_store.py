"""The run database: its schema, what it gives back, what it refuses, and what a killed process leaves."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.records import attempt, begin, passed, run_of
from ttsd.errors import InfrastructureError, RunHeld, UserError
from ttsd.nouns import Example, History, Prompt, Status, Step, Verdict
from ttsd.record.claims import state_of
from ttsd.record.disks import filesystem_of
from ttsd.record.protocol import Spent
from ttsd.record.store import Store
from ttsd.reporting.attempt import attempt_rows, run_rows

SCHEMA = """\
attempts: run attempt step round prompt adapter_version verdict discovered visible_passed visible_total hidden_passed \
hidden_total visible_fraction score first_failure feedback program program_hash completion token_ids logprobs \
finish_reason prompt_tokens completion_tokens mean_logprob min_logprob dollars hint hint_tokens hint_dollars \
sample_seconds judge_seconds cpu_seconds created
examples: run attempt teacher_prompt reward token_advantages
prompts: prompt row shows tokens text token_ids
runs: run question method seed label fingerprint status ended model config split environment tracker_id \
discovery_attempt program created updated
steps: run step first_attempt attempts adapter_version loss metrics seconds state created"""


def test_the_schema_is_what_readers_rely_on(tmp_path: Path) -> None:
    Store(tmp_path / "a.sqlite").close()
    with sqlite3.connect(tmp_path / "a.sqlite") as db:
        tables = [row[0] for row in db.execute("select name from sqlite_master where type = 'table' order by name")]
        found = [
            f"{table}: {' '.join(row[1] for row in db.execute(f'pragma table_info({table})'))}"
            for table in tables
            if table[0] not in "_" and not table.startswith("sqlite")
        ]
        assert db.execute("pragma journal_mode").fetchone() == ("wal",)
    assert "\n".join(found) == SCHEMA


@pytest.mark.parametrize(
    ("filesystem", "journal"),
    [("ext4", "wal"), ("fuse.fuse-overlayfs", "wal"), ("", "wal")]
    + [(one, "delete") for one in ("nfs4", "cifs", "smb3", "9p", "fuse.sshfs")],
)
def test_on_a_network_disk_there_is_no_wal(tmp_path: Path, filesystem: str, journal: str) -> None:
    path = tmp_path / "a.sqlite"
    with Store(path, filesystem="ext4") as store:
        begin(store)  # it was on a local disk before
    with Store(path, filesystem=filesystem) as store:
        begin(store)
        assert ("locks may not hold between machines" in store.note) == (journal == "delete")
        assert len(store.runs()) == 2
        with sqlite3.connect(path) as db:
            assert db.execute("pragma journal_mode").fetchone() == (journal,)
        with Store.read_only(path) as reader:
            assert len(reader.runs()) == 2


def test_the_type_of_a_disk_is_known() -> None:
    assert filesystem_of(Path("/proc/self/no-such-file")) == "proc"
    assert filesystem_of(Path("relative")) == filesystem_of(Path.cwd())


def test_attempts_come_back_as_they_went_in(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)
        store.add_attempt(run, attempt(2))
        store.add_attempt(run, attempt(1, prompt=Prompt((4, 5), "lone \ud800 surrogate")))
    with Store(tmp_path / "a.sqlite") as store:
        past = store.past(run)
    assert past.begun == (attempt(1, prompt=Prompt((4, 5), "lone \ud800 surrogate")), attempt(2))
    assert (past.history, past.state) == (History(), None)


def test_a_prompt_is_stored_once_and_a_user_can_count_it(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)
        for number in (1, 2, 3):
            store.add_attempt(run, attempt(number, prompt=Prompt((7,), "q") if number == 3 else None))
        sql = "select row, shows, tokens, count(*) from attempts join prompts using (prompt) group by prompt order by 4"
        assert store.query(sql) == [("question", "[]", 1, 1), ("feedback", "[1, 2]", 17, 2)]


def test_a_finished_step_moves_the_resume_point(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)
        made = (attempt(1), attempt(2, verdict=Verdict(Status.WRONG_ANSWER, 2, 2, 1, 3, first_failure=3)))
        for one in (*made, attempt(3, step=2)):
            store.add_attempt(run, one)
        with store.claim(run) as folder:
            step = Step(1, made, 1, metrics={"loss": float("nan")}, seconds={"group": 1.0})
            store.add_step(run, step, folder / "step-1", {})
        past = store.past(run)
        assert (past.history, past.adapter_version) == (History(made), 1)
        assert [one.number for one in past.begun] == [3]
        assert past.state == store.state_dir / f"run-{run}" / "step-1"
        assert next(store.steps(run))["metrics"] == {"loss": None}


def test_a_file_that_can_be_locked_but_not_written_is_named_before_anything_starts(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as writer:
        writer.check_writable()
        with Store.read_only(writer.path) as store, pytest.raises(UserError, match="can't write the database"):
            store.check_writable()


def test_two_databases_never_share_a_folder_of_states(tmp_path: Path) -> None:
    shared = tmp_path / "states"
    with Store(tmp_path / "a.sqlite", shared) as one, Store(tmp_path / "b.sqlite", shared) as two:
        run = begin(one)
        assert begin(two) == run
        with one.claim(run) as folder:
            (folder / "step-1").mkdir()
        for refused in (two.claim(run).__enter__, lambda: two.delete(run), lambda: two.state_folder(run, "step-1")):
            with pytest.raises(UserError, match="another database"):
                refused()
        with one.claim(run):
            assert one.state_folder(run, "step-1").is_dir()


def test_the_folder_of_a_database_that_is_gone_belongs_to_the_next_of_its_name(tmp_path: Path) -> None:
    for _ in range(2):
        with Store(tmp_path / "a.sqlite") as store, store.claim(begin(store)):
            pass
        for file in tmp_path.glob("a.sqlite*"):
            file.is_file() and file.unlink()


def test_a_return_is_part_of_the_history(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)
        for number, metrics in ((1, {}), (2, {}), (3, {"returned_to": 1.0}), (4, {})):
            store.add_attempt(run, attempt(number, step=number))
            store.add_step(run, Step(number, (attempt(number, step=number),), number, metrics=metrics), None, {})
        history = store.past(run).history
        assert [one.number for one in history.current] == [1, 4]
        assert (history.steps, history.returns) == (4, {3: 1})


def test_what_a_step_learned_is_kept_with_it(tmp_path: Path) -> None:
    made, teacher = (attempt(1), attempt(2)), Prompt((1, 2), "with feedback", "teacher", (2,))
    examples = tuple(
        Example(one.number, one.prompt.token_ids, one.completion.token_ids, one.completion.logprobs, prompt, reward)
        for one, prompt, reward in zip(made, (None, teacher), (0.5, None), strict=True)
    )
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)
        for one in made:
            store.add_attempt(run, one)
        assert store.example(run, 2) is None
        store.add_step(run, Step(1, made, 1, examples), None, {2: [0.5, -1.25, float("inf")]})
        assert store.example(run, 2) == (examples[1], (0.5, -1.25, float("inf")))
        assert store.example(run, 1) == (examples[0], None)


def test_a_discovery_is_recorded_with_its_step_and_the_first_one_counts(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)
        store.add_step(run, Step(1, (attempt(1), attempt(2, verdict=passed())), 1), None, {})
        store.add_step(run, Step(2, (attempt(3, verdict=passed()),), 2), None, {})
        assert store.run(run)["discovery_attempt"] == 2
        assert [row["status"] for row in store.runs()] == ["running"]
        store.finish(run, "discovery")
        assert [row["status"] for row in store.runs()] == ["discovered"]


def test_only_the_newest_states_and_the_best_are_kept(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)
        with store.claim(run) as folder:
            for number in range(1, 12):
                state_of(folder, number).mkdir()
                best = {"best_state": 3.0 if number > 4 else 1.0}
                step = Step(number, (attempt(number, number),), number, metrics=best)
                store.add_step(run, step, state_of(folder, number), {})
            assert sorted(p.name for p in folder.glob("step-*")) == ["step-10", "step-11", "step-3"]


def test_an_attempt_is_never_recorded_twice(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)
        store.add_attempt(run, attempt(1))
        with pytest.raises(InfrastructureError):
            store.add_attempt(run, attempt(1))


def test_a_killed_writer_loses_no_attempt_and_frees_the_run(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    writer = f"""
import os, signal
from tests.records import attempt, begin
from ttsd.record.store import Store
store = Store({str(path)!r})
run = begin(store)
with store.claim(run):
    for number in range(1, 6):
        store.add_attempt(run, attempt(number))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", writer], cwd=Path(__file__).parents[1], check=False)
    assert ended.returncode == -9
    with Store(path) as store:
        row = store.newest(run_of())
        assert row is not None
        assert [one.number for one in store.past(row["run"]).begun] == [1, 2, 3, 4, 5]
        with store.claim(row["run"]):
            pass


def test_a_run_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)
        with store.claim(run), pytest.raises(RunHeld, match="another process"), store.claim(run):
            pass


def test_what_a_killed_process_half_wrote_is_swept_away(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)
        draft, state = (tmp_path / "a.sqlite.state" / f"run-{run}" / name for name in (".step-2-x1", "step-1"))
        for folder in (draft, state):
            folder.mkdir(parents=True)
        with store.claim(run):
            assert state.is_dir()
            assert not draft.exists()


def test_unusable_files_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.sqlite").write_text("this is not a database, but it is long enough to be read as one" * 20)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="not a usable SQLite database"):
        Store(tmp_path / "text.sqlite")
    with pytest.raises(UserError, match=r"store\.path"):
        Store(tmp_path / "file" / "a.sqlite")


def fill(store: Store, run: int) -> None:
    for number in range(1, 2000):
        store.add_attempt(run, attempt(number))


def test_a_full_disk_is_the_machines_fault(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)
        store._db.execute("pragma max_page_count = 25")  # what SQLite answers when the disk has no more room
        with pytest.raises(InfrastructureError, match="free disk space"):
            fill(store, run)
        assert len(store.past(run).begun) > 0


@pytest.mark.parametrize(
    "change",
    [
        "alter table attempts drop column dollars",
        "alter table runs add column mark text",
        "drop table examples",
    ],
)
def test_a_file_of_another_version_is_refused_and_left_as_it_was(tmp_path: Path, change: str) -> None:
    path = tmp_path / "a.sqlite"
    Store(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(change)
        db.commit()
    refuses(path)


def test_a_file_of_another_program_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("create table runs (run integer)")
    refuses(path)


def test_a_file_without_tables_is_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").touch()
    with pytest.raises(UserError, match="was not written by this version of ttsd"):
        Store.read_only(tmp_path / "a.sqlite")


def refuses(path: Path) -> None:
    before = path.read_bytes()
    for opening in (Store, Store.read_only):
        with pytest.raises(UserError, match="was not written by this version of ttsd"):
            opening(path)
    assert path.read_bytes() == before


def test_reading_writes_nothing(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        store.add_attempt(begin(store), attempt(1))
    before = (tmp_path / "a.sqlite").read_bytes()
    with Store.read_only(tmp_path / "a.sqlite") as store:
        assert store.answer(1).attempts == 1
        with pytest.raises(UserError, match="can't write"):
            store.finish(1, "attempts")
    assert (tmp_path / "a.sqlite").read_bytes() == before


def test_a_strangers_database_is_refused_and_its_folder_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("pragma journal_mode = wal")
        db.execute("create table runs (run integer)")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(UserError, match="was not written by this version of ttsd"):
        Store.read_only(path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    with pytest.raises(UserError, match=f"{tmp_path} is a folder; store.path names a file"):
        Store.read_only(tmp_path)


def test_messages_name_a_database_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"there is no database {tmp_path}/b.sqlite"):
        Store.read_only("b.sqlite")
    Path("c.sqlite").write_text("no database")
    with pytest.raises(UserError, match=f"{tmp_path}/c.sqlite is not a usable"):
        Store.read_only("c.sqlite")


WRITER = """
import sys
from tests.records import begin
from ttsd.record.store import Store
with Store(sys.argv[1]) as store:
    print(flush=True)
    sys.stdin.readline()
    for _ in range(300):
        begin(store)
"""


def test_two_programs_write_into_one_database(tmp_path: Path) -> None:
    path = str(tmp_path / "a.sqlite")
    Store(path).close()
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    for writer in writers:
        assert writer.stdout
        writer.stdout.readline()
        writer.stdout.close()
    for writer in writers:
        assert writer.stdin
        writer.stdin.write(b"\n")
        writer.stdin.close()
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    with Store(path) as store:
        assert len(store.query("select run from runs")) == 900


@pytest.mark.slow
def test_a_locked_database_has_its_own_remedy(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        holder = sqlite3.connect(tmp_path / "a.sqlite", isolation_level=None)
        holder.execute("begin immediate")
        with pytest.raises(UserError, match="locked by another program"):
            store.check_writable()
        holder.execute("rollback")
        holder.close()
        store.check_writable()


def test_a_run_is_running_while_a_process_claims_it_and_interrupted_afterwards(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)
        with store.claim(run):
            assert run_rows(store)[0]["status"] == "running"
        assert run_rows(store)[0]["status"] == "interrupted"
        store.finish(run, "tokens")
        assert run_rows(store)[0]["status"] == "tokens spent"
        assert store.answer(run).ended == "tokens"


def test_the_score_of_a_users_own_judge_is_kept_and_counts_as_partial_success(tmp_path: Path) -> None:
    verdict = Verdict(Status.WRONG_ANSWER, 0, 1, 0, 0, first_failure=0, score=0.4)
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)
        store.add_attempt(run, attempt(1, verdict=verdict))
        assert store.attempts(run)[0].verdict == verdict
        assert store.answer(run).best == 0.4
        assert run_rows(store)[0]["best"] == 0.4
        assert attempt_rows(store, run)[0]["score"] == 0.4


def test_what_counts_towards_budgets_goes_on_over_resumptions(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)
        for number in (1, 2):
            store.add_attempt(run, attempt(number, step=number))
            step = Step(number, (attempt(number, step=number),), 0, seconds={"run": 5.0 * number})
            store.add_step(run, step, None, {})
        store.add_attempt(run, attempt(3, step=3))
        assert store.spent(run) == Spent(attempts=3, tokens=60, seconds=10.0)


@pytest.mark.slow
def test_opening_a_record_loads_no_pandas_and_leaves_it_to_be_found() -> None:
    check = "import sys, ttsd.record.store; print('pandas' in sys.modules); import pandas; print(pandas.__name__)"
    ended = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["False", "pandas"]
