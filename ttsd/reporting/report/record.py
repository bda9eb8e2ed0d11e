"""Counts by SQL: one `Run` a run, and its learning curve in bins. No completion is read."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

import problems
from problems.problem import ProblemError
from ttsd.methods import METHODS
from ttsd.record.run import binding
from ttsd.record.store import Row, Store
from ttsd.terminal import one_line

Cost = Literal["attempts", "rounds", "tokens", "seconds"]
COSTS: tuple[Cost, ...] = ("attempts", "rounds", "tokens", "seconds")
MOST_SETTINGS = 3  # that a variant's name lists
BINS = 48  # points of a run's learning curve

# Learning curve -> where the trainer's metrics hold it.
METRICS = {
    "loss": "loss",
    "entropy": "entropy",
    "kl_base": "kl/base",
    "kl_teacher": "kl/teacher",
    "grad_norm": "grad_norm",
    "sampler_gap": "logprob_gap/mean",
}


@dataclass(frozen=True, slots=True)
class Run:
    """One run. `attempts` is the gapless beginning that is judged; a discovery after it does not count yet.

    `method` is the variant that is compared. `spent` is what those attempts cost, `until` what it cost to discover;
    seconds are None where no step was timed. A round is one wait for verdicts. `budget`: the attempts that it was
    given. `pooled`: its attempts are independent samples that no discovery ended.
    """

    run: int
    question: str
    method: str
    seed: int
    status: str
    budget: int
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
    hidden_cases: int = 0  # 0: nothing confirms its discovery


@dataclass(frozen=True, slots=True)
class Tally:
    """Everything that the report is made from, except programs and feedback."""

    runs: tuple[Run, ...] = ()
    curves: Mapping[int, list[Row]] = field(default_factory=dict)
    metrics: Mapping[int, list[Row]] = field(default_factory=dict)  # of each gradient step, of runs that learn
    rows: Mapping[int, Row] = field(default_factory=dict)  # configuration, environment and program of each run
    several_answers: frozenset[str] = frozenset()  # questions that seem to allow several right outputs

    @property
    def methods(self) -> list[str]:
        return sorted({run.method for run in self.runs}, key=rank)

    @property
    def questions(self) -> list[str]:
        return sorted({run.question for run in self.runs}, key=natural)

    def of(self, question: str, method: str) -> list[Run]:
        return [run for run in self.runs if (run.question, run.method) == (question, method)]


def read(store: Store) -> Tally:
    """Counts the runs of `store`, but for those without a judged attempt."""
    rows, runs = counted(store)
    curves, metrics = ({run: of[run] for run in of if run in rows} for of in (learning_curves(store), _metrics(store)))
    return Tally(runs, curves, metrics, rows, _several_answers({run.question for run in runs}))


def counted(store: Store) -> tuple[dict[int, Row], tuple[Run, ...]]:
    """Returns all rows of runs, by number, and the runs that have a judged attempt."""
    rows = {row["run"]: row for row in store.runs()}
    variants, counts, seconds = variants_of(rows), _counts(store), _seconds(store)
    runs = tuple(
        _run(row, variants[number], counts[number], seconds.get(number, {}))
        for number, row in rows.items()
        if number in counts
    )
    return rows, runs


def variants_of(rows: Mapping[int, Row]) -> dict[int, str]:
    """Returns what is compared, by run: the method's name, the model if there are several, the settings that differ."""
    alike: dict[tuple[str, str], dict[int, dict[str, object]]] = defaultdict(dict)
    for number, row in rows.items():
        alike[row["model"], row["method"]][number] = binding(row["config"])
    several_models = len({model for model, _ in alike}) > 1
    found = {}
    for (model, method), settings in alike.items():
        for number, differing in _differing(settings).items():
            shown = [model, *differing] if several_models else differing
            found[number] = one_line(f"{method} ({', '.join(shown)})" if shown else method)
    return found


def _differing(settings: Mapping[int, Mapping[str, object]]) -> dict[int, list[str]]:
    """Returns the settings that not all runs share, by run; where they are many, the first run that has the same."""
    values: dict[str, set[str]] = defaultdict(set)
    for own in settings.values():
        for place, value in own.items():
            values[place].add(repr(value))
    differ = [place for place, different in values.items() if len(different) > 1]
    found: dict[int, list[str]] = {}
    first: dict[tuple[str, ...], int] = {}
    for number, own in settings.items():
        same = first.setdefault(tuple(repr(own.get(place)) for place in differ), number)
        listed = [f"{place}={own.get(place)}" for place in differ]
        found[number] = listed if len(differ) <= MOST_SETTINGS else [f"settings of run {same}"]
    return found


def _several_answers(questions: Iterable[str]) -> frozenset[str]:
    """Returns those questions, if they can still be found, whose statement allows several answers."""
    found = set()
    for question in questions:
        with suppress(ProblemError):
            found |= {question} if problems.load(question).several_answers else set()
    return frozenset(found)


def rank(method: str) -> tuple[int, str]:
    """Returns a sort key that keeps the order of the table of methods."""
    name = method.partition(" ")[0]
    return (list(METHODS).index(name) if name in METHODS else len(METHODS), method)


def natural(name: str) -> list[tuple[int, int | str]]:
    """Sorts q2 before q10."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name) if part]


# Attempts of a step in progress end in any order, the short ones first. A fair sample is what comes before the first
# gap, where an attempt's number is still its place.
JUDGED = """with numbered as (select run, attempt, round, verdict, discovered, visible_passed, visible_total,
    visible_fraction, prompt_tokens, completion_tokens, sample_seconds, judge_seconds, cpu_seconds,
    row_number() over (partition by run order by attempt) as place from attempts),
judged as (select * from numbered where attempt = place),
found as (select run, min(attempt) as discovery from judged where discovered group by run)"""


def _counts(store: Store) -> dict[int, Row]:
    sql = f"""{JUDGED} select a.run, count(*) as attempts, sum(verdict != 'aborted') as answered,
        sum(discovered) as successes, min(f.discovery) as discovery,
        sum(not discovered and visible_total > 0 and visible_passed = visible_total) as visible_only,
        max(visible_fraction) as best_visible, sum(prompt_tokens) as prompt_tokens,
        sum(completion_tokens) as completion_tokens,
        sum(case when attempt <= f.discovery then prompt_tokens + completion_tokens end) as tokens_until,
        max(round) as rounds, max(case when attempt <= f.discovery then round end) as rounds_until,
        sum(sample_seconds) as sample_seconds, sum(judge_seconds) as judge_seconds,
        sum(cpu_seconds) as judge_cpu_seconds
        from judged a left join found f on f.run = a.run group by a.run"""
    return {row["run"]: row for row in store.rows(sql)}


def _seconds(store: Store) -> dict[int, Row]:
    """Returns wall seconds of each run's steps, in all and up to the step that discovered."""
    sql = f"""{JUDGED}, timed as (select run, first_attempt, coalesce(json_extract(seconds, '$.group'), 0) as grouped,
        coalesce(json_extract(seconds, '$.step'), 0) as stepped from steps)
        select t.run, sum(grouped) as "group", sum(stepped) as step,
        sum(case when first_attempt <= discovery then grouped + stepped end) as until
        from timed t left join found f on f.run = t.run group by t.run"""
    return {row["run"]: row for row in store.rows(sql)}


def _run(row: Row, variant: str, counts: Row, seconds: Mapping[str, float | None]) -> Run:
    group, step = seconds.get("group") or 0.0, seconds.get("step") or 0.0
    budget = (row["config"] or {}).get("budget", {})
    until = {
        "attempts": counts["discovery"],
        "rounds": counts["rounds_until"],
        "tokens": counts["tokens_until"],
        "seconds": seconds.get("until"),
    }
    work = ("prompt_tokens", "completion_tokens", "sample_seconds", "judge_seconds", "judge_cpu_seconds")
    return Run(
        run=row["run"],
        question=row["question"],
        method=variant,
        seed=row["seed"],
        status=f"{row['ended'] or 'attempts'} spent" if row["status"] == "exhausted" else row["status"],
        budget=max(budget.get("attempts", 0), counts["attempts"]),
        attempts=counts["attempts"],
        answered=counts["answered"],
        successes=counts["successes"],
        discovery=counts["discovery"],
        visible_only=counts["visible_only"] or 0,
        best_visible=counts["best_visible"] or 0.0,
        spent={
            "attempts": counts["attempts"],
            "rounds": counts["rounds"],
            "tokens": (counts["prompt_tokens"] or 0) + (counts["completion_tokens"] or 0) or None,
            "seconds": group + step or None,
        },
        until={cost: until[cost] or None for cost in COSTS},
        work={name: counts[name] or 0.0 for name in work} | {"group_seconds": group, "step_seconds": step},
        pooled=is_iid(row["method"]) and bool(budget.get("continue_after_discovery", False)),
        hidden_cases=len((row["split"] or {}).get("hidden", ())),
    )


def is_iid(method: str) -> bool:
    """Tells whether a method's attempts are independent samples of one policy; of an unknown one nothing is assumed."""
    return method in METHODS and METHODS[method].iid


def learning_curves(store: Store, only: int | None = None) -> dict[int, list[Row]]:
    """Returns the learning curve of each run, or of `only` one, in at most BINS bins of whole steps.

    `attempt` is the last one of a bin.
    """
    chosen = "" if only is None else f"where run = {only:d}"
    sizes = f"with sizes as (select run, max(step) as steps from attempts {chosen} group by run)"
    sql = f"""{sizes}
        select a.run, (a.step - 1) * {BINS} / max(s.steps, {BINS}) as bin, max(a.attempt) as attempt,
        avg(a.visible_fraction) as visible_fraction, avg(nullif(a.completion_tokens, 0)) as completion_tokens,
        avg(a.finish_reason = 'length') as truncated,
        count(distinct a.program_hash) * 1.0 / count(*) as distinct_programs
        from attempts a join sizes s on s.run = a.run group by a.run, bin order by a.run, bin"""
    learned = {(row.pop("run"), row.pop("bin")): row for row in store.rows(f"{sizes} {_METRICS_SQL}")}
    curves: dict[int, list[Row]] = defaultdict(list)
    for row in store.rows(sql):
        run = row.pop("run")
        curves[run].append(row | learned.get((run, row.pop("bin")), {}))
    return dict(curves)


_MEANS = ", ".join(f"""avg(json_extract(t.metrics, '$."{path}"')) as {name}""" for name, path in METRICS.items())
_METRICS_SQL = f"""select t.run, (t.step - 1) * {BINS} / max(s.steps, {BINS}) as bin, {_MEANS}
    from steps t join sizes s on s.run = t.run where t.metrics != '{{}}' group by t.run, bin"""


def _metrics(store: Store) -> dict[int, list[Row]]:
    metrics: dict[int, list[Row]] = defaultdict(list)
    for run, text in store.query("select run, metrics from steps where metrics != '{}' order by run, step"):
        known = {name: value for name, value in json.loads(text).items() if value is not None}
        if "updated" in known:
            metrics[run].append(known)
    return dict(metrics)
