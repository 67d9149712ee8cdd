"""From a distance to the odds of one person, and to how often two people are as near: fitted, and kept small."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.calibration.evidence import Evidence

STEPS = 100
"""Of Newton's method at most; it takes ten or so."""
LEAST = 20
"""Distances of each kind from which a curve is fitted."""
KEPT = 200
"""Of the distances between two people, how many are kept: the nearest hundred, the others spread out by rank."""


@dataclass(frozen=True)
class Curve:
    """What a distance means, for one pair of cameras or for several."""

    same: int
    """Distances of one person that it was fitted to."""
    different: int
    """Distances of two people."""
    intercept: float
    slope: float
    """Natural logarithm of the likelihood ratio, same to different, is intercept + slope x distance."""
    usual: float
    """Median distance between any two tracklets of these cameras, or of such cameras in the middle."""
    nearest: float
    farthest: float
    """The distances between which there was evidence; the line is not drawn on beyond them."""
    ranks: tuple[int, ...]
    quantiles: tuple[float, ...]
    """``quantiles[i]`` is the ``ranks[i]``-th smallest distance between two people; ranks ascend from 1."""

    def __post_init__(self) -> None:
        """Raise :class:`ValueError` for numbers that no fit gives, as a damaged file may hold."""
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
        """Logarithm of how many times likelier ``distance`` is between crops of one person than of two."""
        return float(self.log_ratios(np.array(distance)))

    def log_ratios(self, distances: NDArray[np.float64]) -> NDArray[np.float64]:
        """:meth:`log_ratio` of each."""
        return self.intercept + self.slope * np.clip(distances, self.nearest, self.farthest)

    def probability(self, distance: float, base_rate: float) -> float:
        """That it is one person, 0-1, where that is so in ``base_rate`` (above 0, below 1) of comparisons."""
        return float(self.probabilities(np.array(distance), base_rate))

    def probabilities(self, distances: NDArray[np.float64], base_rate: float) -> NDArray[np.float64]:
        """:meth:`probability` of each."""
        odds = self.log_ratios(distances) + math.log(base_rate / (1 - base_rate))
        return 1 / (1 + np.exp(-np.clip(odds, -500, 500)))

    def threshold(self, false_match_rate: float) -> float | None:
        """The distance under which two people come in at most ``false_match_rate`` of comparisons; None when there
        are too few to tell.

        Under the k-th smallest of n distances comes a new one with probability k / (n + 1), whatever their
        distribution, if it is a draw like the others (conformal prediction: Vovk et al. 2005).
        """
        allowed = math.floor(false_match_rate * (self.different + 1) + 1e-9)
        known = [value for rank, value in zip(self.ranks, self.quantiles, strict=True) if rank <= allowed]
        return known[-1] if known else None

    def moved(self, usual: float) -> "Curve":
        """The same for cameras between which ``usual`` is the median distance of any two tracklets."""
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
    def even(self) -> float:
        """The distance that is as likely between crops of one person as of two."""
        return -self.intercept / self.slope


def fit_curve(evidence: Evidence) -> Curve | None:
    """Fit to ``evidence``; None when it is too little, or says that nearer is not likelier."""
    same, different = evidence.same, np.sort(evidence.different)
    if min(len(same), len(different)) < LEAST:
        return None
    intercept, slope = fit_logistic(same, different)
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
        usual=evidence.usual,
        nearest=float(min(same.min(), different[0])),
        farthest=float(max(same.max(), different[-1])),
        ranks=tuple(ranks.tolist()),
        quantiles=tuple(different[ranks - 1].tolist()),
    )


def fit_logistic(same: NDArray[np.float64], different: NDArray[np.float64]) -> tuple[float, float]:
    """Intercept and slope of the log likelihood ratio over the distance; (P,) and (M,) distances.

    Platt's scaling ("Probabilistic outputs for support vector machines", 1999): a logistic regression whose targets
    are a little short of 0 and 1, so that it stays finite where the two kinds do not overlap; by Newton's method, as
    Lin, Lin and Weng (2007) have it. Both kinds weigh the same however many there are of each, so that no base rate
    is in it.
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
"""Of expectation and maximisation at most; each is a pass over the ratios."""


def share_of_same(log_ratios: NDArray[np.float64]) -> float:
    """The share of pairs that are of one person, 0-1, by their log likelihood ratios (M,), one person to two.

    The share under which the ratios are likeliest, by expectation maximisation: Saerens, Latinne and Decaestecker,
    "Adjusting the outputs of a classifier to new a priori probabilities" (2002). 0 of no pairs.
    """
    ratios = np.exp(np.clip(log_ratios, -50, 50))
    share = 0.05
    for _ in range(STEPS if len(ratios) else 0):
        before, share = share, float((share * ratios / (share * ratios + 1 - share)).mean())
        if abs(share - before) < 1e-6 * share:
            break
    return share if len(ratios) else 0.0
