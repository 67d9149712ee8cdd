"""Whether stated probabilities come true: expected calibration error, in plain numpy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from reid_toolkit.errors import InputError


@dataclass(frozen=True)
class Bin:
    """Answers of about one probability. Fractions 0-1."""

    count: int
    said: float
    """Mean of the probabilities."""
    true: float
    """Share that was right."""


@dataclass(frozen=True)
class Reliability:
    """Of stated probabilities against the truth. Fractions 0-1."""

    error: float
    """Expected calibration error: |said - true| of each bin, weighted by its count."""
    brier: float
    """Mean squared difference between what was said and 0 or 1."""
    right: float
    """Share of all answers that was right: who always says this has an error of 0 and is no help."""
    bins: tuple[Bin, ...]
    """Those with answers in them, from low to high probability."""


def reliability(probabilities: ArrayLike, right: ArrayLike, bins: int = 10) -> Reliability:
    """Compare ``probabilities`` (N,) 0-1 with whether each was ``right`` (N,) bool, in ``bins`` of equal width.

    The expected calibration error of Guo et al., "On calibration of modern neural networks" (2017), for two classes.
    Raises :class:`InputError` for other shapes, nothing to compare, or probabilities that are none.
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
