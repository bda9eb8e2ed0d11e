"""The estimators against exact formulas, against known truths in simulation, and at their edges."""

from __future__ import annotations

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttsd.statistics import (
    Array,
    Pool,
    Resamples,
    Times,
    compare,
    log_rank,
    mean_bounds,
    pass_at_k,
    proportion_interval,
    ratio_of_means,
    rising,
    sign_flip_p,
    speed_up,
)

CAP = 512
SEEDS = 5
GAIN = 3.0  # hazard of the better method over the other's


def exact_pass_at_k(n: int, c: int, k: int) -> float:
    return float(1 - Fraction(comb(n - c, k), comb(n, k)))


def times(values: list[float], observed: list[bool]) -> Times:
    return Times(np.array(values, dtype=float), np.array(observed))


@settings(deadline=None)
@given(st.integers(1, 400), st.data())
def test_pass_at_k_is_the_exact_formula(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(0, n))
    assert pass_at_k(n, c, k) == pytest.approx(exact_pass_at_k(n, c, k), abs=1e-10)


def test_the_papers_single_hits() -> None:
    pool = Pool(2944, 1)
    assert pool.discovered([2750])[0] == pytest.approx(0.934, abs=5e-4)
    assert pool.capped_mean(2750) == pytest.approx(1466, abs=0.5)
    assert Pool(2944, 0).capped_mean(2750) == 2750
    very_hard = [Pool(2944, 1)] * 4 + [Pool(2944, 0)] * 5
    assert np.mean([one.discovered([2750])[0] for one in very_hard]) == pytest.approx(0.415, abs=5e-4)


def test_pass_at_k_is_unbiased() -> None:
    # The mean over all outcomes of n draws is the true 1 - (1 - p)^k.
    n, p = 30, 0.07
    weights = [comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]
    for k in (1, 5, 30):
        mean = sum(w * float(pass_at_k(n, c, k)) for c, w in enumerate(weights))
        assert mean == pytest.approx(1 - (1 - p) ** k)


def test_nothing_is_said_beyond_the_evidence() -> None:
    assert np.isnan(Pool(10, 3).discovered([11])[0])
    censored = times([3, 10], [True, False])
    assert np.isnan(censored.discovered([11])[0])
    assert np.isnan(censored.interval(np.array([11.0]))[0][0])
    assert np.isnan(censored.capped_mean(11))
    assert times([3, 10], [True, True]).discovered([11])[0] == 1


def test_a_pool_counts_whole_draws_of_its_cost() -> None:
    pool = Pool(10, 2, cost=0.1)
    assert pool.discovered([0.3, 0.399]) == pytest.approx([exact_pass_at_k(10, 2, 3)] * 2)
    assert pool.capped_mean(1.0) == pytest.approx(0.1 * Pool(10, 2).capped_mean(10))


def test_without_censoring_the_curve_is_the_share_of_runs() -> None:
    runs = times([2, 5, 5, 9], [True] * 4)
    assert runs.discovered([1, 2, 5, 9]) == pytest.approx([0, 0.25, 0.75, 1])
    assert runs.capped_mean(6) == pytest.approx((2 + 5 + 5 + 6) / 4)


def test_censored_runs_leave_the_risk_set() -> None:
    # Kaplan and Meier by hand: 1 - 3/4 x 1/2.
    assert times([2, 3, 5, 8], [True, False, True, False]).discovered([4, 5]) == pytest.approx([0.25, 1 - 0.75 / 2])


def test_censoring_does_not_bias_the_curve() -> None:
    rng = np.random.default_rng(0)
    found, ended = rng.geometric(0.02, 20000), rng.integers(1, 200, 20000)
    runs = Times(np.minimum(found, ended).astype(float), found <= ended)
    assert runs.discovered([20, 60]) == pytest.approx(1 - 0.98 ** np.array([20, 60]), abs=0.01)


def test_no_discovery_is_not_certainty() -> None:
    (low,), (high,) = times([100] * 5, [False] * 5).interval(np.array([100.0]))
    assert low == 0
    assert 0.2 < high < 0.5
    low, high = mean_bounds(np.zeros((9, 1)), Resamples(9))
    assert (low[0], 0.1 < high[0] < 0.3) == (0, True)


def test_bounds_of_a_rising_curve_rise() -> None:
    low, high = rising(np.array([0, 0.2, 0.1]), np.array([0.5, 0.3, 0.4]))
    assert low.tolist() == [0, 0.2, 0.2]
    assert high.tolist() == [0.3, 0.3, 0.4]


def test_log_rank_tells_fast_from_slow() -> None:
    slow = times([50, 60, 64, 64, 64], [True, True, False, False, False])
    assert log_rank(times([1, 2, 3, 4, 5], [True] * 5), slow) < 0.01
    assert np.isnan(log_rank(times([9], [False]), times([9], [False])))


def test_sign_flips_are_exact() -> None:
    assert sign_flip_p(np.array([0.1, 0.2, 0.3, 0.4, 0.5])) == pytest.approx(2 / 32)
    assert sign_flip_p(np.array([0.0, 0.0, 0.4])) == 1.0


def test_equal_methods_differ_by_nothing() -> None:
    same = np.array([0.1, 0.5, 0.9])
    found = compare(same, same, Resamples(3))
    assert (found.difference, found.p, found.better, found.worse) == (0, 1, 0, 0)


def test_a_speed_up_is_read_at_equal_discovery() -> None:
    grid = np.arange(1, 101, dtype=float)
    slow = np.minimum(grid / 100, 1)[None].repeat(4, axis=0)
    fast = np.minimum(grid / 25, 1)[None].repeat(4, axis=0)
    found = speed_up(fast, slow, grid, Resamples(4))
    assert found.at == 0.5
    assert found.ratio == pytest.approx(50 / 13)
    assert np.isnan(speed_up(fast, 0 * slow, grid, Resamples(4)).ratio)


# -- coverage of the 90 % intervals, where the truth is known -----------------------------------------------------


def hazards(rng: np.random.Generator, questions: int) -> Array:
    """Chances of one attempt from hopeless to easy."""
    drawn: Array = 10 ** rng.uniform(-5, -1.5, questions)
    return drawn


def runs(chances: Array, rng: np.random.Generator) -> Array:
    return rng.geometric(chances[:, None] * np.ones((1, SEEDS))).astype(float)


def truth(chances: Array, at: Array) -> Array:
    return np.array([(1 - (1 - chances) ** k).mean() for k in at])


def capped_truth(chances: Array) -> float:
    return float(((1 - (1 - chances) ** CAP) / chances).mean())


def coverage(questions: int, rounds: int) -> dict[str, float]:
    """How often each interval holds what it is about, over fresh questions and runs."""
    rng = np.random.default_rng(3)
    grid = np.unique(np.round(np.geomspace(1, CAP, 150)))
    all_slow = hazards(rng, 40000)
    curves = [truth(chances, grid) for chances in (GAIN * all_slow, all_slow)]
    level = min(curve[-1] for curve in curves) / 2
    reached = [np.interp(level, curve, grid) for curve in curves]
    capped = [capped_truth(chances) for chances in (GAIN * all_slow, all_slow)]
    held: dict[str, list[bool]] = {name: [] for name in ("discovery", "difference", "speed-up", "capped ratio")}
    for number in range(rounds):
        chances = hazards(rng, questions)
        found = [runs(GAIN * chances, rng), runs(chances, rng)]
        fast, slow = ((one[:, None, :] <= grid[None, :, None]).mean(axis=-1) for one in found)
        resamples = Resamples(questions, count=500, seed=number)
        low, high = mean_bounds(fast[:, -1], resamples)
        held["discovery"].append(bool(low <= curves[0][-1] <= high))
        low, high = resamples.bounds(resamples.means(fast[:, -1] - slow[:, -1]))
        held["difference"].append(bool(low <= curves[0][-1] - curves[1][-1] <= high))
        bounds = speed_up(fast, slow, grid, resamples).bounds
        held["speed-up"].append(bounds.low <= reached[1] / reached[0] <= bounds.high)
        means = [np.minimum(one, CAP).mean(axis=1) for one in found]
        _, bounds = ratio_of_means(means[0], means[1], resamples)
        held["capped ratio"].append(bounds.low <= capped[1] / capped[0] <= bounds.high)
    return {name: float(np.mean(hits)) for name, hits in held.items()}


def test_pooled_intervals_cover_roughly() -> None:
    for name, share in coverage(questions=19, rounds=100).items():
        assert 0.8 <= share <= 1, name


@pytest.mark.slow
@pytest.mark.parametrize("questions", [19, 40])
def test_pooled_intervals_cover(questions: int) -> None:
    for name, share in coverage(questions, rounds=2000).items():
        assert 0.85 <= share <= 0.95, (name, share)


def test_intervals_of_one_question_cover() -> None:
    """Averaged over questions from hopeless to easy, for 5 runs and for a pool of 2944."""
    rng = np.random.default_rng(5)
    chances = rng.uniform(0, 1, 20000)
    for trials, most in ((SEEDS, 1.0), (2944, 0.01)):
        low, high = proportion_interval(rng.binomial(trials, most * chances), trials)
        assert 0.85 <= ((low <= most * chances) & (most * chances <= high)).mean() <= 0.95


def test_censored_intervals_of_one_question_cover() -> None:
    rng = np.random.default_rng(6)
    held = []
    for chance in rng.uniform(0.002, 0.05, 400):
        found, ended = rng.geometric(chance, 10), rng.integers(10, 120, 10)
        evidence = Times(np.minimum(found, ended).astype(float), found <= ended)
        at = min(40.0, evidence.horizon)
        (low,), (high,) = evidence.interval(np.array([at]))
        held.append(low <= 1 - (1 - chance) ** at <= high)
    assert 0.85 <= np.mean(held) <= 0.97
