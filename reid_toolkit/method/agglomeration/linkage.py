"""What lies between clusters, in whole numbers: the sum (or the minimum) of their sample distances."""

from bisect import bisect_right
from collections.abc import Iterator

import torch
from torch import Tensor

from reid_toolkit.method.agglomeration.clusters import Clusters
from reid_toolkit.method.agglomeration.distances import ExactDistances
from reid_toolkit.method.agglomeration.memory import Plan

SMALL = 1024
"""Pairs of clusters with at most this many sample pairs are gathered together; larger ones are products."""

LARGEST = torch.iinfo(torch.int64).max


class Links:
    """Links between the clusters of one numbering: Σ dist over a x b, or min dist for minimum linkage."""

    def __init__(self, distances: ExactDistances, clusters: Clusters, minimum: bool, plan: Plan) -> None:
        self.distances, self.clusters, self.minimum, self.plan = distances, clusters, minimum, plan
        self.block = plan.block

    def sums(self) -> "Links":
        """The same for average linkage: Eq. 3 and 7 need sums even where links are minima."""
        return Links(self.distances, self.clusters, False, self.plan)

    def cpu(self) -> "Links":
        """The same, computed by the CPU."""
        return Links(self.distances.host, self.clusters.cpu(), self.minimum, self.plan)

    def between(self, rows: Tensor, columns: Tensor) -> Tensor:
        """The link of one group of samples (n,) with another (m,); () int64."""
        parts = [
            self.reduce(self.distances.block(part, other).flatten(), 0)
            for part in rows.split(self.block)
            for other in columns.split(self.block)
        ]
        return self.reduce(torch.stack(parts), 0)

    def fan(self, rows: Tensor, columns: Tensor, owners: Tensor, count: int) -> Tensor:
        """Links of samples ``rows`` with ``count`` groups, ``columns[i]`` being in group ``owners[i]``."""
        result = owners.new_full((count,), LARGEST if self.minimum else 0)
        width = max(self.block, self.block * self.block // max(len(rows), self.distances.features.shape[1]))
        for own, group in zip(columns.split(width), owners.split(width), strict=True):
            for part in rows.split(self.block):
                values = self.reduce(self.distances.block(part, own), 0)
                if self.minimum:
                    result.scatter_reduce_(0, group, values, "amin")
                else:
                    result.index_add_(0, group, values)
        return result

    def reduce(self, values: Tensor, dimension: int) -> Tensor:
        return values.amin(dimension) if self.minimum else values.sum(dimension)

    def strips(self, height: int, width: int) -> Iterator[tuple[int, int]]:
        """Ranges (top, bottom) of at most ``height`` clusters with at most ``width`` samples, or of one."""
        starts = self.clusters.starts.tolist()
        top = 0
        while top < len(self.clusters):
            bottom = bisect_right(starts, starts[top] + width) - 1
            bottom = max(top + 1, min(bottom, top + height))
            yield top, bottom
            top = bottom

    def panels(self) -> Iterator[tuple[int, Tensor]]:
        """Rows of the matrix of links, upper half: (top, (n, C - top) int64) for clusters top..top+n-1.

        Column j belongs to cluster top + j. A pair within a panel appears on both sides of its diagonal; on
        the diagonal lies the link over ordered pairs within the cluster. Samples are taken ``block`` at a
        time in the order of their clusters, and each product is reduced to clusters at once, so that nothing
        of size N x N is ever held.
        """
        height = max(1, self.plan.entries // len(self.clusters))
        for top, bottom in self.strips(height, self.block):
            yield top, self.panel(top, bottom)

    def own(self) -> Tensor:
        """The link of each cluster with itself, over ordered pairs; (C,) int64."""
        clusters = self.clusters
        result = torch.zeros_like(clusters.sizes)
        starts = clusters.starts.tolist()
        for top, bottom in self.strips(SMALL, min(self.block, SMALL // 4)):
            samples = clusters.order[starts[top] : starts[bottom]]
            if bottom == top + 1:
                result[top] = self.between(samples, samples)
            elif len(samples) > bottom - top:
                result[top:bottom] = self.product(samples, samples)[2].diagonal()
        return result

    def panel(self, top: int, bottom: int) -> Tensor:
        rows, columns = self.clusters.span(top, bottom), self.clusters.span(top, len(self.clusters))
        return self.rectangle(rows, columns)[2]

    def rectangle(self, rows: Tensor, columns: Tensor) -> tuple[slice, slice, Tensor]:
        """:meth:`product` of any size, a block at a time; ``rows`` and ``columns`` are spans of whole clusters."""
        if max(len(rows), len(columns)) <= self.block:
            return self.product(rows, columns)
        tall, wide = self.owners(rows), self.owners(columns)
        result = self.blank(tall.stop - tall.start, wide.stop - wide.start)
        for other in columns.split(self.block):
            for own in rows.split(self.block):
                top, left, values = self.product(own, other)
                top = slice(top.start - tall.start, top.stop - tall.start)
                left = slice(left.start - wide.start, left.stop - wide.start)
                self.collect(result[top, left], values)
        return tall, wide, result

    def owners(self, samples: Tensor) -> slice:
        """The clusters of a part of ``clusters.order``."""
        labels = self.clusters.labels
        return slice(int(labels[samples[0]]), int(labels[samples[-1]]) + 1)

    def blank(self, height: int, width: int) -> Tensor:
        """Links of no samples, for :meth:`collect` to start from."""
        start = LARGEST if self.minimum else 0
        return self.clusters.sizes.new_full((height, width), start)

    def product(self, rows: Tensor, columns: Tensor) -> tuple[slice, slice, Tensor]:
        """Links of samples ``rows`` with ``columns``, parts of ``clusters.order``, and whose they are."""
        own, other = self.clusters.labels[rows], self.clusters.labels[columns]
        values = self.distances.block(rows, columns)
        values = reduce_rows(reduce_rows(values, own, self.minimum).T, other, self.minimum).T
        return self.owners(rows), self.owners(columns), values

    def collect(self, target: Tensor, values: Tensor) -> None:
        """Add ``values`` to ``target``, or lower it to them."""
        if self.minimum:
            torch.minimum(target, values, out=target)
        else:
            target += values

    def pairs(self, a: Tensor, b: Tensor) -> Tensor:
        """The links of pairs of clusters ``(a[p], b[p])``; (P,), (P,) -> (P,) int64."""
        clusters = self.clusters
        counts = clusters.sizes[a] * clusters.sizes[b]
        result = torch.empty_like(counts)
        for p in (counts > SMALL).nonzero().flatten().tolist():
            result[p] = self.between(clusters.members(int(a[p])), clusters.members(int(b[p])))
        small = (counts <= SMALL).nonzero().flatten()
        room = max(self.block * self.block // self.distances.features.shape[1], SMALL)
        group = (counts[small].cumsum(0) - 1) // room
        for chosen in small.split(torch.bincount(group).tolist()):
            result[chosen] = self.gathered(a[chosen], b[chosen])
        return result

    def gathered(self, a: Tensor, b: Tensor) -> Tensor:
        """:meth:`pairs` with all sample pairs laid out at once."""
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
    """Rows of one owner become one; ``owners`` (n,) ascending without gaps; (n, m) -> (owners, m)."""
    count = int(owners[-1] - owners[0]) + 1
    if count == len(values):
        return values
    local = owners - owners[0]
    if minimum:
        start = values.new_full((count, values.shape[1]), LARGEST)
        return start.scatter_reduce(0, local[:, None].expand_as(values), values, "amin")
    return values.new_zeros(count, values.shape[1]).index_add_(0, local, values)
