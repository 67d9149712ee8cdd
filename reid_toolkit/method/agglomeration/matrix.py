"""The matrix of links between clusters while they merge: kept in memory, or computed row by row."""

from typing import Protocol

import torch
from torch import Tensor

from reid_toolkit.method.agglomeration.cannot_link import CannotLink, forbid
from reid_toolkit.method.agglomeration.clusters import Members
from reid_toolkit.method.agglomeration.linkage import ClusterLinkage

FORBIDDEN = -1
"""The link of a pair that may not merge."""


class Source(Protocol):
    """Gives rows of the matrix of links while clusters merge."""

    height: int
    """How many rows to read at a time before the first merge."""

    def rows(self, rows: slice, left: int) -> Tensor:
        """Return the links of clusters ``rows`` with clusters left..C-1, or FORBIDDEN; (n, C - left) int64.

        Callers must not write to the result. They ignore the diagonal and the entries of clusters that were merged
        away, which have no meaning.
        """

    def between(self, a: int, b: int) -> Tensor:
        """Return Σ dist over a x b for Eq. 7, with any linkage; () int64."""

    def merge(self, a: int, b: int) -> None:
        """Record the merge: ``a`` now means a ∪ b."""


class DenseMatrix:
    """The upper half of the matrix, in memory. On sums of whole numbers, Eq. 6 is Σ_qs = Σ_as + Σ_bs."""

    def __init__(self, linkage: ClusterLinkage, forbidden: Tensor) -> None:
        """Computes every link. ``forbidden`` (M, 2) int64, pairs (a, b), a < b, of clusters."""
        count = len(linkage.clusters)
        # Nothing below the diagonal is read or written, so a CPU needs no memory for that half.
        self.matrix = linkage.clusters.sizes.new_empty((count, count))
        parts = [linkage.clusters.span(*ends) for ends in linkage.row_ranges(count, linkage.block_size)]
        for i, rows in enumerate(parts):
            for columns in parts[i:]:
                top, left, values = linkage.block(rows, columns)
                self.matrix[top, left] = values
        self.matrix[forbidden[:, 0], forbidden[:, 1]] = FORBIDDEN
        self.minimum = linkage.minimum
        self.height = max(1, linkage.plan.scanned // count)
        self.sums = linkage.sums()
        self.members = Members(linkage.clusters)

    def rows(self, rows: slice, left: int) -> Tensor:
        """See :class:`Source`."""
        if left == rows.start:
            return self.matrix[rows, left:]
        return torch.stack([self.row(row)[left:] for row in range(rows.start, rows.stop)])

    def row(self, row: int) -> Tensor:
        """Return one whole row, read from the upper half; (C,) int64."""
        return torch.cat([self.matrix[:row, row], self.matrix[row, row:]])

    def between(self, a: int, b: int) -> Tensor:
        """See :class:`Source`."""
        if self.minimum:
            return self.sums.between(self.members.of(a), self.members.of(b))
        return self.matrix[a, b].clone()

    def merge(self, a: int, b: int) -> None:
        """See :class:`Source`."""
        row, other = self.row(a), self.row(b)
        merged = torch.minimum(row, other) if self.minimum else row + other
        merged.masked_fill_((row < 0) | (other < 0), FORBIDDEN)
        self.matrix[:a, a], self.matrix[a, a:] = merged[:a], merged[a:]
        self.members.merge(a, b)


class RecomputedRows:
    """Computes each row from the samples at every read: O(N D) per row, without a matrix in memory."""

    def __init__(self, linkage: ClusterLinkage, forbidden: Tensor) -> None:
        """``forbidden`` (M, 2) int64, sorted pairs (a, b), a < b, of clusters."""
        self.linkage = linkage
        self.labels = linkage.clusters.labels.clone()
        self.cannot_link = CannotLink(forbidden, len(linkage.clusters))
        self.members = Members(linkage.clusters)
        self.sums = linkage.sums()
        self.forbidden = forbidden
        self.height = max(1, linkage.plan.entries // len(linkage.clusters))

    def rows(self, rows: slice, left: int) -> Tensor:
        """See :class:`Source`."""
        if left == rows.start and not self.members.merged:
            block = self.linkage.rows(rows.start, rows.stop)
            forbid(block, left, left, self.forbidden, FORBIDDEN)
            return block
        return torch.stack([self.row(row)[left:] for row in range(rows.start, rows.stop)])

    def row(self, row: int) -> Tensor:
        """Return one whole row; (C,) int64."""
        every = torch.arange(len(self.labels), device=self.labels.device)
        result = self.linkage.to_groups(self.members.of(row), every, self.labels, len(self.linkage.clusters))
        result[list(self.cannot_link.of(row))] = FORBIDDEN
        return result

    def between(self, a: int, b: int) -> Tensor:
        """See :class:`Source`."""
        return self.sums.between(self.members.of(a), self.members.of(b))

    def merge(self, a: int, b: int) -> None:
        """See :class:`Source`."""
        self.members.merge(a, b)
        self.cannot_link.merge(a, b)
        self.labels[self.labels == b] = a
