"""Merging equal samples: their pairs cost nothing, come first, and can be too many to list."""

from itertools import count

import torch
from torch import Tensor

from reid_toolkit.method.bans import Bans
from reid_toolkit.method.clusters import Clusters, History
from reid_toolkit.method.criterion import Criterion
from reid_toolkit.method.exact import ExactDistances


def merge_duplicates(
    distances: ExactDistances,
    clusters: Clusters,
    forbidden: Tensor,
    merges: int,
    criterion: Criterion,
    block: int,
) -> History:
    """The merges that cost 0, as stepwise merging does them, up to ``merges``.

    Only clusters of one point, all of the same, are at cost 0 to each other (and stay so when they merge), so
    groups of them do not mix; within one, the smallest a takes every b it may, in order, before the next a
    does. n equal samples thus take n merges instead of n² kept pairs.
    """
    points = point_of_cluster(distances, clusters, block)
    single = points >= 0
    if criterion.size_weight or (criterion.minimum and not criterion.trade_off and not bool(single.all())):
        return []  # then other pairs cost as little, and merges of different groups interleave
    shared = single & (torch.bincount(points.clamp(min=0))[points.clamp(min=0)] > 1)
    groups: dict[int, list[int]] = {}
    numbers = shared.nonzero().flatten()
    for cluster, point in zip(numbers.tolist(), points[numbers].tolist(), strict=True):
        groups.setdefault(point, []).append(cluster)
    bans = Bans(forbidden, len(clusters))
    history = [pair for group in groups.values() for pair in merge_group(group, bans)]
    return sorted(history)[:merges]


def merge_group(group: list[int], bans: Bans) -> History:
    """Merge clusters at distance 0 of one another; ``group`` ascending."""
    history: History = []
    while group:
        a, *others = group
        group = []
        for b in others:
            if b in bans.of(a):
                group.append(b)
            else:
                bans.merge(a, b)
                history.append((a, b, 0.0))
    return history


def point_of_cluster(distances: ExactDistances, clusters: Clusters, block: int) -> Tensor:
    """A number for the point all samples of a cluster lie on, equal for equal points, else -1; (C,) int64."""
    labels = clusters.labels
    samples = torch.arange(len(labels), device=labels.device)
    for seed in count():
        _, points = hashes(distances, samples, block, seed).unique(return_inverse=True)
        first = torch.full_like(samples, len(samples))
        first.scatter_reduce_(0, points, samples, "amin")
        twins = samples[first[points] != samples]
        # Equal hashes are checked, sample by sample; a collision (one in 10^19 pairs) takes another hash.
        if all(
            torch.equal(distances.rounded(part), distances.rounded(first[points[part]])) for part in twins.split(block)
        ):
            break
    start = torch.full_like(clusters.sizes, torch.iinfo(torch.int64).max)
    low = start.scatter_reduce(0, labels, points, "amin")
    high = torch.zeros_like(clusters.sizes).scatter_reduce(0, labels, points, "amax")
    return torch.where(low == high, low, -1)


def hashes(distances: ExactDistances, samples: Tensor, block: int, seed: int) -> Tensor:
    """A random sum of each rounded sample's coordinates, int64 with wrap-around; (N,)."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randint(-(2**63), 2**63 - 1, (distances.features.shape[1],), generator=generator)
    weights = weights.to(samples.device)
    return torch.cat([(distances.rounded(part).long() * weights).sum(dim=1) for part in samples.split(block)])
