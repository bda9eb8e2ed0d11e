"""The database's schema, as numbered migrations: one that was released never changes, a new one is added below."""

from __future__ import annotations

from ttsd.record.tables import Migrations, sqlite_utils

migrations = Migrations("ttsd")


def unknown(db: sqlite_utils.Database) -> set[str]:
    """Migrations that `db` has and this version does not know: a newer version made them."""
    known = {migration.name for migration in migrations.pending(sqlite_utils.Database(memory=True))}
    return {migration.name for migration in migrations.applied(db)} - known


@migrations()
def m001_initial(db: sqlite_utils.Database) -> None:
    db.table("runs").create(
        {
            "run": int,
            "question": str,
            "method": str,
            "seed": int,
            "status": str,  # running, discovered, exhausted
            "model": str,
            "config": str,
            "split": str,
            "environment": str,
            "discovery_attempt": int,
            "program": str,
            "created": str,
            "updated": str,
        },
        pk="run",
        not_null={"question", "method", "seed", "status", "config", "created"},
    )
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
    db.table("attempts").create(
        {
            "run": int,
            "attempt": int,
            "step": int,
            "adapter_version": int,
            "verdict": str,
            "discovered": int,
            "visible_passed": int,
            "visible_total": int,
            "hidden_passed": int,
            "hidden_total": int,
            "first_failure": int,
            "feedback": str,
            "program": str,
            "program_hash": str,
            "completion": str,
            "token_ids": bytes,
            "logprobs": bytes,
            "finish_reason": str,
            "prompt_tokens": int,
            "completion_tokens": int,
            "mean_logprob": float,
            "min_logprob": float,
            "sample_seconds": float,
            "judge_seconds": float,
            "cpu_seconds": float,
            "created": str,
        },
        pk=("run", "attempt"),
        foreign_keys=[("run", "runs", "run")],
    )
    db.table("attempts").create_index(["run", "step"])


@migrations()
def m002_reading(db: sqlite_utils.Database) -> None:
    """What readers need: an index that holds every number, so that counting never touches completions; views."""
    numbers = (
        "run, attempt, step, verdict, discovered, visible_passed, visible_total, finish_reason, prompt_tokens, "
        "completion_tokens, sample_seconds, judge_seconds, cpu_seconds, program_hash"
    )
    db.execute(f"create index attempts_numbers on attempts ({numbers})")
    db.create_view(
        "run_summary",
        """select r.run, r.question, r.method, r.seed, r.status, r.discovery_attempt, count(a.attempt) as attempts,
        sum(a.discovered = 0 and a.visible_total > 0 and a.visible_passed = a.visible_total) as visible_only,
        max(a.visible_passed * 1.0 / nullif(a.visible_total, 0)) as best_visible_fraction,
        sum(a.prompt_tokens) as prompt_tokens, sum(a.completion_tokens) as completion_tokens
        from runs r left join attempts a on a.run = r.run group by r.run""",
    )
    db.create_view(
        "question_summary",
        """select question, method, count(*) as runs, sum(discovery_attempt is not null) as discovered,
        min(discovery_attempt) as first_discovery, sum(attempts) as attempts, sum(visible_only) as visible_only
        from run_summary group by question, method""",
    )


@migrations()
def m003_roles(db: sqlite_utils.Database) -> None:
    """Which attempts were drawn under a reprompt."""
    db.table("attempts").add_column("role", str, not_null_default="student")


@migrations()
def m004_rounds(db: sqlite_utils.Database) -> None:
    """Which attempts were requested at once. Before, all attempts of a step were."""
    db.table("attempts").add_column("round", int, not_null_default=0)
    db.execute("update attempts set round = step")
    db.execute("create index attempts_rounds on attempts (run, round)")


@migrations()
def m005_endings(db: sqlite_utils.Database) -> None:
    """What ended a run (discovery, attempts, tokens, seconds); the score that a judge of the user's own gave."""
    db.table("runs").add_column("ended", str)
    db.table("attempts").add_column("score", float)
    db.execute("drop view question_summary")
    db.execute("drop view run_summary")
    db.create_view(
        "run_summary",
        """select r.run, r.question, r.method, r.seed, r.status, r.ended, r.discovery_attempt,
        count(a.attempt) as attempts,
        sum(a.discovered = 0 and a.visible_total > 0 and a.visible_passed = a.visible_total) as visible_only,
        max(coalesce(a.score, a.visible_passed * 1.0 / nullif(a.visible_total, 0))) as best_visible_fraction,
        sum(a.prompt_tokens) as prompt_tokens, sum(a.completion_tokens) as completion_tokens
        from runs r left join attempts a on a.run = r.run group by r.run""",
    )
    db.create_view(
        "question_summary",
        """select question, method, count(*) as runs, sum(discovery_attempt is not null) as discovered,
        min(discovery_attempt) as first_discovery, sum(attempts) as attempts, sum(visible_only) as visible_only
        from run_summary group by question, method""",
    )


@migrations()
def m006_counted_rounds(db: sqlite_utils.Database) -> None:
    """Rounds join the numbers that are counted without touching completions."""
    numbers = (
        "run, attempt, step, round, verdict, discovered, visible_passed, visible_total, finish_reason, prompt_tokens, "
        "completion_tokens, sample_seconds, judge_seconds, cpu_seconds, program_hash"
    )
    db.execute("drop index if exists attempts_numbers")
    db.execute(f"create index attempts_numbers on attempts ({numbers})")


@migrations()
def m007_counted_scores(db: sqlite_utils.Database) -> None:
    """Scores join the numbers that are counted without touching completions."""
    numbers = (
        "run, attempt, step, round, verdict, discovered, visible_passed, visible_total, score, finish_reason, "
        "prompt_tokens, completion_tokens, sample_seconds, judge_seconds, cpu_seconds, program_hash"
    )
    db.execute("drop index if exists attempts_numbers")
    db.execute(f"create index attempts_numbers on attempts ({numbers})")


@migrations()
def m008_token_gains(db: sqlite_utils.Database) -> None:
    """What the teacher made of each token of an attempt that was learnt from; attempts stay as they are."""
    db.table("token_gains").create(
        {"run": int, "attempt": int, "gains": bytes}, pk=("run", "attempt"), foreign_keys=[("run", "runs", "run")]
    )
