"""Clusters of samples, numbered by their smallest member, and exact totals of distances between them."""

import torch
from torch import Tensor

from reid_toolkit.method.exact import ExactDistances

SMALL = 1024
"""Pairs of clusters with at most this many sample pairs are gathered together; larger ones are products."""


class Clusters:
    """C clusters of N samples; cluster c holds samples ``order[starts[c] : starts[c + 1]]``, ascending."""

    def __init__(self, labels: Tensor) -> None:
        """``labels`` (N,) int64, any numbers; clusters are renumbered by smallest member index."""
        _, inverse = labels.unique(return_inverse=True)
        count = int(inverse.max()) + 1
        positions = torch.arange(len(labels), device=labels.device)
        first = torch.full((count,), len(labels), device=labels.device)
        first = first.scatter_reduce(0, inverse, positions, "amin")
        rank = torch.empty_like(first)
        rank[first.argsort()] = torch.arange(count, device=labels.device)
        self.labels = rank[inverse]
        """(N,) int64 in 0..C-1."""
        self.first = first.sort().values
        """(C,) int64, the smallest member of each, ascending."""
        self.sizes = torch.bincount(self.labels, minlength=count)
        self.order = self.labels.argsort(stable=True)
        self.starts = torch.cat([self.sizes.new_zeros(1), self.sizes.cumsum(0)])

    def __len__(self) -> int:
        return len(self.sizes)

    def members(self, cluster: int) -> Tensor:
        """Sample indices of one cluster, ascending."""
        return self.order[int(self.starts[cluster]) : int(self.starts[cluster + 1])]


def total(distances: ExactDistances, a: Tensor, b: Tensor, minimum: bool, block: int) -> int:
    """Sum (or minimum) of the whole distances between samples ``a`` (n,) and ``b`` (m,)."""
    parts = [
        reduce(distances.block(rows, columns).flatten(), minimum)
        for rows in a.split(block)
        for columns in b.split(block)
    ]
    return int(reduce(torch.stack(parts), minimum))


def reduce(values: Tensor, minimum: bool) -> Tensor:
    return values.min() if minimum else values.sum()


def totals(
    distances: ExactDistances, clusters: Clusters, a: Tensor, b: Tensor, minimum: bool, block: int
) -> Tensor:
    """:func:`total` for each pair of clusters ``(a[p], b[p])``; (P,), (P,) -> (P,) int64.

    Holds about as much memory as a ``block`` x ``block`` product does.
    """
    counts = clusters.sizes[a] * clusters.sizes[b]
    result = torch.empty_like(counts)
    for p in (counts > SMALL).nonzero().flatten().tolist():
        result[p] = total(distances, clusters.members(int(a[p])), clusters.members(int(b[p])), minimum, block)
    small = (counts <= SMALL).nonzero().flatten()
    room = max(block * block // distances.features.shape[1], SMALL)
    group = (counts[small].cumsum(0) - 1) // room
    for chosen in small.split(torch.bincount(group).tolist()):
        result[chosen] = gathered_totals(distances, clusters, a[chosen], b[chosen], minimum)
    return result


def gathered_totals(
    distances: ExactDistances, clusters: Clusters, a: Tensor, b: Tensor, minimum: bool
) -> Tensor:
    """:func:`totals` with all sample pairs laid out at once."""
    width = clusters.sizes[b]
    counts = clusters.sizes[a] * width
    pair = torch.repeat_interleave(torch.arange(len(a), device=a.device), counts)
    place = torch.arange(len(pair), device=a.device) - (counts.cumsum(0) - counts)[pair]
    rows = clusters.order[clusters.starts[a][pair] + place // width[pair]]
    columns = clusters.order[clusters.starts[b][pair] + place % width[pair]]
    values = distances.paired(rows, columns)
    if minimum:
        start = torch.full_like(counts, torch.iinfo(torch.int64).max)
        return start.scatter_reduce(0, pair, values, "amin")
    return torch.zeros_like(counts).index_add_(0, pair, values)
