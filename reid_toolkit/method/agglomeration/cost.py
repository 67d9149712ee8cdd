"""What a merge costs: Eq. 5 with its options, and the within-cluster dispersion that a merge changes."""

from copy import copy
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from reid_toolkit.method.agglomeration.linkage import Links
from reid_toolkit.method.equations import merged_within_printed, merging_cost

Value = TypeVar("Value", float, Tensor)


@dataclass(frozen=True)
class Criterion:
    """The options of the cost D_ab = d_ab + λ (d_a + d_b) + w (n_a + n_b)."""

    trade_off: float
    """λ of Eq. 5."""
    size_weight: float
    """w of BUC's size term."""
    printed: bool
    """Eq. 3 and 7 as printed, instead of the average pairwise distance and its exact update."""
    minimum: bool
    """d_ab is the smallest sample distance (BUC) instead of the mean one (Eq. 4)."""
    unit: float
    """What a whole distance of 1 is worth, a power of two."""

    def between(self, link: Value, size_a: Value, size_b: Value) -> Value:
        """d_ab of Eq. 4 from the sum of whole distances, or BUC's from the smallest; all as floats."""
        return link * self.unit if self.minimum else link / (size_a * size_b) * self.unit

    def cost(self, between: Value, within_a: Value, within_b: Value, size_a: Value, size_b: Value) -> Value:
        """Eq. 5 and the size term. The same roundings for numbers as for tensors, so that paths agree."""
        cost = merging_cost(between, within_a, within_b, self.trade_off) if self.trade_off else between
        return self.floor(cost, size_a, size_b)

    def floor(self, between: Value, size_a: Value, size_b: Value) -> Value:
        """The cost without the within term, which alone can shrink when clusters merge."""
        return between + self.size_weight * (size_a + size_b) if self.size_weight else between

    def within(self, total: Value, size: Value) -> Value:
        """d_a of Eq. 3 from the sum of whole distances over ordered pairs, as a float."""
        return total / (size if self.printed else size * size) * self.unit


class Dispersion:
    """d_a of every cluster, kept up as clusters merge. Cluster q = a ∪ b takes the place of a."""

    def __init__(self, criterion: Criterion, links: Links) -> None:
        """Computes Eq. 3 for every cluster, unless λ is 0 and nobody asks."""
        self.criterion = criterion
        sizes = links.clusters.sizes
        self.sizes = sizes.double()
        self.totals = links.sums().own() if criterion.trade_off else torch.zeros_like(sizes)
        """(C,) int64, sums of whole distances over ordered pairs."""
        self.values = criterion.within(self.totals.double(), self.sizes)
        """(C,) float64, d_a."""

    def merge(self, a: int, b: int, between_total: Tensor | None) -> None:
        """Eq. 7; ``between_total`` () int64 is Σ dist over a x b, or None where λ is 0.

        The exact update is done on sums of whole numbers, where it is Σ_q = Σ_a + Σ_b + 2 Σ_ab.
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
        """The same in the machine's memory."""
        here = copy(self)
        here.sizes, here.totals, here.values = self.sizes.cpu(), self.totals.cpu(), self.values.cpu()
        return here

    def take(self, other: "Dispersion") -> None:
        """Take over the values of the same clusters, wherever they are."""
        self.sizes.copy_(other.sizes)
        self.totals.copy_(other.totals)
        self.values.copy_(other.values)

    def keep(self, survivors: Tensor) -> None:
        """Renumber: cluster i is now what ``survivors[i]`` was."""
        self.sizes, self.totals, self.values = (x[survivors] for x in (self.sizes, self.totals, self.values))
