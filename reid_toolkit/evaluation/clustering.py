"""Agreement of clusters with identities: purity, and precision, recall and F-score over pairs. Uses only numpy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reid_toolkit.errors import InputError
from reid_toolkit.evaluation.ranking import JUNK

NOBODY = (None, "", "0", JUNK)
"""Identities that say nothing about which samples belong together: unknown, distractor, junk."""


@dataclass(frozen=True)
class Agreement:
    """How well clusters agree with identities. Fractions 0-1."""

    purity: float
    """Share of samples that have the most frequent identity of their cluster; 1 while every sample is alone."""
    precision: float
    """Share of the pairs within a cluster that have one identity; 1 if there is no pair."""
    recall: float
    """Share of the pairs with one identity that are in one cluster; 1 if there is no pair."""
    f: float
    """Harmonic mean of precision and recall."""
    samples: int
    """Samples whose identity is known."""


def agreement(labels: ArrayLike, identities: Sequence[str | None]) -> Agreement:
    """Compare clusters, ``labels`` (N,), with identities. Samples without a known identity are left out.

    Pairs are counted, not listed, so the cost is O(N log N) for clusters of any size.

    Raises :class:`InputError` if the lengths differ or no identity is known.
    """
    clusters = np.asarray(labels)
    if clusters.shape != (len(identities),):
        raise InputError(f"expected a label for each of {len(identities)} identities, got shape {clusters.shape}")
    known = np.array([identity not in NOBODY for identity in identities], bool)
    if not known.any():
        raise InputError(f"none of {len(identities)} identities is known: expected some to compare clusters with")
    _, cluster = np.unique(clusters[known], return_inverse=True)
    _, person = np.unique(np.array(identities, str)[known], return_inverse=True)
    people = int(person.max()) + 1
    cells, counts = np.unique(cluster * people + person, return_counts=True)  # a cell: one cluster and one person
    most = np.zeros(int(cluster.max()) + 1, np.int64)
    np.maximum.at(most, cells // people, counts)
    right, claimed, actual = pairs_within(counts), pairs_within(np.bincount(cluster)), pairs_within(np.bincount(person))
    return Agreement(
        purity=float(most.sum() / known.sum()),
        precision=right / claimed if claimed else 1.0,
        recall=right / actual if actual else 1.0,
        f=2 * right / (claimed + actual) if claimed + actual else 1.0,
        samples=int(known.sum()),
    )


def pairs_within(sizes: NDArray[np.int64]) -> int:
    """Count the pairs within groups of these sizes."""
    return int((sizes * (sizes - 1) // 2).sum())
