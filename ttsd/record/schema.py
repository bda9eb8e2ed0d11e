"""The database's schema, as numbered migrations: one that was released never changes, a new one is added below."""

from __future__ import annotations

from ttsd.record.tables import Migrations, sqlite_utils

migrations = Migrations("ttsd 0.2")
TABLES = ("runs", "steps", "prompts", "attempts", "examples", Migrations.migrations_table)


def foreign(db: sqlite_utils.Database) -> str | None:
    """Explains in a clause why `db` can't be used: it has tables that this version did not make; None: it can."""
    if strange := _strange(db):
        return f"has {strange} that ttsd did not make; give a database of ttsd's own"
    known = {migration.name for migration in migrations.pending(sqlite_utils.Database(memory=True))}
    if {migration.name for migration in migrations.applied(db)} - known:
        return "was written by a newer version of ttsd; install that one"
    if {*db.table_names()} - {Migrations.migrations_table} and not migrations.applied(db):
        return "was not written by this version of ttsd; read it with the version that wrote it"
    return None


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


@migrations()
def m001_initial(db: sqlite_utils.Database) -> None:
    """Creates the tables of version 0.2.0."""
    _create_runs(db)
    _create_prompts(db)
    _create_attempts(db)
    _create_examples(db)
    _create_views(db)


def _create_runs(db: sqlite_utils.Database) -> None:
    db.table("runs").create(
        {
            "run": int,
            "question": str,
            "method": str,
            "seed": int,
            "label": str,  # the user's own name for the run
            "fingerprint": str,  # hash of what a run must agree on to be resumed
            "status": str,  # running, discovered, exhausted
            "ended": str,  # discovery, or which budget
            "model": str,
            "config": str,
            "split": str,
            "environment": str,
            "tracker_id": str,  # of the run in W&B and trackio
            "discovery_attempt": int,
            "program": str,
            "created": str,
            "updated": str,
        },
        pk="run",
        not_null={"question", "method", "seed", "fingerprint", "status", "config", "created"},
    )
    db.table("runs").create_index(["fingerprint"])
    db.table("steps").create(
        {
            "run": int,
            "step": int,
            "first_attempt": int,
            "attempts": int,
            "adapter_version": int,
            "loss": float,
            "metrics": str,
            "seconds": str,
            "state": str,
            "created": str,
        },
        pk=("run", "step"),
        foreign_keys=[("run", "runs", "run")],
    )


def _create_prompts(db: sqlite_utils.Database) -> None:
    db.table("prompts").create(
        {
            "prompt": str,  # hash of all that follows
            "row": str,  # of the table of methods, or teacher
            "shows": str,  # numbers of the attempts that it shows, as JSON
            "tokens": int,
            "text": bytes,  # zlib
            "token_ids": bytes,  # zlib of int32
        },
        pk="prompt",
    )


def _create_attempts(db: sqlite_utils.Database) -> None:
    db.table("attempts").create(
        {
            "run": int,
            "attempt": int,
            "step": int,
            "round": int,
            "prompt": str,
            "adapter_version": int,
            "verdict": str,
            "discovered": int,
            "visible_passed": int,
            "visible_total": int,
            "hidden_passed": int,
            "hidden_total": int,
            "visible_fraction": float,  # the share passed: of visible cases, or a judge's score
            "score": float,
            "first_failure": int,
            "feedback": str,
            "program": str,
            "program_hash": str,
            "completion": str,
            "token_ids": bytes,  # int32
            "logprobs": bytes,  # float64
            "finish_reason": str,
            "prompt_tokens": int,
            "completion_tokens": int,
            "mean_logprob": float,
            "min_logprob": float,
            "dollars": float,  # what an endpoint charged for it
            "hint": str,  # of a stronger model
            "hint_tokens": int,
            "hint_dollars": float,
            "sample_seconds": float,
            "judge_seconds": float,
            "cpu_seconds": float,
            "created": str,
        },
        pk=("run", "attempt"),
        foreign_keys=[("run", "runs", "run"), ("prompt", "prompts", "prompt")],
    )
    _index_attempts(db)


def _index_attempts(db: sqlite_utils.Database) -> None:
    # Holds every number, so that counting never touches completions.
    numbers = (
        "run, attempt, step, round, verdict, discovered, visible_passed, visible_total, visible_fraction, "
        "finish_reason, prompt_tokens, completion_tokens, sample_seconds, judge_seconds, cpu_seconds, program_hash"
    )
    db.execute(f"create index attempts_numbers on attempts ({numbers})")
    db.table("attempts").create_index(["run", "step"])


def _create_examples(db: sqlite_utils.Database) -> None:
    db.table("examples").create(
        {
            "run": int,
            "attempt": int,
            "teacher_prompt": str,
            "reward": float,
            "token_advantages": bytes,  # float32
        },
        pk=("run", "attempt"),
        foreign_keys=[("run", "runs", "run"), ("teacher_prompt", "prompts", "prompt")],
    )


def _create_views(db: sqlite_utils.Database) -> None:
    db.create_view(
        "run_summary",
        """select r.run, r.question, r.method, r.seed, r.status, r.ended, r.discovery_attempt,
        count(a.attempt) as attempts,
        sum(a.discovered = 0 and a.visible_total > 0 and a.visible_passed = a.visible_total) as visible_only,
        max(a.visible_fraction) as best_visible_fraction,
        sum(a.prompt_tokens) as prompt_tokens, sum(a.completion_tokens) as completion_tokens
        from runs r left join attempts a on a.run = r.run group by r.run""",
    )
    db.create_view(
        "question_summary",
        """select question, method, count(*) as runs, sum(discovery_attempt is not null) as discovered,
        min(discovery_attempt) as first_discovery, sum(attempts) as attempts, sum(visible_only) as visible_only
        from run_summary group by question, method""",
    )
