"""Evidence without labels: pairs of tracklets that show the same person, and pairs that show different people."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import ArrayLike, NDArray

CameraPair = tuple[str, str]
"""Two camera names, sorted. Twice the same name for tracklets of one camera."""
MOST_PAIRS = 2_000_000
"""Largest number of pairs of each kind, over all cameras. If there are more, a random sample is drawn: quantiles need
no more."""
ANY_PAIRS = 100_000
"""Largest number of pairs of any two tracklets, for each camera pair."""
NO_PAIRS = np.empty((0, 2), np.int64)
STEP = 65_536
"""Number of pairs whose descriptors are in memory at a time: 270 MB at a width of 512."""


@dataclass(frozen=True)
class Evidence:
    """Euclidean distances of a pair of cameras."""

    same: NDArray[np.float64]
    """(P,): between descriptors that are taken for the same person."""
    different: NDArray[np.float64]
    """(M,): between descriptors that are taken for different people."""
    any: NDArray[np.float64]
    """(A,): between any two tracklets of these cameras, or a random sample of such pairs."""
    told: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    """(Q,): between descriptors that a user said are of different people. Users look at pairs that are alike, so these
    are nearer than different people usually are."""

    @property
    def median(self) -> float:
        """Median distance between any two tracklets. Nearly all are of different people, so it says how far apart the
        cameras are, whoever they show. NaN if there are no two tracklets."""
        return float(np.median(self.any)) if len(self.any) else float("nan")


def collect(
    descriptors: NDArray[np.float32],
    halves: NDArray[np.float32],
    cameras: Sequence[str],
    seen_at_once: NDArray[np.int64],
    clusters: NDArray[np.int64] | None = None,
    known_same: NDArray[np.int64] = NO_PAIRS,
    known_different: NDArray[np.int64] = NO_PAIRS,
) -> dict[CameraPair, Evidence]:
    """Collect the evidence of tracklets, by pair of cameras.

    The same person: the two halves of a tracklet, and two tracklets of a cluster that were not seen at once. Different
    people: tracklets seen at once, and any two tracklets whose clusters have members that were seen at once. The first
    evidence of each kind is (nearly) certain, but only within a camera. The second reaches across cameras, and is as
    good as the clusters. What a user said about a pair counts more than both. It is not passed on to other members of
    clusters, because users correct people who look alike, and such pairs would then outweigh all others.

    Args:
        descriptors: (N, D), unit rows, one per tracklet.
        halves: (N, 2, D), unit rows, of the first and second half of its crops. NaN if it has a single crop.
        cameras: N names.
        seen_at_once: (M, 2) pairs of tracklets that were in one camera's picture at one moment.
        clusters: (N,) numbers from 0. -1 for a tracklet without a cluster.
        known_same: (P, 2) pairs of tracklets that a user says show one person.
        known_different: (Q, 2) pairs that a user says show two people.
    """
    count = len(descriptors)
    names = sorted(set(cameras))
    camera = np.array([names.index(name) for name in cameras], np.int64)
    rng = np.random.default_rng(0)  # a fixed seed, so that the evidence is the same each time
    labels, apart = people_apart(count, seen_at_once, clusters)
    different = members(apart, labels, rng)
    whole = np.repeat(np.arange(labels.max(initial=-1) + 1), 2).reshape(-1, 2)
    same = members(whole, labels, rng)
    same = same[same[:, 0] < same[:, 1]]
    same = with_known(same, known_same, [*seen_at_once, *known_different], count)
    different = with_known(different, NO_PAIRS, [*known_same, *known_different], count)
    in_two = np.flatnonzero(np.isfinite(halves).all(axis=(1, 2)))

    found: defaultdict[tuple[CameraPair, int], list[NDArray[np.float64]]] = defaultdict(lambda: [np.empty(0)])
    for kind, pairs, distances in (
        (0, np.stack([in_two, in_two], axis=1), np.linalg.norm(halves[in_two, 0] - halves[in_two, 1], axis=1)),
        (0, same, between(descriptors, same)),
        (1, different, between(descriptors, different)),
        (2, known_different, between(descriptors, known_different)),
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
            np.concatenate(found[(a, b), 2]),
        )
        for a, b in combinations_with_replacement(names, 2)
    }


def with_known(
    pairs: NDArray[np.int64], known: NDArray[np.int64], contrary: ArrayLike, count: int
) -> NDArray[np.int64]:
    """Pairs (M, 2) of ``count`` tracklets: each once, with the ``known`` ones, and without the ``contrary`` ones."""
    codes, more, less = (
        np.sort(np.asarray(one, np.int64).reshape(-1, 2), axis=1) @ [count, 1] for one in (pairs, known, contrary)
    )
    kept = pairs[~np.isin(codes, np.concatenate([more, less]))]
    return np.concatenate([kept, known])


def people_apart(
    count: int, seen_at_once: NDArray[np.int64], clusters: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The people (N,), numbered from 0, and the pairs (P, 2) of people who were seen at once. A tracklet without a
    cluster is a person of its own.

    All distances between different people come from these pairs. A pair gives many distances if both have many
    tracklets, but these depend on each other: P counts how much is really known.
    """
    alone = np.arange(count)
    labels = alone if clusters is None else np.where(clusters < 0, clusters.max(initial=-1) + 1 + alone, clusters)
    labels = np.unique(labels, return_inverse=True)[1]
    apart = np.unique(np.sort(labels[seen_at_once], axis=1).reshape(-1, 2), axis=0)
    return labels, apart[apart[:, 0] != apart[:, 1]]  # two members of a cluster seen at once: the cluster is wrong


def any_distances(
    descriptors: NDArray[np.float32], first: NDArray[np.int64], second: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Distances between rows ``first`` and rows ``second``, without a row and itself, at most ``ANY_PAIRS``."""
    total = len(first) * len(second)
    chosen = np.arange(total) if total <= ANY_PAIRS else rng.integers(total, size=ANY_PAIRS)
    a, b = np.divmod(chosen, len(second))
    pairs = np.stack([first[a], second[b]], axis=1)
    return between(descriptors, pairs[pairs[:, 0] != pairs[:, 1]]).astype(np.float64)


def pool(evidence: Sequence[Evidence]) -> Evidence:
    """Join the evidence of several camera pairs. Each is shifted to the median of their usual distances, so that pairs
    that are farther apart than others do not blur the result. This is a simple form of the score normalisation of
    biometrics, with unlabelled pairs as impostors."""
    usual = float(np.median([one.median for one in evidence])) if evidence else float("nan")

    def moved(kind: Callable[[Evidence], NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.concatenate([np.empty(0), *(kind(one) - one.median + usual for one in evidence)])

    return Evidence(
        moved(lambda one: one.same),
        moved(lambda one: one.different),
        moved(lambda one: one.any),
        moved(lambda one: one.told),
    )


def members(blocks: NDArray[np.int64], labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Pairs (M, 2) of every member of a block's first cluster with every member of its second, at most ``MOST_PAIRS``.

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
    """Euclidean distances (M,) of pairs (M, 2) of rows."""
    found = np.empty(len(pairs), np.float32)
    for at in range(0, len(pairs), STEP):
        first, second = pairs[at : at + STEP].T
        found[at : at + STEP] = np.linalg.norm(descriptors[first] - descriptors[second], axis=1)
    return found
