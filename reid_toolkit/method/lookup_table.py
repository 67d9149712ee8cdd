"""The lookup table V of Eq. 2: one L2-normalised row a cluster, moved by hand and never by a gradient."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from reid_toolkit.errors import InputError


class LookupTable:
    """V, a plain (C, D) float32 tensor ``rows``; save it and give it back to the constructor to go on."""

    def __init__(self, rows: Tensor, momentum: float = 0.5) -> None:
        """``momentum`` is what a row keeps of itself at an update, 0-1: 0.5 is the authors' (V_y + v)/2."""
        if rows.ndim != 2:
            raise InputError(f"lookup table: expected rows of shape (C, D), got {tuple(rows.shape)}")
        if not 0 <= momentum <= 1:
            raise InputError(f"lookup table: momentum is {momentum}: expected 0 to 1")
        self.rows = rows.detach().float().clone()
        self.momentum = momentum

    @classmethod
    def from_clusters(cls, embeddings: Tensor, labels: Tensor, momentum: float = 0.5) -> "LookupTable":
        """Row c is the normalised mean of cluster c; ``embeddings`` (N, D), ``labels`` (N,) int64 in 0..C-1.

        Built from the labels AFTER a merge: the authors' code keeps rows of the clusters before it, which
        belong to other labels than those trained on next. Sums are float64, so that storage order can move a
        row by no more than float32's own rounding.
        """
        if len(embeddings) != len(labels):
            raise InputError(f"lookup table: {len(embeddings)} embeddings but {len(labels)} labels: expected equal")
        sizes = torch.bincount(labels)
        if len(sizes) == 0 or bool((sizes == 0).any()):
            raise InputError("lookup table: a cluster has no sample: expected labels to use all of 0..C-1")
        sums = torch.zeros(len(sizes), embeddings.shape[1], dtype=torch.float64, device=embeddings.device)
        sums.index_add_(0, labels, embeddings.detach().double())
        return cls(normalize(sums / sizes[:, None]).float(), momentum)

    def logits(self, features: Tensor, temperature: float) -> Tensor:
        """The exponents of Eq. 2, V_j·v/τ: (B, D) -> (B, C). The gradient reaches the features only."""
        return features @ self.rows.T / temperature

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> None:
        """V_y <- normalise(m V_y + (1-m) v), one by one in order; ``features`` (B, D), ``labels`` (B,).

        Normalising between the steps makes them not commute, so a class that comes twice in a batch is moved
        twice, in order. Each pass below takes the first sample not yet used of every class at once.
        """
        features = features.detach().to(self.rows)
        turn = occurrence(labels)
        for k in range(int(turn.max()) + 1 if len(turn) else 0):
            chosen = turn == k
            y = labels[chosen]
            moved = self.momentum * self.rows[y] + (1 - self.momentum) * features[chosen]
            self.rows[y] = normalize(moved)


def occurrence(labels: Tensor) -> Tensor:
    """For each position, how often its label came before it; (B,) -> (B,) int64. O(B²), B being a batch."""
    same = labels[:, None] == labels[None, :]
    return torch.tril(same, diagonal=-1).sum(dim=1)
