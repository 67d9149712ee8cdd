"""Merges with the cost of every pair. Each row remembers its cheapest partner, so a merge takes O(C)."""

import torch
from torch import Tensor

from reid_toolkit.method.agglomeration.clusters import History
from reid_toolkit.method.agglomeration.cost import Criterion, Dispersion
from reid_toolkit.method.agglomeration.matrix import Source


class NearestPartners:
    """Keeps, for each cluster, its cheapest partner of a higher number while clusters merge.

    A row is *stale* if its cheapest partner was merged away. Its ``lowest`` is then only a lower bound of its cost, and
    the row is searched again when it comes first. (This is Müllner's generic algorithm, "Modern hierarchical,
    agglomerative clustering algorithms", 2011. It works even if costs shrink.) Every search takes the first of equal
    minima, so exact ties go to the smallest (a, b).
    """

    def __init__(self, source: Source, dispersion: Dispersion, criterion: Criterion) -> None:
        """Searches every row. Every merge updates ``dispersion``."""
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
        """Return the cost of merging each of ``rows`` with each of clusters left..C-1; infinite if forbidden."""
        links = self.source.rows(rows, left)
        sizes, values = self.sizes, self.dispersion.values
        between = self.criterion.between(links.double(), sizes[rows, None], sizes[left:])
        costs = self.criterion.cost(between, values[rows, None], values[left:], sizes[rows, None], sizes[left:])
        return costs.masked_fill_((links < 0) | self.gone[left:], torch.inf)

    def search(self, rows: slice) -> None:
        """Find the cheapest partner to the right of each of ``rows``."""
        costs = self.costs(rows, rows.start)
        diagonal = costs[:, : len(costs)]
        diagonal.masked_fill_(torch.ones_like(diagonal, dtype=torch.bool).tril_(), torch.inf)
        self.lowest[rows], partner = costs.min(dim=1)
        self.partner[rows] = partner + rows.start
        self.stale[rows] = False

    def run(self, merges: int) -> History:
        """Merge up to ``merges`` times, with one read from the device per merge. Ends early if no pair may merge."""
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
        """Merge: ``a`` now means a ∪ b. Updates every row."""
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

    def update(self, rows: slice, cost: Tensor, a: int, b: int) -> None:
        """Update ``rows`` after a merge of ``a`` and ``b``; ``cost`` is each row's cost with the new a."""
        lowest, partner, stale = self.lowest[rows], self.partner[rows], self.stale[rows]
        better = (cost < lowest) | (~stale & (cost == lowest) & (a <= partner) & (cost < torch.inf))
        stale |= (partner == a) | (partner == b)
        stale &= ~better
        lowest.copy_(torch.where(better, cost, lowest))
        partner.masked_fill_(better, a)
