"""Pairs of tracklets that are one person, and pairs that are two, as far as can be told without a label."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

CameraPair = tuple[str, str]
"""Two cameras, sorted; the same one twice for tracklets of one camera."""
MOST_PAIRS = 2_000_000
"""Of each kind, of all cameras together; more are drawn from by chance. A quantile needs no more."""
ANY_PAIRS = 100_000
"""Of a camera pair, any two of its tracklets."""
STEP = 65_536
"""Pairs whose descriptors are laid beside each other at once: 270 MB at a width of 512."""


@dataclass(frozen=True)
class Evidence:
    """Distances, Euclidean, of one pair of cameras."""

    same: NDArray[np.float64]
    """(P,) between descriptors taken for one person."""
    different: NDArray[np.float64]
    """(M,) between descriptors taken for two people."""
    any: NDArray[np.float64]
    """(A,) between any two tracklets of these cameras, or some of them, drawn by chance."""

    @property
    def usual(self) -> float:
        """Median between any two tracklets, nearly all of which are of two people: how far apart the cameras lie,
        whoever is in front of them. NaN where there are no two."""
        return float(np.median(self.any)) if len(self.any) else float("nan")


def collect(
    descriptors: NDArray[np.float32],
    halves: NDArray[np.float32],
    cameras: Sequence[str],
    seen_at_once: NDArray[np.int64],
    clusters: NDArray[np.int64] | None = None,
) -> dict[CameraPair, Evidence]:
    """What tracklets tell of distances, by pair of cameras.

    One person: the two halves of a tracklet, and two tracklets of one cluster that were not seen at once. Two people:
    tracklets seen at once, and any two tracklets whose clusters had members that were seen at once anywhere. The first
    of each is (nearly) sure, and of one camera only. The second reaches across cameras, and is as good as the
    clusters are.

    Args:
        descriptors: (N, D), unit rows, of each tracklet.
        halves: (N, 2, D), of its crops' first and second half; NaN where it has one crop.
        cameras: N names.
        seen_at_once: (M, 2) pairs of tracklets that were in one camera's picture at one moment.
        clusters: (N,) numbers from 0; -1 for a tracklet that is in none.
    """
    count = len(descriptors)
    names = sorted(set(cameras))
    camera = np.array([names.index(name) for name in cameras], np.int64)
    rng = np.random.default_rng(0)  # the same evidence each time
    alone = np.arange(count)
    labels = alone if clusters is None else np.where(clusters < 0, clusters.max(initial=-1) + 1 + alone, clusters)
    labels = np.unique(labels, return_inverse=True)[1]

    apart = np.unique(np.sort(labels[seen_at_once], axis=1).reshape(-1, 2), axis=0)
    apart = apart[apart[:, 0] != apart[:, 1]]  # a cluster against itself is a mistake of the clusters
    different = members(apart, labels, rng)
    whole = np.repeat(np.arange(labels.max(initial=-1) + 1), 2).reshape(-1, 2)
    same = members(whole, labels, rng)
    same = same[same[:, 0] < same[:, 1]]
    if len(seen_at_once):
        same = same[~np.isin(same @ [count, 1], np.sort(seen_at_once, axis=1) @ [count, 1])]
    in_two = np.flatnonzero(np.isfinite(halves).all(axis=(1, 2)))

    found: defaultdict[tuple[CameraPair, int], list[NDArray[np.float64]]] = defaultdict(lambda: [np.empty(0)])
    for kind, pairs, distances in (
        (0, np.stack([in_two, in_two], axis=1), np.linalg.norm(halves[in_two, 0] - halves[in_two, 1], axis=1)),
        (0, same, between(descriptors, same)),
        (1, different, between(descriptors, different)),
    ):
        places = np.sort(camera[pairs], axis=1) @ [len(names), 1]
        for place in np.unique(places):
            pair = names[place // len(names)], names[place % len(names)]
            found[pair, kind].append(distances[places == place].astype(np.float64))
    rows = {name: np.flatnonzero(camera == number) for number, name in enumerate(names)}
    return {
        (a, b): Evidence(
            np.concatenate(found[(a, b), 0]),
            np.concatenate(found[(a, b), 1]),
            any_distances(descriptors, rows[a], rows[b], rng),
        )
        for a, b in combinations_with_replacement(names, 2)
    }


def any_distances(
    descriptors: NDArray[np.float32], first: NDArray[np.int64], second: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Distances between rows ``first`` and rows ``second``, none with itself; ``ANY_PAIRS`` of them at most."""
    total = len(first) * len(second)
    chosen = np.arange(total) if total <= ANY_PAIRS else rng.integers(total, size=ANY_PAIRS)
    a, b = np.divmod(chosen, len(second))
    pairs = np.stack([first[a], second[b]], axis=1)
    return between(descriptors, pairs[pairs[:, 0] != pairs[:, 1]]).astype(np.float64)


def pool(evidence: Sequence[Evidence]) -> Evidence:
    """All of it together, each moved to what is usual for them all: so cameras that lie farther apart than others
    blur nothing. (A simple form of the score normalisation of biometrics, with unlabelled pairs as the impostors.)"""
    usual = float(np.median([one.usual for one in evidence])) if evidence else float("nan")

    def moved(kind: Callable[[Evidence], NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.concatenate([np.empty(0), *(kind(one) - one.usual + usual for one in evidence)])

    return Evidence(moved(lambda one: one.same), moved(lambda one: one.different), moved(lambda one: one.any))


def members(blocks: NDArray[np.int64], labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """(M, 2) every member of a block's first cluster with every one of its second, or ``MOST_PAIRS`` of them.

    blocks: (K, 2) clusters; labels: (N,), 0..C-1.
    """
    order, sizes = np.argsort(labels, kind="stable"), np.bincount(labels)
    starts = np.cumsum(sizes) - sizes
    counts = sizes[blocks[:, 0]] * sizes[blocks[:, 1]]
    ends = np.cumsum(counts)
    total = int(counts.sum())
    chosen = np.arange(total) if total <= MOST_PAIRS else np.unique(rng.integers(total, size=MOST_PAIRS))
    block = np.searchsorted(ends, chosen, side="right")
    first, second = np.divmod(chosen - (ends - counts)[block], sizes[blocks[block, 1]])
    return np.stack([order[starts[blocks[block, 0]] + first], order[starts[blocks[block, 1]] + second]], axis=1)


def between(descriptors: NDArray[np.float32], pairs: NDArray[np.int64]) -> NDArray[np.float32]:
    """(M,) Euclidean distances of pairs (M, 2) of rows."""
    found = np.empty(len(pairs), np.float32)
    for at in range(0, len(pairs), STEP):
        first, second = pairs[at : at + STEP].T
        found[at : at + STEP] = np.linalg.norm(descriptors[first] - descriptors[second], axis=1)
    return found
