"""Measures whether stated probabilities come true: the expected calibration error. Uses only numpy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from reid_toolkit.errors import InputError


@dataclass(frozen=True)
class Bin:
    """Answers with similar probabilities. Fractions 0-1."""

    count: int
    said: float
    """Mean of the probabilities."""
    true: float
    """Share of right answers."""


@dataclass(frozen=True)
class Reliability:
    """Stated probabilities compared with the truth. Fractions 0-1."""

    error: float
    """Expected calibration error: |said - true| of each bin, weighted by its count."""
    brier: float
    """Mean squared difference between the probability and 0 or 1."""
    right: float
    """Share of all answers that are right. Always stating this share has an error of 0 but is useless."""
    bins: tuple[Bin, ...]
    """Bins that contain answers, from low to high probability."""


def reliability(probabilities: ArrayLike, right: ArrayLike, bins: int = 10) -> Reliability:
    """Compare ``probabilities`` (N,) 0-1 with whether each answer was ``right`` (N,) bool, in ``bins`` of equal width.

    The expected calibration error of Guo et al., "On calibration of modern neural networks" (2017), for two classes.
    Raises :class:`InputError` for other shapes, no answers, or values that are not probabilities.
    """
    said, true = np.asarray(probabilities, np.float64), np.asarray(right, np.float64)
    if said.ndim != 1 or said.shape != true.shape or not len(said):
        raise InputError(f"probabilities {said.shape} and answers {true.shape}: expected one of each, and at least one")
    if not ((said >= 0) & (said <= 1)).all():
        raise InputError("probabilities outside 0 to 1, or NaN: expected fractions")
    places = np.minimum((said * bins).astype(int), bins - 1)
    counts = np.bincount(places, minlength=bins)
    sums = [np.bincount(places, values, minlength=bins) for values in (said, true)]
    found = tuple(
        Bin(int(count), float(a / count), float(b / count)) for count, a, b in zip(counts, *sums, strict=True) if count
    )
    error = sum(one.count * abs(one.said - one.true) for one in found) / len(said)
    return Reliability(error, float(((said - true) ** 2).mean()), float(true.mean()), found)
