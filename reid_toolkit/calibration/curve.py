"""Curves: how likely a distance means the same person, and how often different people come as near."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.calibration.evidence import Evidence

STEPS = 100
"""Largest number of steps of Newton's method. It needs about ten."""
LEAST = 20
"""A curve needs at least so many distances within people, and so many between people."""
KEPT = 200
"""How many distances between different people are stored: the nearest hundred, and a hundred spread by rank."""


@dataclass(frozen=True)
class Curve:
    """What a distance means, for a pair of cameras or for several."""

    same: int
    """Number of distances within a person that it was fitted to."""
    different: int
    """Number of distances between different people."""
    intercept: float
    slope: float
    """The natural logarithm of the likelihood ratio, same to different, is intercept + slope x distance."""
    usual: float
    """Median distance between any two tracklets of these cameras. For several pairs, the median of their medians."""
    nearest: float
    farthest: float
    """The smallest and the largest distance with evidence. The line is not extended beyond them."""
    ranks: tuple[int, ...]
    quantiles: tuple[float, ...]
    """``quantiles[i]`` is the ``ranks[i]``-th smallest distance between different people. Ranks ascend from 1."""

    def __post_init__(self) -> None:
        """Raise :class:`ValueError` for impossible numbers, as a damaged file may hold."""
        values = np.array(
            [self.intercept, self.slope, self.usual, self.nearest, self.farthest, *self.quantiles], np.float64
        )
        ranks = np.array(self.ranks)
        sound = (
            np.isfinite(values).all()
            and self.slope < 0
            and self.nearest <= self.farthest
            and len(ranks) == len(self.quantiles) > 0
            and ranks[0] == 1
            and ranks[-1] == self.different
            and (np.diff(ranks) > 0).all()
            and (np.diff(self.quantiles) >= 0).all()
        )
        if not sound:
            raise ValueError("numbers that do not fit together")

    def log_ratio(self, distance: float) -> float:
        """Logarithm of the likelihood ratio: how many times more likely ``distance`` is within a person than between
        people."""
        return float(self.log_ratios(np.array(distance)))

    def log_ratios(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """:meth:`log_ratio` of each distance."""
        return self.intercept + self.slope * np.clip(distances, self.nearest, self.farthest)

    def probability(self, distance: float, base_rate: float) -> float:
        """The probability of the same person, 0-1, if a share ``base_rate`` (above 0, below 1) of all comparisons shows
        the same person."""
        return float(self.probabilities(np.array(distance), base_rate))

    def probabilities(self, distances: NDArray[np.float64], base_rate: float) -> NDArray[np.float64]:
        """:meth:`probability` of each distance."""
        odds = self.log_ratios(distances) + math.log(base_rate / (1 - base_rate))
        return 1 / (1 + np.exp(-np.clip(odds, -500, 500)))

    def threshold(self, false_match_rate: float) -> float | None:
        """The distance under which different people come in at most ``false_match_rate`` of comparisons. None if there
        are too few distances to tell.

        A new distance is below the k-th smallest of n distances with probability k / (n + 1), for any distribution, if
        it is drawn like the others (conformal prediction: Vovk et al. 2005).
        """
        allowed = math.floor(false_match_rate * (self.different + 1) + 1e-9)
        known = [value for rank, value in zip(self.ranks, self.quantiles, strict=True) if rank <= allowed]
        return known[-1] if known else None

    def moved(self, usual: float) -> "Curve":
        """The curve shifted to cameras for which ``usual`` is the median distance between any two tracklets."""
        by = usual - self.usual
        return replace(
            self,
            intercept=self.intercept - self.slope * by,
            usual=usual,
            nearest=self.nearest + by,
            farthest=self.farthest + by,
            quantiles=tuple(value + by for value in self.quantiles),
        )

    @property
    def break_even(self) -> float:
        """The distance that is equally likely within a person and between people."""
        return -self.intercept / self.slope


def fit_curve(evidence: Evidence) -> Curve | None:
    """Fit a curve. None if there is too little evidence, or if nearer is not more likely the same person.

    What a user said of different people shapes the curve, but not the quantiles: a false-match rate is about all pairs,
    and not about pairs that somebody had to look at.
    """
    same, different = evidence.same, np.sort(evidence.different)
    if min(len(same), len(different)) < LEAST:
        return None
    apart = np.concatenate([different, evidence.told])
    intercept, slope = fit_logistic(same, apart)
    if slope >= 0:
        return None
    count = len(different)
    ranks = np.unique(np.geomspace(min(KEPT // 2, count), count, KEPT // 2).round().astype(int))
    ranks = np.unique(np.concatenate([np.arange(1, min(KEPT // 2, count) + 1), ranks]))
    return Curve(
        same=len(same),
        different=count,
        intercept=intercept,
        slope=slope,
        usual=evidence.median,
        nearest=float(min(same.min(), apart.min())),
        farthest=float(max(same.max(), apart.max())),
        ranks=tuple(ranks.tolist()),
        quantiles=tuple(different[ranks - 1].tolist()),
    )


def fit_logistic(same: NDArray[np.float64], different: NDArray[np.float64]) -> tuple[float, float]:
    """Intercept and slope of the log likelihood ratio over the distance, from (P,) and (M,) distances.

    Platt's scaling ("Probabilistic outputs for support vector machines", 1999): a logistic regression whose targets
    are a little inside of 0 and 1, so that it stays finite if the two kinds do not overlap. Newton's method solves it,
    as in Lin, Lin and Weng (2007). Both kinds have the same total weight, so that the result holds no base rate.
    """
    distances = np.concatenate([same, different])
    targets = np.repeat([(len(same) + 1) / (len(same) + 2), 1 / (len(different) + 2)], [len(same), len(different)])
    weights = np.repeat([0.5 / len(same), 0.5 / len(different)], [len(same), len(different)])
    centre, spread = distances.mean(), max(float(distances.std()), 1e-6)
    design = np.stack([np.ones_like(distances), (distances - centre) / spread], axis=1)

    def loss(parameters: NDArray[np.float64]) -> float:
        odds = design @ parameters
        return float(weights @ (np.logaddexp(0, odds) - targets * odds))

    parameters = np.zeros(2)
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-design @ parameters))
        gradient = design.T @ (weights * (chance - targets))
        hessian = (design * (weights * chance * (1 - chance))[:, None]).T @ design + 1e-12 * np.eye(2)
        step, length = np.linalg.solve(hessian, gradient), 1.0
        while loss(parameters - length * step) > loss(parameters) and length > 1e-9:
            length /= 2
        parameters = parameters - length * step
        if np.abs(length * step).max() < 1e-10:
            break
    intercept, slope = parameters
    return float(intercept - slope * centre / spread), float(slope / spread)


STEPS = 1000
"""Largest number of steps of expectation maximisation. Each is a pass over the ratios."""


def share_of_same(log_ratios: NDArray[np.float64]) -> float:
    """The share of pairs that show the same person, 0-1, from their log likelihood ratios (M,), same to different.

    It is the share that makes the ratios most likely, found by expectation maximisation: Saerens, Latinne and
    Decaestecker, "Adjusting the outputs of a classifier to new a priori probabilities" (2002). 0 if there are no pairs.
    """
    ratios = np.exp(np.clip(log_ratios, -50, 50))
    share = 0.05
    for _ in range(STEPS if len(ratios) else 0):
        before, share = share, float((share * ratios / (share * ratios + 1 - share)).mean())
        if abs(share - before) < 1e-6 * share:
            break
    return share if len(ratios) else 0.0
