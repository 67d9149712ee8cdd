"""Merging with the cost of every pair at hand: each row remembers its cheapest partner, O(C) a merge."""

import torch
from torch import Tensor

from reid_toolkit.method.agglomeration.clusters import History
from reid_toolkit.method.agglomeration.cost import Criterion, Dispersion
from reid_toolkit.method.agglomeration.matrix import Source


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
