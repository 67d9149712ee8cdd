"""Merging with the whole C x C matrix in memory: one blocked pass over the samples, then O(C) a merge."""

import torch
from torch import Tensor

from reid_toolkit.method.clusters import Clusters, total, totals
from reid_toolkit.method.criterion import Criterion, Dispersion
from reid_toolkit.method.exact import ExactDistances

History = list[tuple[int, int, float]]
"""(a, b, cost) a merge, a < b; clusters by number, q = a ∪ b keeping a's."""

FORBIDDEN = -1
"""Stands in the matrix where a pair may not merge: cannot-link, or a cluster that has been merged away."""


def merge_dense(
    distances: ExactDistances,
    clusters: Clusters,
    forbidden: Tensor,
    merges: int,
    criterion: Criterion,
    block: int,
) -> History:
    """Merge stepwise. Ends early when no allowed pair is left.

    ``forbidden`` (M, 2) int64 pairs of clusters; ``block`` the side of the largest temporary matrix.
    """
    links = link_matrix(distances, clusters, criterion.minimum, block)
    within = initial_within(distances, clusters, links, criterion, block)
    links[forbidden[:, 0], forbidden[:, 1]] = FORBIDDEN
    links[forbidden[:, 1], forbidden[:, 0]] = FORBIDDEN
    dispersion = Dispersion(criterion, within, clusters.sizes.double())
    matrix = Matrix(links, dispersion, criterion, block)
    if criterion.minimum and criterion.trade_off:
        return matrix.run(merges, BetweenTotals(distances, clusters, block))
    return matrix.run(merges)


def link_matrix(distances: ExactDistances, clusters: Clusters, minimum: bool, block: int) -> Tensor:
    """Sum (or minimum) of sample distances between each two clusters; symmetric (C, C) int64.

    Samples are taken in the order of their clusters, ``block`` at a time, and each product is reduced to
    clusters before it is added, so that nothing of size N x N is ever held. Only the upper half is computed.
    On the diagonal lies the sum over ordered pairs within the cluster.
    """
    count = len(clusters)
    start = torch.iinfo(torch.int64).max if minimum else 0
    links = torch.full((count, count), start, device=clusters.order.device)
    parts = clusters.order.split(block)
    for i, rows in enumerate(parts):
        for columns in parts[i:]:
            own, other = clusters.labels[rows], clusters.labels[columns]
            values = distances.block(rows, columns)
            values = reduce_rows(reduce_rows(values, own, minimum).T, other, minimum).T
            top, left = slice(int(own[0]), int(own[-1]) + 1), slice(int(other[0]), int(other[-1]) + 1)
            combine(links[top, left], values, minimum)
            if columns is not rows:
                combine(links[left, top], values.T, minimum)
    return links


def combine(target: Tensor, values: Tensor, minimum: bool) -> None:
    """Add ``values`` to ``target``, or lower it to them, in place."""
    if minimum:
        torch.minimum(target, values, out=target)
    else:
        target += values


def reduce_rows(values: Tensor, owners: Tensor, minimum: bool) -> Tensor:
    """Rows of one owner become one; ``owners`` (n,) ascending without gaps; (n, m) -> (owners, m)."""
    count = int(owners[-1] - owners[0]) + 1
    if count == len(values):
        return values
    local = owners - owners[0]
    if minimum:
        start = values.new_full((count, values.shape[1]), torch.iinfo(torch.int64).max)
        return start.scatter_reduce(0, local[:, None].expand_as(values), values, "amin")
    return values.new_zeros(count, values.shape[1]).index_add_(0, local, values)


def initial_within(
    distances: ExactDistances, clusters: Clusters, links: Tensor, criterion: Criterion, block: int
) -> Tensor:
    """Eq. 3's sum over ordered pairs of each cluster, (C,) int64; zeros where the criterion needs none."""
    if not criterion.trade_off:
        return torch.zeros_like(clusters.sizes)
    if not criterion.minimum:
        return links.diagonal().clone()
    every = torch.arange(len(clusters), device=links.device)
    return totals(distances, clusters, every, every, False, block)


class BetweenTotals:
    """Σ dist over a x b while clusters merge: what Eq. 7 needs and minimum linkage's matrix does not hold."""

    def __init__(self, distances: ExactDistances, clusters: Clusters, block: int) -> None:
        self.distances, self.clusters, self.block = distances, clusters, block
        self.merged: dict[int, Tensor] = {}

    def merge(self, a: int, b: int) -> Tensor:
        """The sum between clusters ``a`` and ``b``, () int64, which become one with the number ``a``."""
        rows, columns = (self.merged.pop(c, None) for c in (a, b))
        rows = self.clusters.members(a) if rows is None else rows
        columns = self.clusters.members(b) if columns is None else columns
        self.merged[a] = torch.cat([rows, columns])
        return torch.tensor(total(self.distances, rows, columns, False, self.block), device=rows.device)


class Matrix:
    """The matrix while clusters merge, with each row's cheapest partner to its right.

    A row is *stale* when its cheapest partner was merged away: its ``lowest`` is then only a lower bound of
    its cost, and it is searched again if it ever comes first. (Müllner's generic algorithm, "Modern
    hierarchical, agglomerative clustering algorithms", 2011; it does not need costs to grow.) The first of
    equal minima is taken everywhere, which makes exact ties go to the smallest (a, b).
    """

    def __init__(self, links: Tensor, dispersion: Dispersion, criterion: Criterion, block: int) -> None:
        """``links`` (C, C) int64, overwritten."""
        self.links, self.dispersion, self.criterion = links, dispersion, criterion
        self.sizes = dispersion.sizes
        self.numbers = torch.arange(len(links), device=links.device)
        self.lowest = torch.empty_like(self.sizes)
        self.partner = torch.empty_like(self.numbers)
        self.stale = torch.zeros_like(self.numbers, dtype=torch.bool)
        for rows in self.numbers.split(max(1, block * block // len(links))):
            self.search(rows)

    def costs(self, rows: Tensor) -> Tensor:
        """Cost of merging each of ``rows`` (n,) with every cluster, (n, C) float64; infinite if forbidden."""
        links = self.links[rows]
        size, within = self.sizes[rows, None], self.dispersion.values[rows, None]
        between = self.criterion.between(links.double(), size, self.sizes)
        costs = self.criterion.cost(between, within, self.dispersion.values, size, self.sizes)
        return costs.masked_fill_(links < 0, torch.inf)

    def search(self, rows: Tensor) -> None:
        """Find the cheapest partner to the right of each of ``rows``."""
        costs = self.costs(rows).masked_fill_(self.numbers <= rows[:, None], torch.inf)
        self.lowest[rows], self.partner[rows] = costs.min(dim=1)
        self.stale[rows] = False

    def run(self, merges: int, between_totals: BetweenTotals | None = None) -> History:
        """Merge up to ``merges`` times, one read of the device a step."""
        history: History = []
        while len(history) < merges:
            row = self.lowest.argmin()
            cost, a, b, stale = torch.stack(
                [self.lowest[row], row, self.partner[row], self.stale[row]]
            ).tolist()
            if cost == torch.inf:
                break
            if stale:
                self.search(row[None])
                continue
            self.merge(int(a), int(b), between_totals)
            history.append((int(a), int(b), cost))
        return history

    def merge(self, a: int, b: int, between_totals: BetweenTotals | None) -> None:
        """Make ``a`` stand for a ∪ b and forget ``b``.

        Eq. 6 on sums of whole numbers is Σ_qs = Σ_as + Σ_bs. The diagonal is never read.
        """
        links, minimum = self.links, self.criterion.minimum
        between_total = between_totals.merge(a, b) if between_totals else links[a, b].clone()
        self.dispersion.merge(a, b, between_total)
        row, other = links[a], links[b]
        merged = torch.minimum(row, other) if minimum else row + other
        merged.masked_fill_((row < 0) | (other < 0), FORBIDDEN)
        links[a], links[:, a] = merged, merged
        links[b], links[:, b] = FORBIDDEN, FORBIDDEN
        self.lowest[b] = torch.inf

        left = slice(0, b)  # rows that may have had a or b for a partner
        cost = self.costs(self.numbers[a : a + 1])[0, left]
        cost[a:] = torch.inf  # pairs to the right of a are a's own to remember, below
        lowest, partner, stale = self.lowest[left], self.partner[left], self.stale[left]
        better = (cost < lowest) | (~stale & (cost == lowest) & (a <= partner) & (cost < torch.inf))
        stale |= ((partner == a) | (partner == b)) & ~better & (lowest < torch.inf)
        stale &= ~better
        lowest.copy_(torch.where(better, cost, lowest))
        partner.masked_fill_(better, a)
        self.search(self.numbers[a : a + 1])
