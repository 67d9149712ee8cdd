"""Links between clusters: the sum, or the minimum, of their sample distances, in whole numbers."""

from bisect import bisect_right
from collections.abc import Iterator

import torch
from torch import Tensor

from reid_toolkit.method.agglomeration.clusters import Clusters
from reid_toolkit.method.agglomeration.distances import ExactDistances
from reid_toolkit.method.agglomeration.memory import Plan

SMALL = 1024
"""Pairs of clusters with at most this many sample pairs are computed together; larger pairs by matrix products."""

LARGEST = torch.iinfo(torch.int64).max


class ClusterLinkage:
    """Computes links between clusters: Σ dist over a x b, or min dist for minimum linkage."""

    def __init__(self, distances: ExactDistances, clusters: Clusters, minimum: bool, plan: Plan) -> None:
        """``minimum`` chooses the linkage; ``plan`` says how large a block of distances may be."""
        self.distances, self.clusters, self.minimum, self.plan = distances, clusters, minimum, plan
        self.block_size = plan.block_size

    def sums(self) -> "ClusterLinkage":
        """Return the same with average linkage. Eq. 3 and 7 need sums even if links are minima."""
        return ClusterLinkage(self.distances, self.clusters, False, self.plan)

    def cpu(self) -> "ClusterLinkage":
        """Return the same, computed by the CPU."""
        return ClusterLinkage(self.distances.host, self.clusters.cpu(), self.minimum, self.plan)

    def between(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the link of one group of samples (n,) with another (m,); () int64."""
        parts = [
            self.reduce(self.distances.block(part, other).flatten(), 0)
            for part in rows.split(self.block_size)
            for other in columns.split(self.block_size)
        ]
        return self.reduce(torch.stack(parts), 0)

    def to_groups(self, rows: Tensor, columns: Tensor, owners: Tensor, count: int) -> Tensor:
        """Return the links of the samples ``rows`` with ``count`` groups of samples; (count,) int64.

        Sample ``columns[i]`` is in group ``owners[i]``. A group without samples has link 0, or the largest int64 for
        minimum linkage.
        """
        size = self.block_size
        result = owners.new_full((count,), LARGEST if self.minimum else 0)
        width = max(size, size * size // max(len(rows), self.distances.features.shape[1]))
        for own, group in zip(columns.split(width), owners.split(width), strict=True):
            for part in rows.split(size):
                values = self.reduce(self.distances.block(part, own), 0)
                if self.minimum:
                    result.scatter_reduce_(0, group, values, "amin")
                else:
                    result.index_add_(0, group, values)
        return result

    def reduce(self, values: Tensor, dimension: int) -> Tensor:
        """Return the sum of ``values`` along a dimension, or their minimum."""
        return values.amin(dimension) if self.minimum else values.sum(dimension)

    def row_ranges(self, most_clusters: int, most_samples: int) -> Iterator[tuple[int, int]]:
        """Divide the clusters into ranges (top, bottom) that respect both limits.

        A cluster with more than ``most_samples`` samples is a range of its own.
        """
        starts = self.clusters.starts.tolist()
        top = 0
        while top < len(self.clusters):
            bottom = bisect_right(starts, starts[top] + most_samples) - 1
            bottom = max(top + 1, min(bottom, top + most_clusters))
            yield top, bottom
            top = bottom

    def row_blocks(self) -> Iterator[tuple[int, Tensor]]:
        """Yield the upper half of the matrix of links, a few rows at a time.

        Yields (top, rows), where ``rows`` (n, C - top) int64 belong to clusters top..top+n-1 and column j to cluster
        top + j. A pair of two of these n clusters appears on both sides of the diagonal. The diagonal holds the link
        over ordered pairs within the cluster. Every product of samples is reduced to clusters at once, so no N x N
        array ever exists.
        """
        height = max(1, self.plan.entries // len(self.clusters))
        for top, bottom in self.row_ranges(height, self.block_size):
            yield top, self.rows(top, bottom)

    def rows(self, top: int, bottom: int) -> Tensor:
        """Return the links of clusters top..bottom-1 with clusters top..C-1; (bottom - top, C - top) int64."""
        rows, columns = self.clusters.span(top, bottom), self.clusters.span(top, len(self.clusters))
        return self.block(rows, columns)[2]

    def own(self) -> Tensor:
        """Return the link of each cluster with itself, over ordered pairs; (C,) int64."""
        clusters = self.clusters
        result = torch.zeros_like(clusters.sizes)
        starts = clusters.starts.tolist()
        for top, bottom in self.row_ranges(SMALL, min(self.block_size, SMALL // 4)):
            samples = clusters.order[starts[top] : starts[bottom]]
            if bottom == top + 1:
                result[top] = self.between(samples, samples)
            elif len(samples) > bottom - top:
                result[top:bottom] = self.product(samples, samples)[2].diagonal()
        return result

    def block(self, rows: Tensor, columns: Tensor) -> tuple[slice, slice, Tensor]:
        """Return the links of the clusters of ``rows`` with those of ``columns``, and which clusters these are.

        ``rows`` and ``columns`` are samples of whole clusters, parts of ``clusters.order`` of any length.
        """
        if max(len(rows), len(columns)) <= self.block_size:
            return self.product(rows, columns)
        of_rows, of_columns = self.owners(rows), self.owners(columns)
        start = LARGEST if self.minimum else 0
        shape = of_rows.stop - of_rows.start, of_columns.stop - of_columns.start
        result = self.clusters.sizes.new_full(shape, start)
        for other in columns.split(self.block_size):
            for own in rows.split(self.block_size):
                top, left, values = self.product(own, other)
                top = slice(top.start - of_rows.start, top.stop - of_rows.start)
                left = slice(left.start - of_columns.start, left.stop - of_columns.start)
                self.collect(result[top, left], values)
        return of_rows, of_columns, result

    def owners(self, samples: Tensor) -> slice:
        """Return the clusters of ``samples``, a part of ``clusters.order``."""
        labels = self.clusters.labels
        return slice(int(labels[samples[0]]), int(labels[samples[-1]]) + 1)

    def product(self, rows: Tensor, columns: Tensor) -> tuple[slice, slice, Tensor]:
        """Do :meth:`block` by a single matrix product. Clusters may be cut off at the ends of either part."""
        own, other = self.clusters.labels[rows], self.clusters.labels[columns]
        values = self.distances.block(rows, columns)
        values = reduce_rows(reduce_rows(values, own, self.minimum).T, other, self.minimum).T
        return self.owners(rows), self.owners(columns), values

    def collect(self, target: Tensor, values: Tensor) -> None:
        """Add ``values`` to ``target``, or lower ``target`` to them for minimum linkage."""
        if self.minimum:
            torch.minimum(target, values, out=target)
        else:
            target += values

    def pairs(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the links of the pairs of clusters ``(a[p], b[p])``; (P,), (P,) -> (P,) int64."""
        clusters = self.clusters
        counts = clusters.sizes[a] * clusters.sizes[b]
        result = torch.empty_like(counts)
        for p in (counts > SMALL).nonzero().flatten().tolist():
            result[p] = self.between(clusters.members(int(a[p])), clusters.members(int(b[p])))
        small = (counts <= SMALL).nonzero().flatten()
        room = max(self.block_size * self.block_size // self.distances.features.shape[1], SMALL)
        group = (counts[small].cumsum(0) - 1) // room
        for chosen in small.split(torch.bincount(group).tolist()):
            result[chosen] = self.gathered(a[chosen], b[chosen])
        return result

    def gathered(self, a: Tensor, b: Tensor) -> Tensor:
        """Do :meth:`pairs` with all sample pairs in one array."""
        clusters = self.clusters
        width = clusters.sizes[b]
        counts = clusters.sizes[a] * width
        pair = torch.repeat_interleave(torch.arange(len(a), device=a.device), counts)
        place = torch.arange(len(pair), device=a.device) - (counts.cumsum(0) - counts)[pair]
        rows = clusters.order[clusters.starts[a][pair] + place // width[pair]]
        columns = clusters.order[clusters.starts[b][pair] + place % width[pair]]
        values = self.distances.paired(rows, columns)
        if self.minimum:
            return torch.full_like(counts, LARGEST).scatter_reduce(0, pair, values, "amin")
        return torch.zeros_like(counts).index_add_(0, pair, values)


def reduce_rows(values: Tensor, owners: Tensor, minimum: bool) -> Tensor:
    """Sum the rows of each owner, or take their minimum; (n, m) -> (owners, m).

    ``owners`` (n,) ascend without gaps.
    """
    count = int(owners[-1] - owners[0]) + 1
    if count == len(values):
        return values
    local = owners - owners[0]
    if minimum:
        start = values.new_full((count, values.shape[1]), LARGEST)
        return start.scatter_reduce(0, local[:, None].expand_as(values), values, "amin")
    return values.new_zeros(count, values.shape[1]).index_add_(0, local, values)
