"""The record: its schema, what it gives back, what it refuses, and what a killed process leaves."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.records import begin, passed, rollout
from ttsd.errors import InfrastructureError, UserError
from ttsd.nouns import Status, Step, Verdict
from ttsd.record.protocol import Spent
from ttsd.record.store import Store

SCHEMA = """\
attempts: run attempt step adapter_version verdict discovered visible_passed visible_total hidden_passed \
hidden_total first_failure feedback program program_hash completion token_ids logprobs finish_reason \
prompt_tokens completion_tokens mean_logprob min_logprob sample_seconds judge_seconds cpu_seconds created \
role round score
runs: run question method seed status model config split environment discovery_attempt program created updated ended
steps: run step first_attempt attempts adapter_version loss metrics seconds state created
token_gains: run attempt gains"""


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


def test_attempts_come_back_as_they_went_in(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)
        store.add_attempt(run, rollout(2))
        store.add_attempt(run, rollout(1))
    with Store(tmp_path / "a.sqlite") as store:
        past, state = store.past(run)
    assert past.unfinished == (rollout(1), rollout(2))
    assert state is None


def test_a_finished_step_moves_the_resume_point(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)
        rollouts = (rollout(1), rollout(2, verdict=Verdict(Status.WRONG_ANSWER, 2, 2, 1, 3, first_failure=3)))
        for one in (*rollouts, rollout(3, step=2)):
            store.add_attempt(run, one)
        with store.claim(run) as folder:
            store.add_step(run, Step(1, rollouts, 1, {"loss": float("nan")}, {"draw": 1.0}), folder / "step-1")
        past, state = store.past(run)
        assert (past.attempts, past.steps, past.adapter_version) == (2, 1, 1)
        assert past.rollouts == rollouts
        assert [r.attempt for r in past.unfinished] == [3]
        assert state == store.state_dir / f"run-{run}" / "step-1"
        assert next(store.steps(run))["metrics"] == {"loss": None}


def test_what_a_step_found_for_each_token_is_kept_with_it(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)
        for one in (rollout(1), rollout(2)):
            store.add_attempt(run, one)
        store.add_step(run, Step(1, (rollout(1), rollout(2)), 1), None, {2: [0.5, -1.25, float("inf")]})
        assert store.gains(run, 2) == (0.5, -1.25, float("inf"))
        assert store.gains(run, 1) is None


def test_a_discovery_is_recorded_with_its_step_and_the_first_one_counts(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)
        store.add_step(run, Step(1, (rollout(1), rollout(2, verdict=passed())), 1), None)
        store.add_step(run, Step(2, (rollout(3, verdict=passed()),), 2), None)
        assert store.run(run)["discovery_attempt"] == 2
        assert [row["status"] for row in store.runs_of("micro:x", "sdpo", 3)] == ["running"]
        store.finish(run, "discovery")
        assert [row["status"] for row in store.runs_of("micro:x", "sdpo", 3)] == ["discovered"]


def test_only_the_newest_states_are_kept(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)
        with store.claim(run) as folder:
            for number in range(1, 12):
                (folder / f"step-{number}").mkdir()
                store.add_step(run, Step(number, (rollout(number, number),), number), folder / f"step-{number}")
            assert sorted(p.name for p in folder.glob("step-*")) == ["step-10", "step-11"]


def test_an_attempt_is_never_recorded_twice(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)
        store.add_attempt(run, rollout(1))
        with pytest.raises(InfrastructureError):
            store.add_attempt(run, rollout(1))


def test_a_killed_writer_loses_no_attempt_and_frees_the_run(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    writer = f"""
import os, signal
from tests.records import begin, rollout
from ttsd.record.protocol import Spent
from ttsd.record.store import Store
store = Store({str(path)!r})
run = begin(store)
with store.claim(run):
    for attempt in range(1, 6):
        store.add_attempt(run, rollout(attempt))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", writer], cwd=Path(__file__).parents[1], check=False)
    assert ended.returncode == -9
    with Store(path) as store:
        row = store.runs_of("micro:x", "sdpo", 3)[0]
        past, _ = store.past(row["run"])
        assert [r.attempt for r in past.unfinished] == [1, 2, 3, 4, 5]
        with store.claim(row["run"]):
            pass


def test_a_run_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)
        with store.claim(run), pytest.raises(UserError, match="another process"), store.claim(run):
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
    for attempt in range(1, 2000):
        store.add_attempt(run, rollout(attempt))


def test_a_full_disk_is_the_machines_fault(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)
        store._db.execute("pragma max_page_count = 20")  # what SQLite answers when the disk has no more room
        with pytest.raises(InfrastructureError, match="free disk space"):
            fill(store, run)
        past, _ = store.past(run)
        assert len(past.unfinished) > 0


def test_in_an_older_database_a_step_was_one_round(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with Store(path) as store:
        run = begin(store)
        for attempt, step in ((1, 1), (2, 1), (3, 2)):
            store.add_attempt(run, rollout(attempt, step))
    with sqlite3.connect(path) as db:
        db.execute("drop index attempts_rounds")
        db.execute("drop index attempts_numbers")
        db.execute("alter table attempts drop column round")
        db.execute("delete from _sqlite_migrations where name in ('m004_rounds', 'm006_counted_rounds')")
    with Store(path) as store:
        assert [one.round for one in store.rollouts(run)] == [1, 1, 2]


def test_a_record_of_a_newer_version_is_noticed(tmp_path: Path) -> None:
    Store(tmp_path / "a.sqlite").close()
    with sqlite3.connect(tmp_path / "a.sqlite") as db:
        db.execute("insert into _sqlite_migrations (migration_set, name, applied_at) values ('ttsd', 'm999', '')")
    with pytest.raises(UserError, match="newer version"):
        Store(tmp_path / "a.sqlite")


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
            assert store.overview()[0]["status"] == "running"
        assert store.overview()[0]["status"] == "interrupted"
        store.finish(run, "tokens")
        assert store.overview()[0]["status"] == "tokens spent"
        assert store.answer(run).ended == "tokens"


def test_the_score_of_a_users_own_judge_is_kept_and_counts_as_partial_success(tmp_path: Path) -> None:
    verdict = Verdict(Status.WRONG_ANSWER, 0, 1, 0, 0, first_failure=0, score=0.4)
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)
        store.add_attempt(run, rollout(1, verdict=verdict))
        assert store.rollouts(run)[0].verdict == verdict
        assert store.answer(run).best == 0.4
        assert store.overview()[0]["best"] == 0.4
        assert store.attempt_overview(run)[0]["score"] == 0.4


def test_what_counts_towards_budgets_goes_on_over_resumptions(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        run = begin(store)
        for number in (1, 2):
            store.add_attempt(run, rollout(number, step=number))
            store.add_step(run, Step(number, (rollout(number, step=number),), 0, seconds={"run": 5.0 * number}), None)
        store.add_attempt(run, rollout(3, step=3))
        assert store.spent(run) == Spent(attempts=3, tokens=60, seconds=10.0)


@pytest.mark.slow
def test_opening_a_record_loads_no_pandas_and_leaves_it_to_be_found() -> None:
    check = "import sys, ttsd.record.store; print('pandas' in sys.modules); import pandas; print(pandas.__name__)"
    ended = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["False", "pandas"]
