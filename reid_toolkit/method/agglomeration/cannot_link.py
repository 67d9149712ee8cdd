"""Cannot-link pairs between clusters, followed through merges."""

import torch
from torch import Tensor


class Bans:
    """Which clusters may not merge; a merged cluster inherits the bans of both its parts.

    Sets are made only for clusters that are asked about, since there may be millions of pairs.
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
        """The clusters, as they are now, that ``cluster`` may not merge with."""
        if cluster not in self.sets:
            partners = self.partners[self.starts[cluster] : self.starts[cluster + 1]].tolist()
            self.sets[cluster] = {self.current(partner) for partner in partners}
        return self.sets[cluster]

    def current(self, cluster: int) -> int:
        while cluster in self.merged:
            cluster = self.merged[cluster]
        return cluster

    def merge(self, a: int, b: int) -> None:
        """``a`` now stands for a ∪ b."""
        if not len(self.partners):
            return
        banned = self.of(a) | self.of(b)
        for other in self.of(b):
            if other in self.sets:
                self.sets[other].discard(b)
                self.sets[other].add(a)
        self.merged[b] = a
        self.sets[a] = banned
        del self.sets[b]


def forbid(tile: Tensor, top: int, left: int, pairs: Tensor, value: float) -> None:
    """Set ``tile`` to ``value`` at the banned pairs in it; its first entry is the pair (top, left).

    ``pairs`` (M, 2) int64, sorted.
    """
    if not len(pairs):
        return
    ends = torch.tensor([top, top + len(tile)], device=pairs.device)
    low, high = torch.searchsorted(pairs[:, 0].contiguous(), ends).tolist()
    here = pairs[low:high]
    here = here[(here[:, 1] >= left) & (here[:, 1] < left + tile.shape[1])]
    tile[here[:, 0] - top, here[:, 1] - left] = value
