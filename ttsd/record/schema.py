"""The database's schema, in SQL, and whether a database has it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path

from ttsd.record.tables import sqlite_utils

TABLES = ("runs", "steps", "prompts", "attempts", "examples")
SCHEMA = """
create table runs (
    run integer primary key, question text not null, method text not null, seed integer not null,
    label text,  -- the user's own name for the run
    fingerprint text not null,  -- hash of what a run must agree on to be resumed
    status text not null,  -- running, discovered, exhausted
    ended text,  -- discovery, or which budget
    model text, config text not null, split text, environment text,
    tracker_id text,  -- of the run in W&B and trackio
    discovery_attempt integer, program text, created text not null, updated text
);
create index runs_fingerprint on runs (fingerprint);
create table steps (
    run integer references runs, step integer, first_attempt integer, attempts integer, adapter_version integer,
    loss real, metrics text, seconds text, state text, created text,
    primary key (run, step)
);
create table prompts (
    prompt text primary key,  -- hash of all that follows
    row text,  -- of the table of methods, or teacher
    shows text,  -- numbers of the attempts that it shows, as JSON
    tokens integer,
    text blob,  -- zlib
    token_ids blob  -- zlib of int32
);
create table attempts (
    run integer references runs, attempt integer, step integer, round integer, prompt text references prompts,
    adapter_version integer, verdict text, discovered integer,
    visible_passed integer, visible_total integer, hidden_passed integer, hidden_total integer,
    visible_fraction real,  -- the share passed: of visible cases, or a judge's score
    score real, first_failure integer, feedback text, program text, program_hash text, completion text,
    token_ids blob,  -- int32
    logprobs blob,  -- float64
    finish_reason text, prompt_tokens integer, completion_tokens integer, mean_logprob real, min_logprob real,
    dollars real,  -- what an endpoint charged for it
    hint text, hint_tokens integer, hint_dollars real,  -- of a stronger model
    sample_seconds real, judge_seconds real, cpu_seconds real, created text,
    primary key (run, attempt)
);
-- Holds every number, so that counting never touches completions.
create index attempts_numbers on attempts (
    run, attempt, step, round, verdict, discovered, visible_passed, visible_total, visible_fraction, finish_reason,
    prompt_tokens, completion_tokens, sample_seconds, judge_seconds, cpu_seconds, program_hash
);
create index attempts_step on attempts (run, step);
create table examples (
    run integer references runs, attempt integer, teacher_prompt text references prompts, reward real,
    token_advantages blob,  -- float32
    primary key (run, attempt)
);
create view run_summary as select r.run, r.question, r.method, r.seed, r.status, r.ended, r.discovery_attempt,
    count(a.attempt) as attempts,
    sum(a.discovered = 0 and a.visible_total > 0 and a.visible_passed = a.visible_total) as visible_only,
    max(a.visible_fraction) as best_visible_fraction,
    sum(a.prompt_tokens) as prompt_tokens, sum(a.completion_tokens) as completion_tokens
    from runs r left join attempts a on a.run = r.run group by r.run;
create view question_summary as select question, method, count(*) as runs,
    sum(discovery_attempt is not null) as discovered, min(discovery_attempt) as first_discovery,
    sum(attempts) as attempts, sum(visible_only) as visible_only
    from run_summary group by question, method;
"""


def create(db: sqlite_utils.Database) -> None:
    """Creates all tables at once, unless another process has."""
    with db.atomic():
        for statement in SCHEMA.split(";\n") if not db.table_names() else []:
            db.execute(statement)


def foreign(db: sqlite_utils.Database, *, may_be_new: bool) -> str | None:
    """Explains in a clause why `db` can't be used; None: it has the tables of this version, or none and may be new."""
    if strange := _strange(db):
        return f"has {strange} that ttsd did not make; give a database of ttsd's own"
    new = may_be_new and not db.table_names()  # asked first: another process may create them at this moment
    if not new and _columns(db) != _own_columns():
        return "was not written by this version of ttsd; read it with the version that wrote it"
    return None


def foreign_file(path: Path, longest: int) -> str | None:
    """Explains, as `foreign` does, why the file at `path` can't be read; None: it can, or some program has it open.

    Nothing is left next to the file, as SQLite does when it reads one in WAL mode. `longest`: bytes of a value.
    """
    if path.with_name(f"{path.name}-wal").exists():
        return None
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, longest)
        return foreign(sqlite_utils.Database(connection), may_be_new=False)


def _columns(db: sqlite_utils.Database) -> list[list[str]]:
    """Returns the names of the columns of our tables, in order."""
    return [[name for _, name, *_ in db.execute(f"pragma table_info({table})")] for table in TABLES]


@cache
def _own_columns() -> list[list[str]]:
    db = sqlite_utils.Database(memory=True)
    create(db)
    return _columns(db)


def _strange(db: sqlite_utils.Database) -> str:
    """Names what a stranger's database could make our queries endless with: a trigger, or a table that is none."""
    for kind, name, sql in db.execute("select type, name, coalesce(sql, '') from sqlite_master"):
        if kind == "trigger" or (kind == "table" and sql[:15].lower() == "create virtual "):
            return f"a {kind} {name[:40]!r}"
        if kind == "view" and name in TABLES:
            return f"a view {name[:40]!r}"
        if kind == "table" and any(hidden for *_, hidden in db.execute(f"pragma table_xinfo({_quoted(name)})")):
            return f"a computed column in {name[:40]!r}"
    return ""


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
