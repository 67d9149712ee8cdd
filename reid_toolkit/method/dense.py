"""Merging with the cost of every pair at hand: each row remembers its cheapest partner, O(C) a merge."""

from typing import Protocol

import torch
from torch import Tensor

from reid_toolkit.method.bans import Bans, forbid
from reid_toolkit.method.clusters import Clusters, History
from reid_toolkit.method.criterion import Criterion, Dispersion
from reid_toolkit.method.links import Links

FORBIDDEN = -1
"""Stands for the link of a pair that may not merge."""


class Source(Protocol):
    """Where rows of the matrix of links come from, while clusters merge."""

    height: int
    """How many rows are best asked for at once, before the first merge."""

    def rows(self, rows: slice, left: int) -> Tensor:
        """Links of clusters ``rows`` with those from ``left`` on, (n, C - left) int64, or FORBIDDEN.

        What lies on the diagonal or belongs to a cluster merged away is not read; nothing is written to it.
        """

    def between(self, a: int, b: int) -> Tensor:
        """Σ dist over a x b, whatever the linkage, for Eq. 7; () int64."""

    def merge(self, a: int, b: int) -> None:
        """Make ``a`` stand for a ∪ b."""


class Members:
    """The samples of clusters that merge."""

    def __init__(self, clusters: Clusters) -> None:
        self.clusters = clusters
        self.merged: dict[int, Tensor] = {}

    def of(self, cluster: int) -> Tensor:
        return self.merged[cluster] if cluster in self.merged else self.clusters.members(cluster)

    def merge(self, a: int, b: int) -> None:
        self.merged[a] = torch.cat([self.of(a), self.of(b)])
        self.merged.pop(b, None)


class Stored:
    """The matrix in memory, upper half. Eq. 6 on sums of whole numbers is Σ_qs = Σ_as + Σ_bs."""

    def __init__(self, links: Links, forbidden: Tensor) -> None:
        """``forbidden`` (M, 2) int64 pairs (a, b), a < b, of clusters."""
        count = len(links.clusters)
        # Nothing below the diagonal is written or read, so that a CPU never has to find memory for that half.
        self.matrix = links.clusters.sizes.new_empty((count, count))
        parts = [links.clusters.span(top, bottom) for top, bottom in links.strips(count, links.block)]
        for i, rows in enumerate(parts):
            for columns in parts[i:]:
                top, left, values = links.rectangle(rows, columns)
                self.matrix[top, left] = values
        self.matrix[forbidden[:, 0], forbidden[:, 1]] = FORBIDDEN
        self.minimum = links.minimum
        self.height = max(1, links.plan.strip // count)
        self.sums = links.sums()
        self.members = Members(links.clusters)

    def rows(self, rows: slice, left: int) -> Tensor:
        if left == rows.start:
            return self.matrix[rows, left:]
        return torch.stack([self.row(row)[left:] for row in range(rows.start, rows.stop)])

    def row(self, row: int) -> Tensor:
        return torch.cat([self.matrix[:row, row], self.matrix[row, row:]])

    def between(self, a: int, b: int) -> Tensor:
        if self.minimum:
            return self.sums.between(self.members.of(a), self.members.of(b))
        return self.matrix[a, b].clone()

    def merge(self, a: int, b: int) -> None:
        row, other = self.row(a), self.row(b)
        merged = torch.minimum(row, other) if self.minimum else row + other
        merged.masked_fill_((row < 0) | (other < 0), FORBIDDEN)
        self.matrix[:a, a], self.matrix[a, a:] = merged[:a], merged[a:]
        self.members.merge(a, b)


class Computed:
    """Rows computed from the samples whenever they are asked for: O(N D) a row, no matrix at all."""

    def __init__(self, links: Links, forbidden: Tensor) -> None:
        self.links = links
        self.labels = links.clusters.labels.clone()
        self.bans = Bans(forbidden, len(links.clusters))
        self.members = Members(links.clusters)
        self.sums = links.sums()
        self.forbidden = forbidden
        self.height = max(1, links.plan.entries // len(links.clusters))

    def rows(self, rows: slice, left: int) -> Tensor:
        if left == rows.start and not self.members.merged:
            panel = self.links.panel(rows.start, rows.stop)
            forbid(panel, left, left, self.forbidden, FORBIDDEN)
            return panel
        return torch.stack([self.row(row)[left:] for row in range(rows.start, rows.stop)])

    def row(self, row: int) -> Tensor:
        every = torch.arange(len(self.labels), device=self.labels.device)
        result = self.links.fan(self.members.of(row), every, self.labels, len(self.links.clusters))
        result[list(self.bans.of(row))] = FORBIDDEN
        return result

    def between(self, a: int, b: int) -> Tensor:
        return self.sums.between(self.members.of(a), self.members.of(b))

    def merge(self, a: int, b: int) -> None:
        self.members.merge(a, b)
        self.bans.merge(a, b)
        self.labels[self.labels == b] = a


class Rows:
    """Each cluster's cheapest partner among those of a higher number, while clusters merge.

    A row is *stale* when its cheapest partner was merged away: its ``lowest`` is then only a lower bound of
    its cost, and it is searched again if it ever comes first. (Müllner's generic algorithm, "Modern
    hierarchical, agglomerative clustering algorithms", 2011; it does not need costs to grow.) The first of
    equal minima is taken everywhere, which makes exact ties go to the smallest (a, b).
    """

    def __init__(self, source: Source, dispersion: Dispersion, criterion: Criterion) -> None:
        self.source, self.dispersion, self.criterion = source, dispersion, criterion
        self.sizes = dispersion.sizes
        self.lowest = torch.empty_like(self.sizes)
        self.partner = torch.empty_like(self.sizes, dtype=torch.int64)
        self.stale = torch.zeros_like(self.sizes, dtype=torch.bool)
        self.gone = torch.zeros_like(self.stale)
        count = len(self.sizes)
        for top in range(0, count, source.height):
            self.search(slice(top, min(top + source.height, count)))

    def costs(self, rows: slice, left: int) -> Tensor:
        """Cost of merging each of ``rows`` with each cluster from ``left`` on; infinite where forbidden."""
        links = self.source.rows(rows, left)
        sizes, values = self.sizes, self.dispersion.values
        between = self.criterion.between(links.double(), sizes[rows, None], sizes[left:])
        costs = self.criterion.cost(between, values[rows, None], values[left:], sizes[rows, None], sizes[left:])
        return costs.masked_fill_((links < 0) | self.gone[left:], torch.inf)

    def search(self, rows: slice) -> None:
        """Find the cheapest partner to the right of each of ``rows``."""
        costs = self.costs(rows, rows.start)
        square = costs[:, : len(costs)]
        square.masked_fill_(torch.ones_like(square, dtype=torch.bool).tril_(), torch.inf)
        self.lowest[rows], partner = costs.min(dim=1)
        self.partner[rows] = partner + rows.start
        self.stale[rows] = False

    def run(self, merges: int) -> History:
        """Merge up to ``merges`` times, one read of the device a step. Ends early when nothing may merge."""
        history: History = []
        while len(history) < merges:
            row = self.lowest.argmin()
            step = torch.stack([self.lowest[row], row, self.partner[row], self.stale[row]])
            cost, *numbers = step.tolist()
            a, b, stale = map(int, numbers)
            if cost == torch.inf:
                break
            if stale:
                self.search(slice(a, a + 1))
                continue
            self.merge(a, b)
            history.append((a, b, cost))
        return history

    def merge(self, a: int, b: int) -> None:
        self.dispersion.merge(a, b, self.source.between(a, b) if self.criterion.trade_off else None)
        self.source.merge(a, b)
        self.gone[b] = True
        costs = self.costs(slice(a, a + 1), 0)[0]
        self.lowest[b] = torch.inf
        self.lowest[a], beyond = costs[a + 1 :].min(dim=0)
        self.partner[a] = beyond + a + 1
        self.stale[a] = False
        self.update(slice(0, a), costs[:a], a, b)
        self.update(slice(a + 1, b), torch.full_like(costs[a + 1 : b], torch.inf), a, b)

    def update(self, left: slice, cost: Tensor, a: int, b: int) -> None:
        """Update rows whose partner may have been ``a`` or ``b``; ``cost`` is theirs with the new a."""
        lowest, partner, stale = self.lowest[left], self.partner[left], self.stale[left]
        better = (cost < lowest) | (~stale & (cost == lowest) & (a <= partner) & (cost < torch.inf))
        stale |= (partner == a) | (partner == b)
        stale &= ~better
        lowest.copy_(torch.where(better, cost, lowest))
        partner.masked_fill_(better, a)
