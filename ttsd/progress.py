"""What finished groups say about the progress of a run. Pure functions of attempts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from statistics import fmean

from ttsd.nouns import Attempt, Example, History

COLLAPSE_STEPS = 4  # steps in a row that are compared with the best ones


def collapsed(history: History) -> bool:
    """Tells whether the last four steps pass less than half of what the best four since the last restart passed.

    A policy in that state does not recover. Attempts that never pass a case can't collapse.
    """
    groups = [list(group) for _, group in groupby(history.current, key=lambda attempt: attempt.step)]
    means = [fmean(attempt.verdict.visible_fraction for attempt in group) for group in groups]
    recent = [fmean(means[end - COLLAPSE_STEPS : end]) for end in range(COLLAPSE_STEPS, len(means) + 1)]
    return bool(recent) and recent[-1] < max(recent) / 2


def group_metrics(attempts: Sequence[Attempt], examples: Sequence[Example]) -> dict[str, float]:
    """Returns shares of a step's attempts, under the names of the paper's code where it has them."""
    answered = [attempt for attempt in attempts if attempt.answered]
    count = max(len(answered), 1)
    sums = {
        "success_sample_fraction": sum(attempt.verdict.visible_accepted for attempt in answered),
        "feedback_available_fraction": sum(bool(attempt.verdict.feedback) for attempt in answered),
        "reprompt_sample_fraction": sum(example.teacher is not None for example in examples),
        "truncated_fraction": sum(attempt.completion.finish_reason == "length" for attempt in answered),
        "unique_program_fraction": len({attempt.program for attempt in answered}),
        "completion_tokens": sum(attempt.completion.tokens for attempt in answered),
    }
    success = float(sums["success_sample_fraction"] > 0)
    return {"success_group_fraction": success} | {name: total / count for name, total in sums.items()}
