"""Counts partial credit: the points of groups of cases, and scores of a checker between 0 and 1."""

from __future__ import annotations

from collections.abc import Sequence

from problems.problem import Points, Problem
from ttsd.nouns import CaseResult


def share_earned(problem: Problem, visible: Sequence[int], results: Sequence[CaseResult]) -> float | None:
    """Returns the share of the visible cases' points that `results` earn, 0 to 1; None where cases count alike.

    A group is worth its points times the least score of its visible cases; a case that did not run has scored 0.
    """
    groups: Sequence[Points] = problem.points
    if not groups and problem.comparison.kind == "own":
        groups = [Points((index,), 1.0) for index in visible]
    scores = dict.fromkeys(visible, 0.0) | {result.index: result.score for result in results}
    shown = [(group.points, [scores[index] for index in group.cases if index in scores]) for group in groups]
    total = sum(points for points, found in shown if found)
    return sum(points * min(found) for points, found in shown if found) / total if total else None


def can_still_earn(points: Sequence[Points], index: int, results: Sequence[CaseResult]) -> bool:
    """Tells whether case `index` matters after `results`: a group that has failed a case can earn nothing more."""
    failed = {result.index for result in results if not result.score}
    return not points or not failed or any(index in group.cases and failed.isdisjoint(group.cases) for group in points)
