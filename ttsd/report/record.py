"""What the database says, counted by SQL: one `Run` a run, and its learning curve in bins. No completion is read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ttsd.store import Row, Store

Cost = Literal["attempts", "tokens", "seconds"]
COSTS: tuple[Cost, ...] = ("attempts", "tokens", "seconds")
METHODS = ("sdpo", "grpo", "multi-turn", "best-of-k")  # the order in which they are drawn and compared
BINS = 48  # points of a run's learning curve

# Learning curve -> where the trainer's metrics hold it.
METRICS = {
    "loss": "loss",
    "entropy": "entropy",
    "kl_base": "kl/base",
    "kl_teacher": "kl/teacher",
    "grad_norm": "grad_norm",
    "sampler_gap": "logprob_gap/mean",
    "updated": "updated",
}


@dataclass(frozen=True, slots=True)
class Run:
    """One run. `attempts` is the gapless beginning that is judged; a discovery beyond it does not count yet.

    `spent` is what those attempts cost, `until` what it cost to discover; seconds are None where no step was timed.
    `pooled`: its attempts are independent draws that no discovery ended.
    """

    run: int
    question: str
    method: str
    seed: int
    status: str
    attempts: int
    answered: int
    successes: int
    discovery: int | None
    visible_only: int
    best_visible: float
    spent: Mapping[Cost, float | None]
    until: Mapping[Cost, float | None]
    work: Mapping[str, float]
    pooled: bool


@dataclass(frozen=True, slots=True)
class Record:
    """Everything that the report is made from, except programs and feedback."""

    runs: tuple[Run, ...] = ()
    curves: Mapping[int, list[Row]] = field(default_factory=dict)
    rows: Mapping[int, Row] = field(default_factory=dict)  # configuration, environment and program of each run

    @property
    def methods(self) -> list[str]:
        return sorted({run.method for run in self.runs}, key=rank)

    @property
    def questions(self) -> list[str]:
        return sorted({run.question for run in self.runs}, key=natural)

    def of(self, question: str, method: str) -> list[Run]:
        return [run for run in self.runs if (run.question, run.method) == (question, method)]


def read(store: Store) -> Record:
    """Counts the runs of `store`. Runs without a judged attempt are left out."""
    rows = {row["run"]: row for row in store.runs()}
    several_models = len({row["model"] for row in rows.values()}) > 1
    counts = _counts(store)
    prefixes = {run: _prefix(store, run, *numbers[:2]) for run, numbers in counts.items()}
    until = dict(_costs_until_discovery(store))
    seconds = _seconds(store)
    runs = tuple(
        _run(row, several_models, prefixes[number], counts[number], until.get(number), seconds.get(number, {}))
        for number, row in rows.items()
        if number in counts and prefixes[number]
    )
    return Record(runs, _curves(store), rows)


def rank(method: str) -> tuple[int, str]:
    name = method.partition(" ")[0]
    return (METHODS.index(name) if name in METHODS else len(METHODS), method)


def natural(name: str) -> list[tuple[int, int | str]]:
    """Sorts q2 before q10."""
    parts: list[str] = []
    for character in name:
        if parts and parts[-1][-1].isdigit() == character.isdigit():
            parts[-1] += character
        else:
            parts.append(character)
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]


def _counts(store: Store) -> dict[int, tuple[Any, ...]]:
    sql = """select run, count(*), max(attempt), sum(verdict != 'aborted'), sum(discovered),
        min(case when discovered then attempt end),
        sum(not discovered and visible_total > 0 and visible_passed = visible_total),
        max(visible_passed * 1.0 / nullif(visible_total, 0)), sum(prompt_tokens + completion_tokens),
        sum(prompt_tokens), sum(completion_tokens), sum(sample_seconds), sum(judge_seconds), sum(cpu_seconds)
        from attempts group by run"""
    return {row[0]: row[1:] for row in store.query(sql)}


def _prefix(store: Store, run: int, count: int, last: int) -> int:
    """How many attempts are judged before the first gap; attempts of a step in progress end in any order."""
    if count == last:
        return count
    numbers = store.query("select attempt from attempts where run = ? order by attempt", [run])
    return next((place for place, (attempt,) in enumerate(numbers) if attempt != place + 1), count)


def _costs_until_discovery(store: Store) -> list[tuple[int, float]]:
    """Tokens of the attempts up to the discovery, as if they had been drawn one by one."""
    sql = """with found as (select run, min(attempt) as attempt from attempts where discovered group by run)
        select a.run, sum(a.prompt_tokens + a.completion_tokens) from attempts a join found f on f.run = a.run
        where a.attempt <= f.attempt group by a.run"""
    return [(run, tokens) for run, tokens in store.query(sql)]


def _seconds(store: Store) -> dict[int, dict[str, float]]:
    """Wall seconds of each run's steps, in all and up to the step that discovered."""
    sql = """with found as (select run, min(attempt) as attempt from attempts where discovered group by run)
        select s.run,
        sum(coalesce(json_extract(s.seconds, '$.draw'), 0)), sum(coalesce(json_extract(s.seconds, '$.distil'), 0)),
        sum(case when s.first_attempt <= f.attempt then coalesce(json_extract(s.seconds, '$.draw'), 0)
            + coalesce(json_extract(s.seconds, '$.distil'), 0) end)
        from steps s left join found f on f.run = s.run group by s.run"""
    return {run: {"draw": draw, "distil": distil, "until": until} for run, draw, distil, until in store.query(sql)}


def _run(
    row: Row,
    several_models: bool,
    prefix: int,
    counts: tuple[Any, ...],
    tokens_until: float | None,
    seconds: Mapping[str, float],
) -> Run:
    _, _, answered, successes, found, visible_only, best, tokens, prompt, completion, sample, judge, cpu = counts
    discovery = found if found is not None and found <= prefix else None
    wall = seconds.get("draw", 0.0) + seconds.get("distil", 0.0) or None
    budget = (row["config"] or {}).get("budget", {})
    return Run(
        run=row["run"],
        question=row["question"],
        method=f"{row['method']} ({row['model']})" if several_models else row["method"],
        seed=row["seed"],
        status=row["status"],
        attempts=prefix,
        answered=answered,
        successes=successes,
        discovery=discovery,
        visible_only=visible_only or 0,
        best_visible=best or 0.0,
        spent={"attempts": prefix, "tokens": tokens or None, "seconds": wall},
        until={
            "attempts": discovery,
            "tokens": tokens_until if discovery else None,
            "seconds": seconds.get("until") if discovery and wall else None,
        },
        work={
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "sample_seconds": sample or 0.0,
            "judge_seconds": judge or 0.0,
            "judge_cpu_seconds": cpu or 0.0,
            "draw_seconds": seconds.get("draw", 0.0),
            "distil_seconds": seconds.get("distil", 0.0),
        },
        pooled=row["method"] == "best-of-k" and bool(budget.get("continue_after_discovery")),
    )


def _curves(store: Store) -> dict[int, list[Row]]:
    """Each run's learning curve in at most BINS bins of whole steps; `attempt` is the last one of a bin."""
    sql = f"""with sizes as (select run, max(step) as steps from attempts group by run)
        select a.run, (a.step - 1) * {BINS} / max(s.steps, {BINS}) as bin, max(a.attempt),
        avg(a.visible_passed * 1.0 / nullif(a.visible_total, 0)), avg(nullif(a.completion_tokens, 0)),
        avg(a.finish_reason = 'length'), count(distinct a.program_hash) * 1.0 / count(*)
        from attempts a join sizes s on s.run = a.run group by a.run, bin"""
    names = ("attempt", "visible_fraction", "completion_tokens", "truncated", "distinct_programs")
    bins: dict[tuple[int, int], Row] = {
        (run, number): dict(zip(names, values, strict=True)) for run, number, *values in store.query(sql)
    }
    for run, number, *values in store.query(_metrics_sql()):
        if (run, number) in bins:
            bins[run, number] |= dict(zip(METRICS, values, strict=True))
    curves: dict[int, list[Row]] = defaultdict(list)
    for (run, _), point in sorted(bins.items()):
        curves[run].append(point)
    return dict(curves)


def _metrics_sql() -> str:
    means = ", ".join(f"""avg(json_extract(t.metrics, '$."{path}"'))""" for path in METRICS.values())
    return f"""with sizes as (select run, max(step) as steps from attempts group by run)
        select t.run, (t.step - 1) * {BINS} / max(s.steps, {BINS}) as bin, {means}
        from steps t join sizes s on s.run = t.run where t.metrics != '{{}}' group by t.run, bin"""
