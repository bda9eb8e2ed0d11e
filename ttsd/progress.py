"""What finished groups say about the progress of a run. Pure functions of attempts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from statistics import fmean

from ttsd.nouns import Attempt, Example, History

COLLAPSE_STEPS = 4  # steps in a row that are compared
LENGTH_LIMIT = 2.0  # change of the tokens of an answer
ENTROPY_LIMIT = 4.0  # change of the entropy of a token


def collapsed(history: History) -> bool:
    """Tells whether the last four steps that the weights were learned from show that these are spoiled.

    They pass less than half of what the best four passed; or less than three quarters, while the length or the entropy
    of their answers is far from the first four's. A policy in that state recovers late, if at all. Attempts that never
    pass a case can't collapse.
    """
    steps = _by_step(history.current)
    shares, recent = [_share(step) for step in steps], steps[-COLLAPSE_STEPS:]
    if max(shares[:-COLLAPSE_STEPS], default=0.0) <= max(shares[-COLLAPSE_STEPS:]):
        return False  # one of the last four is as good as any
    means = [fmean(shares[end - COLLAPSE_STEPS : end]) for end in range(COLLAPSE_STEPS, len(shares) + 1)]
    watched = zip(_answers(steps[:COLLAPSE_STEPS]), _answers(recent), (LENGTH_LIMIT, ENTROPY_LIMIT), strict=True)
    strange = any(not 1 / limit <= now / first <= limit for first, now, limit in watched)
    return means[-1] / max(means) < (0.75 if strange else 0.5)


def best_state(history: History, lag: int) -> int:
    """Returns the step after which the weights were those whose attempts passed most; 0: the base's.

    `lag`: how many steps before a group its weights were made.
    """
    best = max(_by_step(history.attempts), key=_share)
    return max(best[0].step - lag, 0)


def _by_step(attempts: Sequence[Attempt]) -> list[list[Attempt]]:
    return [list(step) for _, step in groupby(attempts, key=lambda attempt: attempt.step)]


def _share(step: Sequence[Attempt]) -> float:
    return fmean(attempt.verdict.visible_fraction for attempt in step)


def _answers(steps: Sequence[Sequence[Attempt]]) -> tuple[float, float]:
    """Returns the tokens of an answer and the entropy of a token in nats, estimated by what was sampled; both > 0."""
    answers = [attempt.completion.logprobs for step in steps for attempt in step if attempt.answered]
    tokens = max(sum(map(len, answers)), 1)
    return tokens / max(len(answers), 1), max(-sum(map(sum, answers)), 1e-3) / tokens


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
