"""A collapse is seen when it happens, and only then."""

from __future__ import annotations

from ttsd.collapse import Collapse
from ttsd.nouns import Attempt, Completion, Status, Verdict


def collapses(passed: list[int]) -> list[bool]:
    """Of groups of two attempts at ten cases, of which one passes `passed` and the other one none."""
    collapse, completion = Collapse(), Completion((), "", (), "stop", 0)
    return [
        collapse.seen([Attempt(1, 1, completion, "", Verdict(Status.WRONG_ANSWER, n, 10, 0, 0)) for n in (one, 0)])
        for one in passed
    ]


def test_a_collapse_is_four_steps_that_pass_less_than_half_of_the_best_four() -> None:
    seen = collapses([2, 4, 6, 8, 8, 6, 4, 0, 4, 4, 0, 0, 9])
    assert [at for at, one in enumerate(seen) if one] == [9]  # 4 0 4 4 after 6 8 8 6
    assert not any(collapses([8, 8, 8, 8, 4, 4, 4, 4, 8, 8, 0, 0, 8]))


def test_what_never_passed_cannot_collapse() -> None:
    assert not any(collapses([0] * 30))


def test_after_a_collapse_it_is_as_if_nothing_had_been() -> None:
    fall = [8, 8, 8, 8, 1, 1, 1, 1]
    once = collapses(fall)
    assert once.count(True) == 1
    again = once.index(True) + 1
    assert collapses([*fall[:again], *fall])[again:] == collapses(fall)
