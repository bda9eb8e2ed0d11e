"""Alarms ring for the failures they name, and not for a healthy run."""

from __future__ import annotations

import pytest

from ttsd.reporting.alarms import alarms

HEALTHY = {
    "updated": 1.0, "grad_finite": 1.0, "grad_norm": 0.05, "entropy": 0.4, "logprob_gap/mean": 1e-3,
    "tis_clip_fraction": 0.0, "kl/base": 0.1, "preemptions": 0.0,
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
        ("preemptions", 2.0, "began 2.0 completions a step again"),
    ],
)
def test_each_alarm_rings_after_some_steps_and_gives_advice(name: str, value: float, part: str) -> None:
    ill = HEALTHY | {name: value}
    assert alarms([HEALTHY] * 5 + [ill]) == [] or name == "grad_finite"
    (sentence,) = alarms([HEALTHY] * 5 + [ill] * 4)
    assert part in sentence
    assert ": " in sentence


def test_a_return_is_said_for_the_rest_of_the_run() -> None:
    (sentence,) = alarms([HEALTHY, {"returned_to": 0.0}, *[HEALTHY] * 20])
    assert "collapsed 1 x" in sentence


def test_steps_without_an_update_do_not_count_as_small_gradients() -> None:
    idle = {"updated": 0.0, "grad_norm": 0.0, "grad_finite": 1.0}
    assert len(alarms([HEALTHY] * 4 + [idle] * 4)) == 1
