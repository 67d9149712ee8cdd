"""The cost of a merge: Eq. 5 with its options, and the within-cluster dispersion that a merge changes."""

from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from reid_toolkit.method.agglomeration.linkage import ClusterLinkage
from reid_toolkit.method.equations import Value, merged_within_printed, merging_cost


@dataclass(frozen=True)
class Criterion:
    """The options of the cost D_ab = d_ab + λ (d_a + d_b) + w (n_a + n_b).

    Its functions take numbers or tensors and round both alike, so that every code path gets the same costs.
    """

    trade_off: float
    """λ of Eq. 5."""
    size_weight: float
    """w of BUC's size term."""
    printed: bool
    """Eq. 3 and 7 as printed, instead of the average pairwise distance and its exact update."""
    minimum: bool
    """d_ab is the smallest sample distance (BUC) instead of the mean one (Eq. 4)."""
    unit: float
    """The whole number that stands for a distance of 1, a power of two."""

    def between(self, link: Value, size_a: Value, size_b: Value) -> Value:
        """d_ab: Eq. 4 from the sum of whole distances, or BUC's from the smallest; all as floats."""
        return link * self.unit if self.minimum else link / (size_a * size_b) * self.unit

    def cost(self, between: Value, within_a: Value, within_b: Value, size_a: Value, size_b: Value) -> Value:
        """D_ab: Eq. 5 and the size term."""
        cost = merging_cost(between, within_a, within_b, self.trade_off) if self.trade_off else between
        return self.with_size_term(cost, size_a, size_b)

    def lower_bound(self, between: Value, size_a: Value, size_b: Value) -> Value:
        """D_ab without λ (d_a + d_b): the cost is never less, and only that term can shrink in a merge."""
        return self.with_size_term(between, size_a, size_b)

    def with_size_term(self, value: Value, size_a: Value, size_b: Value) -> Value:
        """``value`` + w (n_a + n_b)."""
        return value + self.size_weight * (size_a + size_b) if self.size_weight else value

    def within(self, total: Value, size: Value) -> Value:
        """d_a: Eq. 3 from the sum of whole distances over ordered pairs, as a float."""
        return total / (size if self.printed else size * size) * self.unit


class Dispersion:
    """d_a of every cluster while clusters merge. Cluster q = a ∪ b replaces a."""

    def __init__(self, criterion: Criterion, linkage: ClusterLinkage) -> None:
        """Computes Eq. 3 for every cluster, unless λ is 0 and no cost depends on it."""
        self.criterion = criterion
        sizes = linkage.clusters.sizes
        self.sizes = sizes.double()
        self.totals = linkage.sums().own() if criterion.trade_off else torch.zeros_like(sizes)
        """(C,) int64, sums of whole distances over ordered pairs."""
        self.values = criterion.within(self.totals.double(), self.sizes)
        """(C,) float64, d_a."""

    def merge(self, a: int, b: int, between_total: Tensor | None) -> None:
        """Apply Eq. 7 to cluster a. ``between_total`` () int64 is Σ dist over a x b, or None where λ is 0.

        The exact update works on sums of whole numbers, where it is Σ_q = Σ_a + Σ_b + 2 Σ_ab.
        """
        criterion, size_a, size_b = self.criterion, self.sizes[a].clone(), self.sizes[b]
        self.sizes[a] += size_b
        if between_total is None:
            return
        self.totals[a] += self.totals[b] + 2 * between_total
        if criterion.printed:
            between = between_total.double() / (size_a * size_b) * criterion.unit
            self.values[a] = merged_within_printed(self.values[a], self.values[b], between, size_a, size_b)
        else:
            self.values[a] = criterion.within(self.totals[a].double(), self.sizes[a])

    def cpu(self) -> "Dispersion":
        """Return a copy in the machine's memory."""
        copied = copy(self)
        copied.sizes, copied.totals, copied.values = self.sizes.cpu(), self.totals.cpu(), self.values.cpu()
        return copied

    def take(self, other: "Dispersion") -> None:
        """Copy the values of ``other``, which holds the same clusters on any device."""
        self.sizes.copy_(other.sizes)
        self.totals.copy_(other.totals)
        self.values.copy_(other.values)

    def keep(self, survivors: Tensor) -> None:
        """Renumber: cluster ``survivors[i]`` becomes cluster i, and the others are dropped."""
        self.sizes, self.totals, self.values = (x[survivors] for x in (self.sizes, self.totals, self.values))
