import math
from dataclasses import replace

import numpy as np
import pytest

from reid_toolkit.calibration.curve import LEAST, fit_curve, fit_logistic
from reid_toolkit.calibration.evidence import Evidence


def evidence(same: np.ndarray, different: np.ndarray) -> Evidence:
    return Evidence(same, different, np.array([0.7]))


def draw(count: int, mean: float, seed: int, spread: float = 0.1) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, spread, count)


def test_the_likelihood_ratio_of_two_bells_is_found() -> None:
    """Of two normal distributions of one width, its logarithm is a line: (m1 - m0) x / s^2 + (m0^2 - m1^2) / 2 s^2."""
    intercept, slope = fit_logistic(draw(200_000, 0.4, 0), draw(20_000, 0.6, 1))
    assert slope == pytest.approx((0.4 - 0.6) / 0.01, rel=0.03)
    assert intercept == pytest.approx((0.36 - 0.16) / 0.02, rel=0.03)


def test_against_a_general_minimiser() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    same, different = draw(30, 0.4, 2), draw(50, 0.5, 3)

    def loss(parameters: np.ndarray) -> float:
        """Platt's targets, each kind weighing a half, one distance at a time."""
        total = 0.0
        for values, target in ((same, 31 / 32), (different, 1 / 52)):
            for value in values:
                chance = 1 / (1 + math.exp(-(parameters[0] + parameters[1] * value)))
                total -= (target * math.log(chance) + (1 - target) * math.log(1 - chance)) / (2 * len(values))
        return total

    best = optimize.minimize(loss, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-12}).x
    assert fit_logistic(same, different) == pytest.approx(tuple(best), rel=1e-3)


@pytest.mark.parametrize("spread", [0.05, 1e-4, 0.0])
def test_kinds_that_do_not_overlap_stay_finite(spread: float) -> None:
    curve = fit_curve(evidence(draw(40, 0.2, 4, spread), draw(60, 0.9, 5, spread)))
    assert curve is not None
    assert 0.9 < curve.probability(0.2, 0.5) < 1
    assert 0 < curve.probability(0.9, 0.5) < 0.1
    assert 0.3 < curve.break_even < 0.8


def test_the_base_rate_is_bayes_rule() -> None:
    curve = fit_curve(evidence(draw(500, 0.4, 6), draw(500, 0.6, 7)))
    assert curve is not None
    for distance in (0.3, 0.5, 0.7):
        ratio = math.exp(curve.log_ratio(distance))
        for rate in (0.5, 0.1, 0.001):
            assert curve.probability(distance, rate) == pytest.approx(rate * ratio / (rate * ratio + 1 - rate))
    assert curve.probability(curve.break_even, 0.25) == pytest.approx(0.25)


def test_no_surer_than_the_evidence_reaches() -> None:
    same, different = draw(500, 0.4, 6), draw(500, 0.6, 7)
    curve = fit_curve(evidence(same, different))
    assert curve is not None
    assert curve.probability(0.0, 0.5) == curve.probability(float(same.min()), 0.5)
    assert curve.probability(2.0, 0.5) == curve.probability(float(different.max()), 0.5)


def test_a_new_person_passes_a_threshold_as_seldom_as_was_asked() -> None:
    """Over many calibrations from 199 distances; each says nothing about one draw alone."""
    for rate, passed in ((0.005, 0.005), (0.1, 0.1), (0.003, None)):
        shares = []
        for seed in range(200):
            curve = fit_curve(evidence(draw(50, 0.4, seed + 1000), draw(199, 0.6, seed)))
            assert curve is not None
            limit = curve.threshold(rate)
            assert (limit is None) == (passed is None)
            if limit is not None:
                shares.append(0.5 * math.erfc((0.6 - limit) / 0.1 / math.sqrt(2)))
        assert not shares or np.mean(shares) == pytest.approx(passed, rel=0.15)


def test_thresholds_are_the_smallest_distances_in_turn() -> None:
    different = draw(5_000, 0.6, 8)
    curve = fit_curve(evidence(draw(50, 0.3, 9), different))
    assert curve is not None
    ordered = np.sort(different)
    assert curve.threshold(1 / 5_002) is None
    for k in (1, 2, 37, 100):
        assert curve.threshold(k / 5_001) == ordered[k - 1]
    assert ordered[900] < curve.threshold(1_000 / 5_001) <= ordered[999]  # thinned: never looser than asked
    assert len(curve.quantiles) <= 200


def test_moved_to_cameras_farther_apart_it_says_the_same_farther_out() -> None:
    curve = fit_curve(evidence(draw(50, 0.4, 14), draw(300, 0.6, 15)))
    assert curve is not None
    farther = curve.moved(0.8)
    for distance in (0.0, 0.4, 0.5, 0.6, 2.0):
        assert farther.probability(distance + 0.1, 0.2) == pytest.approx(curve.probability(distance, 0.2))
    assert farther.threshold(0.01) == pytest.approx(curve.threshold(0.01) + 0.1)
    assert farther.break_even == pytest.approx(curve.break_even + 0.1)
    back = farther.moved(0.7)
    assert (back.intercept, back.quantiles) == (pytest.approx(curve.intercept), pytest.approx(curve.quantiles))


def test_too_little_or_the_wrong_way_round_is_no_curve() -> None:
    near, far = draw(LEAST, 0.3, 10), draw(LEAST, 0.6, 11)
    assert fit_curve(evidence(near, far)) is not None
    assert fit_curve(evidence(near[1:], far)) is None
    assert fit_curve(evidence(near, far[1:])) is None
    assert fit_curve(evidence(far, near)) is None


def test_a_curve_of_nonsense_is_refused() -> None:
    curve = fit_curve(evidence(draw(30, 0.3, 12), draw(30, 0.6, 13)))
    assert curve is not None
    for wrong in (
        {"slope": 1.0}, {"intercept": math.nan}, {"ranks": curve.ranks[:-1]}, {"nearest": 3.0},
        {"different": 7}, {"usual": math.inf}, {"quantiles": curve.quantiles[::-1]},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="fit together"):
            replace(curve, **wrong)
