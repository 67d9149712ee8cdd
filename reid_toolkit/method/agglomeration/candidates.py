"""Finds the near pairs among all C² pairs of clusters, without an array of that size."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from reid_toolkit.method.agglomeration.cannot_link import forbid
from reid_toolkit.method.agglomeration.cost import Criterion, Dispersion
from reid_toolkit.method.agglomeration.distances import FEATURE_BITS
from reid_toolkit.method.agglomeration.linkage import ClusterLinkage

UNIT_ROUNDOFF = 2.0**-24
"""float32's relative rounding error."""

LARGE = 1e30
"""Costs beyond this many times the largest norm are not compared in float32."""


class Edges(NamedTuple):
    """Pairs of clusters a < b, (P,) int64 each, with their exact links."""

    a: Tensor
    b: Tensor
    links: Tensor


def with_margin(threshold: float) -> float:
    """Return the largest lower bound (Criterion.lower_bound) of a pair that is kept at this threshold.

    The margin covers the rounding of quotients. Without it, two links could both be above the threshold and their mean
    at it.
    """
    return threshold * (1 + 2.0**-48)


class MeanScreen:
    """Bounds Eq. 4 by the mean μ of each cluster and the mean squared distance v of its samples to it.

    ‖μ_a - μ_b‖ ≤ d_ab ≤ √(‖μ_a - μ_b‖² + v_a + v_b). For squared distances, the right side without its root is
    d_ab itself. Products are float32, C x C instead of N x N. ``self.error`` bounds the effect of rounding on a
    squared distance, and every bound is widened by it. The proofs are in docs/method.md.

    Lengths are in units of ``scale``, a power of two near the largest norm, so that float32 cannot underflow.
    """

    def __init__(
        self, linkage: ClusterLinkage, dispersion: Dispersion, criterion: Criterion, forbidden: Tensor
    ) -> None:
        """``forbidden`` (M, 2) int64, sorted pairs of clusters. For average linkage only."""
        self.linkage, self.dispersion, self.criterion, self.forbidden = linkage, dispersion, criterion, forbidden
        self.squared = linkage.distances.squared
        length = math.ldexp(linkage.distances.grid, FEATURE_BITS)
        self.scale = length**2 if self.squared else length
        self.means, self.spread = means_and_spread(linkage)
        parts = self.means.split(linkage.block_size)
        self.norms = torch.cat([part.double().square().sum(dim=1) for part in parts])
        largest = float(self.norms.max())
        rounding = 64 * UNIT_ROUNDOFF * (largest + float(self.spread.max()))
        self.error = 2 * product_error(self.means.shape[1]) * largest + rounding
        self.slack = 4 * UNIT_ROUNDOFF * math.sqrt(largest)  # of a distance of means, for having rounded the means

    def blocks(self, norms: Tensor, spread: Tensor | None) -> Iterator[tuple[int, int, Tensor]]:
        """Yield the upper half of the matrix of ‖μ_a - μ_b‖² (+ v_a + v_b), block by block.

        Yields (top, left, block), where the first entry of ``block`` is the pair (top, left). Entries on and
        below the diagonal and those of cannot-link pairs are infinite. All blocks use the same memory.
        """
        side = (norms if spread is None else norms + spread).float()
        size, count = 2 * self.linkage.block_size, len(side)
        space = side.new_empty(min(size, count) ** 2)
        for top in range(0, count, size):
            rows = self.means[top : top + size]
            for left in range(top, count, size):
                columns = self.means[left : left + size]
                block = space[: len(rows) * len(columns)].view(len(rows), len(columns))
                torch.mm(rows, columns.T, out=block)  # (n, D) @ (D, m) -> (n, m)
                block.mul_(-2.0).add_(side[left : left + size]).add_(side[top : top + size, None])
                if left == top:
                    block.masked_fill_(torch.ones_like(block, dtype=torch.bool).tril_(), torch.inf)
                forbid(block, top, left, self.forbidden, torch.inf)
                yield top, left, block

    def lowest(self) -> Tensor:
        """Return for each cluster an upper bound of the cost of its cheapest merge with a higher number; (C,)
        float64."""
        own = own_terms(self.dispersion, self.criterion) / self.scale
        terms = own.clamp(max=LARGE).float()
        lowest = torch.full_like(terms, torch.inf)
        for top, left, block in self.blocks(self.norms, self.spread):
            block.add_(self.error)
            if not self.squared:
                block.clamp_(min=0).sqrt_()
            smallest = block.add_(terms[left : left + block.shape[1]]).amin(dim=1)
            part = lowest[top : top + len(block)]
            torch.minimum(part, smallest, out=part)
        bounds = lowest.double() + own + (own.max() - LARGE).clamp(min=0)
        # float32 rounded a sum of two terms, and distances are rounded up to whole numbers.
        return bounds * (1 + 64 * UNIT_ROUNDOFF) * self.scale + self.linkage.distances.unit

    def edges(self, threshold: float, room: int) -> Edges | None:
        """Return all pairs whose lower bound is within the threshold, or None if there may be more than ``room``."""
        limit = min(with_margin(threshold) / self.scale, LARGE)
        if not self.squared:
            limit = (limit + self.slack) ** 2
        # Kept finite, so that infinite entries are left out.
        limit = min((limit + self.error) * (1 + 4 * UNIT_ROUNDOFF), LARGE)
        norms = self.norms.masked_fill(exceeds(self.dispersion, self.criterion, threshold), torch.inf)
        pairs = GrowingColumns(2, room, norms.device)
        for top, left, block in self.blocks(norms, self.spread if self.squared else None):
            a, b = (block <= limit).nonzero(as_tuple=True)
            if not pairs.add(a + top, b + left):
                return None
        a, b = pairs.columns()
        links = self.linkage.pairs(a, b)
        chosen = within_threshold(self.criterion, self.dispersion, a, b, links, threshold)
        return Edges(a[chosen], b[chosen], links[chosen])


class ExactScreen:
    """Computes every exact link, some rows of the matrix at a time: N x N products, for when means say too little."""

    def __init__(
        self, linkage: ClusterLinkage, dispersion: Dispersion, criterion: Criterion, forbidden: Tensor
    ) -> None:
        """``forbidden`` (M, 2) int64, sorted pairs of clusters."""
        self.linkage, self.dispersion, self.criterion, self.forbidden = linkage, dispersion, criterion, forbidden

    def row_blocks(self) -> Iterator[tuple[int, Tensor]]:
        """As ClusterLinkage.row_blocks, with -1 on and below the diagonal and at cannot-link pairs."""
        for top, rows in self.linkage.row_blocks():
            diagonal = rows[:, : len(rows)]
            diagonal.masked_fill_(torch.ones_like(diagonal, dtype=torch.bool).tril_(), -1)
            forbid(rows, top, top, self.forbidden, -1)
            yield top, rows

    def lowest(self) -> Tensor:
        """Return for each cluster the cost of its cheapest merge with a higher number; (C,) float64."""
        sizes, values = self.dispersion.sizes, self.dispersion.values
        lowest = torch.full_like(sizes, torch.inf)
        for top, links in self.row_blocks():
            rows = slice(top, top + len(links))
            between = self.criterion.between(links.double(), sizes[rows, None], sizes[top:])
            costs = self.criterion.cost(between, values[rows, None], values[top:], sizes[rows, None], sizes[top:])
            lowest[rows] = costs.masked_fill_(links < 0, torch.inf).amin(dim=1)
        return lowest

    def edges(self, threshold: float, room: int) -> Edges | None:
        """Return all pairs whose lower bound is within the threshold, or None if there are more than ``room``."""
        out = exceeds(self.dispersion, self.criterion, threshold)
        sizes = self.dispersion.sizes
        pairs = GrowingColumns(3, room, sizes.device)
        for top, links in self.row_blocks():
            rows = slice(top, top + len(links))
            between = self.criterion.between(links.double(), sizes[rows, None], sizes[top:])
            bound = self.criterion.lower_bound(between, sizes[rows, None], sizes[top:])
            near = (bound <= with_margin(threshold)) & (links >= 0) & ~out[rows, None] & ~out[top:]
            a, b = near.nonzero(as_tuple=True)
            if not pairs.add(a + top, b + top, links[a, b]):
                return None
        return Edges(*pairs.columns())


class GrowingColumns:
    """Columns of whole numbers that grow up to ``room`` entries, in memory that is allocated once at the start.

    Small arrays allocated between large temporary ones keep the allocator from reusing the gaps: a process that keeps a
    megabyte would grow by a gigabyte.
    """

    def __init__(self, width: int, room: int, device: torch.device) -> None:
        """``width`` columns."""
        self.space = torch.empty(width, room, dtype=torch.int64, device=device)
        self.count = 0

    def add(self, *columns: Tensor) -> bool:
        """Append (n,) values to each column. Returns False and changes nothing if they do not fit."""
        end = self.count + len(columns[0])
        if end > self.space.shape[1]:
            return False
        for row, column in zip(self.space, columns, strict=True):
            row[self.count : end] = column
        self.count = end
        return True

    def columns(self) -> list[Tensor]:
        """Return the values so far, one (n,) int64 per column, as views."""
        return list(self.space[:, : self.count])


def own_terms(dispersion: Dispersion, criterion: Criterion) -> Tensor:
    """Return what each cluster adds to the cost of any merge, λ d_a + w n_a; (C,) float64."""
    zeros = torch.zeros_like(dispersion.sizes)
    return criterion.cost(zeros, zeros, dispersion.values, zeros, dispersion.sizes)


def exceeds(dispersion: Dispersion, criterion: Criterion, threshold: float) -> Tensor:
    """Mark clusters whose own terms exceed the threshold, so that each of their merges costs more; (C,) bool."""
    return own_terms(dispersion, criterion) > with_margin(threshold)


def within_threshold(
    criterion: Criterion, dispersion: Dispersion, a: Tensor, b: Tensor, links: Tensor, threshold: float
) -> Tensor:
    """Mark pairs whose lower bound is within the threshold and its margin; (P,) bool."""
    size_a, size_b = dispersion.sizes[a], dispersion.sizes[b]
    between = criterion.between(links.double(), size_a, size_b)
    return criterion.lower_bound(between, size_a, size_b) <= with_margin(threshold)


def means_and_spread(linkage: ClusterLinkage) -> tuple[Tensor, Tensor]:
    """Return μ (C, D) float32 and v (C,) float64; lengths are in units of 2^FEATURE_BITS grid steps."""
    clusters, distances = linkage.clusters, linkage.distances
    starts = clusters.starts
    shape = (len(clusters), distances.features.shape[1])
    means = torch.empty(shape, dtype=torch.float32, device=starts.device)
    spread = torch.empty(len(clusters), dtype=torch.float64, device=starts.device)
    for top in range(0, len(clusters), linkage.block_size):
        bottom = min(top + linkage.block_size, len(clusters))
        sums = torch.zeros(bottom - top, shape[1], dtype=torch.float64, device=starts.device)
        squares = torch.zeros(bottom - top, dtype=torch.float64, device=starts.device)
        for rows in clusters.order[int(starts[top]) : int(starts[bottom])].split(linkage.block_size):
            points = distances.rounded(rows).mul_(2.0**-FEATURE_BITS)
            owners = clusters.labels[rows] - top
            sums.index_add_(0, owners, points)
            squares.index_add_(0, owners, points.square_().sum(dim=1))
        sizes = clusters.sizes[top:bottom].double()
        sums.div_(sizes[:, None])
        means[top:bottom] = sums
        spread[top:bottom] = (squares / sizes - sums.square_().sum(dim=1)).clamp_(min=0)
    return means, spread


def product_error(dimension: int) -> float:
    """Return a bound of |fl(x·y) - x·y| / (‖x‖ ‖y‖) for float32 matrix products in any order of summation.

    It is D u / (1 - D u) with u float32's rounding error (Higham, "Accuracy and Stability", §3.1). Where torch
    is set to allow TF32 or bfloat16, inputs keep 8 bits and sums may be truncated.
    """
    try:
        rough = torch.get_float32_matmul_precision() != "highest"
    except RuntimeError:  # set for one backend only; we cannot tell which one a product uses
        rough = True
    unit = 4 * UNIT_ROUNDOFF if rough else UNIT_ROUNDOFF
    return (2.0**-7 if rough else 0.0) + 1.01 * dimension * unit / (1 - dimension * unit)
