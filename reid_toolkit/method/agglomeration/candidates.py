"""Finding the pairs of clusters that are near, over all C² of them, without holding C² of anything."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from reid_toolkit.method.agglomeration.cannot_link import forbid
from reid_toolkit.method.agglomeration.cost import Criterion, Dispersion
from reid_toolkit.method.agglomeration.distances import FEATURE_BITS
from reid_toolkit.method.agglomeration.linkage import Links

HALF = 2.0**-24
"""float32's relative rounding error."""

LARGE = 1e30
"""Costs are not compared in float32 beyond this many times the largest norm."""


class Edges(NamedTuple):
    """Pairs of clusters a < b, (P,) int64 each, with their exact links."""

    a: Tensor
    b: Tensor
    links: Tensor


def reach(threshold: float) -> float:
    """How dear a pair's floor (Criterion.floor) may be for the pair to be kept at this threshold.

    The margin covers the rounding of quotients: without it, the mean of two links that both come out above
    the threshold could come out at it.
    """
    return threshold * (1 + 2.0**-48)


class MeanScreen:
    """Bounds of Eq. 4 from the mean μ of each cluster and the mean squared distance v of its samples to it.

    ‖μ_a - μ_b‖ ≤ d_ab ≤ √(‖μ_a - μ_b‖² + v_a + v_b), and for squared distances the right side without its
    root is d_ab itself. Products are float32, C x C instead of N x N; ``self.error`` bounds what rounding can
    do to a squared distance, and every bound is widened by it. Proofs in docs/method.md.

    Lengths are in units of ``scale``, a power of two near the largest norm, so that float32 cannot underflow.
    """

    def __init__(self, links: Links, dispersion: Dispersion, criterion: Criterion, forbidden: Tensor) -> None:
        """``forbidden`` (M, 2) int64 sorted pairs of clusters. Average linkage only."""
        self.links, self.dispersion, self.criterion, self.forbidden = links, dispersion, criterion, forbidden
        self.squared = links.distances.squared
        length = math.ldexp(links.distances.grid, FEATURE_BITS)
        self.scale = length**2 if self.squared else length
        self.means, self.spread = means_and_spread(links)
        self.norms = torch.cat([part.double().square().sum(dim=1) for part in self.means.split(links.block)])
        largest = float(self.norms.max())
        dimension = self.means.shape[1]
        self.error = 2 * product_error(dimension) * largest + 64 * HALF * (largest + float(self.spread.max()))
        self.slack = 4 * HALF * math.sqrt(largest)  # of a distance of means, for having rounded the means

    def tiles(self, norms: Tensor, spread: Tensor | None) -> Iterator[tuple[int, int, Tensor]]:
        """(top, left, tile): ‖μ_a - μ_b‖² (+ v_a + v_b) for a block of the upper half, infinite elsewhere.

        Every tile lies in the same memory.
        """
        side = (norms if spread is None else norms + spread).float()
        block, count = 2 * self.links.block, len(side)
        space = side.new_empty(min(block, count) ** 2)
        for top in range(0, count, block):
            rows = self.means[top : top + block]
            for left in range(top, count, block):
                columns = self.means[left : left + block]
                tile = space[: len(rows) * len(columns)].view(len(rows), len(columns))
                torch.mm(rows, columns.T, out=tile)  # (n, D) @ (D, m) -> (n, m)
                tile.mul_(-2.0).add_(side[left : left + block]).add_(side[top : top + block, None])
                if left == top:
                    tile.masked_fill_(torch.ones_like(tile, dtype=torch.bool).tril_(), torch.inf)
                forbid(tile, top, left, self.forbidden, torch.inf)
                yield top, left, tile

    def lowest(self) -> Tensor:
        """A bound from above of each cluster's cheapest merge with one of a higher number; (C,) float64."""
        own = own_terms(self.dispersion, self.criterion) / self.scale
        terms = own.clamp(max=LARGE).float()
        lowest = torch.full_like(terms, torch.inf)
        for top, left, tile in self.tiles(self.norms, self.spread):
            tile.add_(self.error)
            if not self.squared:
                tile.clamp_(min=0).sqrt_()
            found = tile.add_(terms[left : left + tile.shape[1]]).amin(dim=1)
            part = lowest[top : top + len(tile)]
            torch.minimum(part, found, out=part)
        bounds = lowest.double() + own + (own.max() - LARGE).clamp(min=0)
        # float32 rounded the sum of two terms, and distances are rounded up to whole numbers.
        return bounds * (1 + 64 * HALF) * self.scale + self.links.distances.unit

    def edges(self, threshold: float, room: int) -> Edges | None:
        """All pairs whose floor is within reach, or None if more than ``room`` may be."""
        limit = min(reach(threshold) / self.scale, LARGE)
        if not self.squared:
            limit = (limit + self.slack) ** 2
        limit = min((limit + self.error) * (1 + 4 * HALF), LARGE)  # finite, for what is infinite to stay out
        norms = self.norms.masked_fill(frozen(self.dispersion, self.criterion, threshold), torch.inf)
        found = Found(2, room, norms.device)
        for top, left, tile in self.tiles(norms, self.spread if self.squared else None):
            a, b = (tile <= limit).nonzero(as_tuple=True)
            if not found.add(a + top, b + left):
                return None
        a, b = found.columns()
        links = self.links.pairs(a, b)
        chosen = within_reach(self.criterion, self.dispersion, a, b, links, threshold)
        return Edges(a[chosen], b[chosen], links[chosen])


class ExactScreen:
    """The exact links, a strip of the matrix at a time: N x N products, where means say too little."""

    def __init__(self, links: Links, dispersion: Dispersion, criterion: Criterion, forbidden: Tensor) -> None:
        self.links, self.dispersion, self.criterion, self.forbidden = links, dispersion, criterion, forbidden

    def panels(self) -> Iterator[tuple[int, Tensor]]:
        """As Links.panels, with -1 at and under the diagonal and where a pair is banned."""
        for top, panel in self.links.panels():
            square = panel[:, : len(panel)]
            square.masked_fill_(torch.ones_like(square, dtype=torch.bool).tril_(), -1)
            forbid(panel, top, top, self.forbidden, -1)
            yield top, panel

    def lowest(self) -> Tensor:
        """For each cluster, the cost of its cheapest merge with one of a higher number; (C,) float64."""
        sizes, values = self.dispersion.sizes, self.dispersion.values
        lowest = torch.full_like(sizes, torch.inf)
        for top, panel in self.panels():
            rows = slice(top, top + len(panel))
            between = self.criterion.between(panel.double(), sizes[rows, None], sizes[top:])
            costs = self.criterion.cost(between, values[rows, None], values[top:], sizes[rows, None], sizes[top:])
            lowest[rows] = costs.masked_fill_(panel < 0, torch.inf).amin(dim=1)
        return lowest

    def edges(self, threshold: float, room: int) -> Edges | None:
        """All pairs whose floor is within reach, or None when they are more than ``room``."""
        out = frozen(self.dispersion, self.criterion, threshold)
        sizes = self.dispersion.sizes
        found = Found(3, room, sizes.device)
        for top, panel in self.panels():
            rows = slice(top, top + len(panel))
            between = self.criterion.between(panel.double(), sizes[rows, None], sizes[top:])
            floor = self.criterion.floor(between, sizes[rows, None], sizes[top:])
            near = (floor <= reach(threshold)) & (panel >= 0) & ~out[rows, None] & ~out[top:]
            a, b = near.nonzero(as_tuple=True)
            if not found.add(a + top, b + top, panel[a, b]):
                return None
        return Edges(*found.columns())


class Found:
    """Columns of whole numbers that grow up to ``room`` rows, in memory of their own.

    Small arrays kept from between large temporary ones would leave those no gap to come back to, and a
    process that keeps a megabyte grows by a gigabyte.
    """

    def __init__(self, width: int, room: int, device: torch.device) -> None:
        self.space = torch.empty(width, room, dtype=torch.int64, device=device)
        self.count = 0

    def add(self, *columns: Tensor) -> bool:
        """Append (n,) values to each column; False, and nothing done, when there is no room for them."""
        end = self.count + len(columns[0])
        if end > self.space.shape[1]:
            return False
        for row, column in zip(self.space, columns, strict=True):
            row[self.count : end] = column
        self.count = end
        return True

    def columns(self) -> list[Tensor]:
        return list(self.space[:, : self.count])


def own_terms(dispersion: Dispersion, criterion: Criterion) -> Tensor:
    """What each cluster brings to the cost of any merge, λ d_a + w n_a; (C,) float64."""
    zeros = torch.zeros_like(dispersion.sizes)
    return criterion.cost(zeros, zeros, dispersion.values, zeros, dispersion.sizes)


def frozen(dispersion: Dispersion, criterion: Criterion, threshold: float) -> Tensor:
    """Clusters whose own terms cost more than the threshold: no merge with them can cost less; (C,) bool."""
    return own_terms(dispersion, criterion) > reach(threshold)


def within_reach(
    criterion: Criterion, dispersion: Dispersion, a: Tensor, b: Tensor, links: Tensor, threshold: float
) -> Tensor:
    """Which pairs have a floor within reach; (P,) bool."""
    size_a, size_b = dispersion.sizes[a], dispersion.sizes[b]
    between = criterion.between(links.double(), size_a, size_b)
    return criterion.floor(between, size_a, size_b) <= reach(threshold)


def means_and_spread(links: Links) -> tuple[Tensor, Tensor]:
    """μ (C, D) float32 and v (C,) float64, lengths in units of 2^FEATURE_BITS grid steps."""
    clusters, distances = links.clusters, links.distances
    starts = clusters.starts
    shape = (len(clusters), distances.features.shape[1])
    means = torch.empty(shape, dtype=torch.float32, device=starts.device)
    spread = torch.empty(len(clusters), dtype=torch.float64, device=starts.device)
    for top in range(0, len(clusters), links.block):
        bottom = min(top + links.block, len(clusters))
        sums = torch.zeros(bottom - top, shape[1], dtype=torch.float64, device=starts.device)
        squares = torch.zeros(bottom - top, dtype=torch.float64, device=starts.device)
        for rows in clusters.order[int(starts[top]) : int(starts[bottom])].split(links.block):
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
    """Bound of |fl(x·y) - x·y| / (‖x‖ ‖y‖) for a product of float32 matrices in any order of summation.

    D u / (1 - D u) with u float32's rounding error (Higham, "Accuracy and Stability", §3.1). Where torch has
    been told that TF32 or bfloat16 will do, inputs keep 8 bits and sums may be truncated.
    """
    try:
        rough = torch.get_float32_matmul_precision() != "highest"
    except RuntimeError:  # set for one backend only; which one a product takes is not for us to know
        rough = True
    unit = 4 * HALF if rough else HALF
    return (2.0**-7 if rough else 0.0) + 1.01 * dimension * unit / (1 - dimension * unit)
