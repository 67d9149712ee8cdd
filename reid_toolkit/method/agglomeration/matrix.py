"""The matrix of links between clusters that merge: held in memory, or computed a row at a time."""

from typing import Protocol

import torch
from torch import Tensor

from reid_toolkit.method.agglomeration.cannot_link import Bans, forbid
from reid_toolkit.method.agglomeration.clusters import Members
from reid_toolkit.method.agglomeration.linkage import Links

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
