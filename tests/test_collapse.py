"""Alarms ring for the failures they name, and not for a healthy run."""

from __future__ import annotations

import pytest

from ttsd.collapse import Collapse, alarms
from ttsd.nouns import Completion, Rollout, Status, Verdict

HEALTHY = {
    "updated": 1.0, "grad_finite": 1.0, "grad_norm": 0.05, "entropy": 0.4, "logprob_gap/mean": 1e-3,
    "tis_clip_fraction": 0.0, "kl/base": 0.1,
}  # fmt: skip


def test_a_healthy_run_is_silent() -> None:
    assert alarms([HEALTHY] * 20) == []
    assert alarms([]) == []


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("updated", 0.0, "nothing to learn"),
        ("grad_finite", 0.0, "not finite"),
        ("grad_norm", 1e-5, "norm is only 1e-05"),
        ("entropy", 8.0, "jumped to 8"),
        ("entropy", 0.001, "died down to 0.001"),
        ("logprob_gap/mean", 0.5, "differ by 0.5"),
        ("tis_clip_fraction", 0.3, "30% of the tokens"),
        ("kl/base", 6.0, "6 nats"),
    ],
)
def test_each_alarm_rings_after_some_steps_and_gives_advice(name: str, value: float, part: str) -> None:
    ill = HEALTHY | {name: value}
    assert alarms([HEALTHY] * 5 + [ill]) == [] or name == "grad_finite"
    (sentence,) = alarms([HEALTHY] * 5 + [ill] * 4)
    assert part in sentence
    assert ": " in sentence


def test_a_restart_is_told_for_the_rest_of_the_run() -> None:
    (sentence,) = alarms([HEALTHY, {"restarted": 1.0}, *[HEALTHY] * 20])
    assert "collapsed and began anew 1 x" in sentence


def test_steps_without_an_update_do_not_count_as_small_gradients() -> None:
    idle = {"updated": 0.0, "grad_norm": 0.0, "grad_finite": 1.0}
    assert len(alarms([HEALTHY] * 4 + [idle] * 4)) == 1


def collapses(passed: list[int]) -> list[bool]:
    """Of groups of two attempts at ten cases, of which one passes `passed` and the other one none."""
    collapse, completion = Collapse(), Completion((), "", (), "stop", 0)
    return [
        collapse.seen([Rollout(1, 1, completion, "", Verdict(Status.WRONG_ANSWER, n, 10, 0, 0)) for n in (one, 0)])
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
