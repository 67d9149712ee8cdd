"""Tracks cannot-link pairs between clusters through merges."""

import torch
from torch import Tensor


class CannotLink:
    """The clusters that may not merge. A merged cluster inherits the pairs of both its parts.

    There may be millions of pairs, so a set is built only for a cluster that is looked up.
    """

    def __init__(self, pairs: Tensor, clusters: int) -> None:
        """``pairs`` (M, 2) int64, distinct, of clusters 0..C-1."""
        both = torch.cat([pairs, pairs.flip(1)]).cpu()
        both = both[both[:, 0].argsort()]
        self.partners = both[:, 1]
        self.starts = torch.searchsorted(both[:, 0].contiguous(), torch.arange(clusters + 1))
        self.sets: dict[int, set[int]] = {}
        self.merged: dict[int, int] = {}

    def of(self, cluster: int) -> set[int]:
        """Return the present clusters that ``cluster`` may not merge with."""
        if cluster not in self.sets:
            partners = self.partners[self.starts[cluster] : self.starts[cluster + 1]].tolist()
            self.sets[cluster] = {self.current(partner) for partner in partners}
        return self.sets[cluster]

    def current(self, cluster: int) -> int:
        """Return the cluster that now contains ``cluster``."""
        while cluster in self.merged:
            cluster = self.merged[cluster]
        return cluster

    def merge(self, a: int, b: int) -> None:
        """Record the merge: ``a`` now means a ∪ b."""
        if not len(self.partners):
            return
        union = self.of(a) | self.of(b)
        for other in self.of(b):
            if other in self.sets:
                self.sets[other].discard(b)
                self.sets[other].add(a)
        self.merged[b] = a
        self.sets[a] = union
        del self.sets[b]


def forbid(block: Tensor, top: int, left: int, pairs: Tensor, value: float) -> None:
    """Write ``value`` into ``block`` at every cannot-link pair that lies in it.

    ``block`` is a part of the matrix of clusters; its first entry is the pair (top, left). ``pairs`` (M, 2)
    int64, sorted.
    """
    if not len(pairs):
        return
    ends = torch.tensor([top, top + len(block)], device=pairs.device)
    low, high = torch.searchsorted(pairs[:, 0].contiguous(), ends).tolist()
    inside = pairs[low:high]
    inside = inside[(inside[:, 1] >= left) & (inside[:, 1] < left + block.shape[1])]
    block[inside[:, 0] - top, inside[:, 1] - left] = value
