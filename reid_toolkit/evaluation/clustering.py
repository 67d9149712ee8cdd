"""How far clusters agree with identities: purity, and precision, recall and F over pairs, in plain numpy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reid_toolkit.errors import InputError
from reid_toolkit.evaluation.ranking import JUNK

NOBODY = (None, "", "0", JUNK)
"""Identities that say nothing of whom a sample belongs with: unknown, distractor, junk."""


@dataclass(frozen=True)
class Agreement:
    """Of clusters with identities. Fractions 0-1."""

    purity: float
    """Share of samples whose identity is the most frequent of their cluster; 1 while every sample is alone."""
    precision: float
    """Of the pairs of samples in one cluster, the share that is of one identity; 1 where there is no pair."""
    recall: float
    """Of the pairs of samples of one identity, the share that is in one cluster; 1 where there is no pair."""
    f: float
    """Harmonic mean of the two."""
    samples: int
    """Those whose identity is known."""


def agreement(labels: ArrayLike, identities: Sequence[str | None]) -> Agreement:
    """Compare clusters, ``labels`` (N,), with who is who; samples of nobody known are left out.

    Pairs are counted, not listed: O(N log N) however large the clusters are.

    Raises :class:`InputError` for lengths that differ and when no identity is known.
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
    cells, counts = np.unique(cluster * people + person, return_counts=True)  # of one cluster and one person
    most = np.zeros(int(cluster.max()) + 1, np.int64)
    np.maximum.at(most, cells // people, counts)
    right, claimed, wanted = pairs_within(counts), pairs_within(np.bincount(cluster)), pairs_within(np.bincount(person))
    return Agreement(
        purity=float(most.sum() / known.sum()),
        precision=right / claimed if claimed else 1.0,
        recall=right / wanted if wanted else 1.0,
        f=2 * right / (claimed + wanted) if claimed + wanted else 1.0,
        samples=int(known.sum()),
    )


def pairs_within(sizes: NDArray[np.int64]) -> int:
    """How many pairs groups of these sizes hold together."""
    return int((sizes * (sizes - 1) // 2).sum())
