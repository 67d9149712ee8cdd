"""Samples that are known to show one person, and clusters that obey this. Needs numpy alone."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reid_toolkit.errors import InputError


def tied(count: int, must_link: ArrayLike) -> NDArray[np.int64]:
    """Return the groups (count,) of samples that must-links tie together, directly or through others.

    Groups are numbered 0..C-1 by their smallest member. A sample without a must-link is a group of its own.

    Args:
        count: number of samples.
        must_link: (M, 2) pairs of samples that show one person.
    """
    parent = list(range(count))

    def root(sample: int) -> int:
        while parent[sample] != sample:
            parent[sample] = parent[parent[sample]]
            sample = parent[sample]
        return sample

    for pair in as_pairs(must_link).tolist():
        a, b = sorted(map(root, pair))
        parent[b] = a
    return numbered(np.array([root(sample) for sample in range(count)], np.int64))


def numbered(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the clusters ``labels`` (N,) 0..C-1 by their smallest member."""
    _, first, places = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[places].astype(np.int64)


def between_groups(pairs: ArrayLike, ties: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the cannot-link ``pairs`` (M, 2) whose samples are not tied together by ``ties`` (N,)."""
    found = as_pairs(pairs)
    return found[ties[found[:, 0]] != ties[found[:, 1]]]


def obey(labels: NDArray[np.int64], ties: NDArray[np.int64], cannot_link: ArrayLike) -> NDArray[np.int64]:
    """Return clusters (N,), numbered 0..C-1, in which samples that are tied together share a cluster.

    The clusters of tied samples are united, because a user who says that two samples show one person means all that
    look like them. If this would put a cannot-link pair into one cluster, only the tied samples themselves leave their
    clusters, and become a cluster of their own.

    Args:
        labels: (N,) clusters, none of which holds a cannot-link pair.
        ties: (N,) as :func:`tied` gives them.
        cannot_link: (M, 2) pairs of samples that show different people.

    Raises :class:`InputError` if a cannot-link pair is tied together.
    """
    labels, pairs = labels.copy(), as_pairs(cannot_link)
    if (wrong := np.flatnonzero(ties[pairs[:, 0]] == ties[pairs[:, 1]])).size:
        i, j = pairs[wrong[0]].tolist()
        raise InputError(f"must-links tie samples {i} and {j} together, which a cannot-link pair keeps apart")
    sizes = np.bincount(ties)
    groups = np.flatnonzero(sizes > 1)
    # Only clusters of tied samples change, so other pairs need no look.
    touched = np.isin(labels, labels[np.isin(ties, groups)])
    pairs = pairs[touched[pairs].all(axis=1)]
    new = labels.max(initial=-1) + 1
    for group in groups:
        members = np.flatnonzero(ties == group)
        united = np.isin(labels, labels[members])
        if united[pairs].all(axis=1).any():
            labels[members] = new
            new += 1
        else:
            labels[united] = labels[members[0]]
    return numbered(labels)


def as_pairs(pairs: ArrayLike) -> NDArray[np.int64]:
    """Convert pairs to (M, 2) int64, also if there are none."""
    return np.asarray(pairs, np.int64).reshape(-1, 2)
