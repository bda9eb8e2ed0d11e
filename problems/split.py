"""Divides a question's cases into visible ones, which drive training, and hidden ones, which only confirm."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import get_args

from problems.problem import Problem, ProblemError, Split, SplitMode


def split(problem: Problem, mode: SplitMode, seed: int = 0) -> Split:
    """Returns case indices of `problem`, each side in the question's own order; at least one case is visible.

    `all`: everything is visible. `public`: the cases of the statement are visible, the rest is hidden. `half`: of
    the other cases a random half (the larger one of an odd number) is visible too, as the paper divides
    LiveCodeBench's private tests; with fewer than two of them nothing is hidden. `seed` matters to `half` alone.

    A hidden case with the input of a visible one would confirm nothing and give its answer away, so `half` and
    `public` make it visible too.
    """
    if mode == "all":
        visible: Iterable[int] = range(len(problem.cases))
    elif mode == "public":
        visible = _public(problem)
        if not visible:
            raise ProblemError(f"{problem.name} has no public case, so the split 'public' shows none: choose 'half'")
    elif mode == "half":
        private = [index for index, case in enumerate(problem.cases) if not case.public]
        shuffled = _shuffled(private, seed)
        visible = [*_public(problem), *shuffled[: len(private) - len(private) // 2]]
    else:
        raise ProblemError(f"there is no split {mode!r}: choose one of {', '.join(get_args(SplitMode))}")
    return _with_equal_inputs(problem, visible)


def _public(problem: Problem) -> list[int]:
    return [index for index, case in enumerate(problem.cases) if case.public]


def _shuffled(indices: Sequence[int], seed: int) -> list[int]:
    # Sorted by a hash instead of random.shuffle, whose order is Python's to change between versions.
    return sorted(indices, key=lambda index: hashlib.sha256(f"{seed}:{index}".encode()).digest())


def _with_equal_inputs(problem: Problem, visible: Iterable[int]) -> Split:
    shown = {problem.cases[index].input for index in visible}
    sides: tuple[list[int], list[int]] = ([], [])
    for index, case in enumerate(problem.cases):
        sides[case.input not in shown].append(index)
    return Split(visible=tuple(sides[0]), hidden=tuple(sides[1]))
