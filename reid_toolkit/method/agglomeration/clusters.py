"""Clusters of samples, numbered by their smallest member."""

from copy import copy

import torch
from torch import Tensor

History = list[tuple[int, int, float]]
"""One (a, b, cost) for each merge. Clusters are given by number, a < b, and q = a ∪ b keeps the number a."""


class Clusters:
    """C clusters of N samples. Cluster c holds the samples ``order[starts[c] : starts[c + 1]]``, ascending."""

    def __init__(self, labels: Tensor) -> None:
        """``labels`` (N,) int64, any numbers. Clusters are renumbered by smallest member."""
        _, inverse = labels.unique(return_inverse=True)
        count = int(inverse.max()) + 1
        positions = torch.arange(len(labels), device=labels.device)
        first = torch.full((count,), len(labels), device=labels.device)
        first = first.scatter_reduce(0, inverse, positions, "amin")
        rank = torch.empty_like(first)
        rank[first.argsort()] = torch.arange(count, device=labels.device)
        self.labels = rank[inverse]
        """(N,) int64 in 0..C-1."""
        self.first = first.sort().values
        """(C,) int64, the smallest member of each, ascending."""
        self.sizes = torch.bincount(self.labels, minlength=count)
        self.order = self.labels.argsort(stable=True)
        self.starts = torch.cat([self.sizes.new_zeros(1), self.sizes.cumsum(0)])

    def __len__(self) -> int:
        return len(self.sizes)

    def cpu(self) -> "Clusters":
        """Return a copy in the machine's memory."""
        copied = copy(self)
        for name, value in vars(self).items():
            setattr(copied, name, value.cpu())
        return copied

    def members(self, cluster: int) -> Tensor:
        """Return the samples of one cluster, ascending."""
        return self.span(cluster, cluster + 1)

    def span(self, first: int, stop: int) -> Tensor:
        """Return the samples of clusters first..stop-1, cluster by cluster, as a view of ``order``."""
        return self.order[int(self.starts[first]) : int(self.starts[stop])]

    def owners_after(self, history: History) -> Tensor:
        """Return the new number of each of these clusters after ``history``; (C,) int64.

        q = a ∪ b keeps the number a < b, so every chain of merges leads to a smaller number. The clusters that are left
        are then numbered in the order of their smallest members.
        """
        parent = list(range(len(self)))
        for a, b, _ in history:
            parent[b] = a
        for c, above in enumerate(parent):
            parent[c] = parent[above]
        return torch.tensor(parent, device=self.labels.device).unique(return_inverse=True)[1]


class Members:
    """The samples of each cluster while clusters merge."""

    def __init__(self, clusters: Clusters) -> None:
        self.clusters = clusters
        self.merged: dict[int, Tensor] = {}

    def of(self, cluster: int) -> Tensor:
        """Return the samples that ``cluster`` holds now, in no particular order."""
        return self.merged[cluster] if cluster in self.merged else self.clusters.members(cluster)

    def merge(self, a: int, b: int) -> None:
        """Record the merge: ``a`` now means a ∪ b."""
        self.merged[a] = torch.cat([self.of(a), self.of(b)])
        self.merged.pop(b, None)


def follow(clusters: Clusters, forbidden: Tensor, history: History) -> tuple[Clusters, Tensor]:
    """Return the clusters after ``history``, and the pairs of them that may not merge."""
    if not history:
        return clusters, forbidden
    owners = clusters.owners_after(history)
    return Clusters(owners[clusters.labels]), owners[forbidden].sort(dim=1).values.unique(dim=0)


def survivors(clusters: Clusters, history: History) -> Tensor:
    """Return the numbers that still name a cluster after ``history``, ascending."""
    left = torch.ones(len(clusters), dtype=torch.bool, device=clusters.labels.device)
    left[[b for _, b, _ in history]] = False
    return left.nonzero().flatten()
