"""`ttsd probe`: how hard questions are for the user's model, and whether feedback helps it, before training.

It runs methods of the table with frozen weights: best-of-k, multi-turn, and multi-turn with shuffled feedback (the
control). They are ordinary runs in the run database, so a probe resumes where it was stopped and a larger one adds to a
smaller one. What multi-turn gets right more often than best-of-k predicts how much self-distillation gains
(arXiv 2605.30070).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np

from ttsd.config import Config
from ttsd.methods import METHODS
from ttsd.record.run import Run
from ttsd.record.store import Store
from ttsd.running.batch import Failure, Overview, batch, planned
from ttsd.running.hardness import Measured, Sample, short
from ttsd.statistics import Comparison, Resamples, compare

PLAIN, TRUE, SHUFFLED = "best-of-k", "multi-turn", "multi-turn, shuffled feedback"
TEACH_IT = "teach the model to use feedback first, with `ttsd warm-up`"
LEAST_QUESTIONS = 4  # fewer give no interval worth a sentence


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found: each question's attempts by what they read, and the runs that failed."""

    measured: list[Measured]
    failures: list[Failure] = field(default_factory=list)


async def probe(
    questions: Sequence[str],
    config: Config,
    *,
    samples: int,
    feedback_samples: int,
    runs_at_once: int | None,
    overview: Overview,
) -> Probe:
    """Samples until every question has `samples` attempts without feedback and `feedback_samples` with it."""
    plain = planned(questions, [METHODS[PLAIN]], 1, config.changed("budget", attempts=samples))
    wanted = {PLAIN: {run.question: run for run in plain}}
    for name in (TRUE, SHUFFLED) if feedback_samples else ():
        own = config.changed("budget", attempts=feedback_samples, continue_after_discovery=True)
        own = own.changed("judge", shuffle_feedback=name == SHUFFLED)
        wanted[name] = {run.question: run for run in planned(questions, [METHODS[TRUE]], 1, own)}
    runs = [run for of_kind in wanted.values() for run in of_kind.values()]
    results = await batch(runs, config, runs_at_once=runs_at_once, overview=overview)
    with Store.read_only(config.store.path, config.store.state_dir) as store:
        found = {name: {q: _sample(store, run) for q, run in of_kind.items()} for name, of_kind in wanted.items()}
    plain_samples = found.pop(PLAIN)
    measured = [
        Measured(question, plain_samples[question], {name: found[name][question] for name in found})
        for question in plain_samples
        if plain_samples[question].attempts
    ]
    return Probe(measured, results.failures)


def _sample(store: Store, run: Run) -> Sample:
    """Returns the run's attempts; of multi-turn those that were shown feedback."""
    row = store.newest(run)
    attempts = store.attempts(row["run"]) if row else ()
    return Sample.of([one for one in attempts if one.prompt.shows or not run.method.row.waits])


def effects(measured: Sequence[Measured]) -> dict[str, tuple[Comparison, Comparison]]:
    """Returns what each kind of feedback adds to best-of-k: in accuracy and in the share passed, by question."""
    pairs = {name: _pairs(measured, name, PLAIN) for name in (TRUE, SHUFFLED)}
    return {
        name: (_compared(found, lambda one: one.accuracy), _compared(found, lambda one: fmean(one.visible)))
        for name, found in pairs.items()
        if found
    }


def gap(measured: Sequence[Measured]) -> Comparison | None:
    """Returns what true feedback adds to shuffled feedback, in accuracy, by question; None: nothing was measured."""
    pairs = _pairs(measured, TRUE, SHUFFLED)
    return _compared(pairs, lambda one: one.accuracy) if pairs else None


def _pairs(measured: Sequence[Measured], mine: str, other: str) -> list[tuple[Sample, Sample]]:
    samples = [{PLAIN: one.plain, **one.feedback} for one in measured]
    pairs = [(one[mine], one[other]) for one in samples if mine in one and other in one]
    return [(a, b) for a, b in pairs if a.attempts and b.attempts]


def _compared(pairs: Sequence[tuple[Sample, Sample]], value: Callable[[Sample], float]) -> Comparison:
    mine, other = np.array([[value(one) for one in pair] for pair in pairs], dtype=float).T
    return compare(mine, other, Resamples(len(pairs)))


def feedback_rows(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """Returns one row for each kind of prompt, best-of-k's first; differences have their 90 % interval."""
    if not measured:
        return []
    found = effects(measured)
    rows = [_row(PLAIN, [one.plain for one in measured])]
    for name, (accuracy, visible) in found.items():
        samples = [one.feedback[name] for one in measured if name in one.feedback]
        rows.append(_row(name, samples) | {"more accuracy": span(accuracy), "more visible": span(visible)})
    return rows


def _row(name: str, samples: Sequence[Sample]) -> dict[str, Any]:
    counted = [sample for sample in samples if sample.attempts]
    return {
        "method": name,
        "attempts": sum(sample.attempts for sample in counted),
        "accuracy": short(fmean(sample.accuracy for sample in counted)),
        "visible": short(fmean(fmean(sample.visible) for sample in counted)),
        "more accuracy": None,
        "more visible": None,
    }


def span(one: Comparison) -> list[float | None]:
    """Returns a difference and its bounds."""
    return [short(value) for value in (one.difference, one.bounds.low, one.bounds.high)]


def advice(measured: Sequence[Measured]) -> str:
    """Says in one sentence whether feedback helps this model and which method that speaks for."""
    found = effects(measured)
    if TRUE not in found:
        return "no attempt was made with feedback, so nothing can be said about it"
    if len(measured) < LEAST_QUESTIONS:
        return f"{len(measured)} questions are too few to say whether feedback helps; give at least {LEAST_QUESTIONS}"
    if _helps(found[TRUE]) and not (SHUFFLED in found and _helps(found[SHUFFLED])):
        return "feedback helps this model: use multi-turn+sdpo"
    if _helps(found[TRUE]):
        return (
            "shuffled feedback helps as much as the true feedback, so the second attempt helps, not what the feedback "
            f"says: best-of-k is the method to beat; {TEACH_IT}"
        )
    verb = "hurts" if any(one.bounds.high < 0 for one in found[TRUE]) else "adds nothing that shows for"
    return f"feedback {verb} this model: best-of-k is the method to beat; {TEACH_IT}, or take a larger model"


def _helps(effect: tuple[Comparison, Comparison]) -> bool:
    return any(one.bounds.low > 0 for one in effect) and not any(one.bounds.high < 0 for one in effect)
