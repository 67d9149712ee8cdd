"""The lookup table V of Eq. 2: one L2-normalised row for each cluster, which no gradient changes."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from reid_toolkit.errors import InputError
from reid_toolkit.method.devices import with_float64


class LookupTable:
    """V as a plain (C, D) float32 tensor ``rows``. To restore a table, give its rows to the constructor."""

    def __init__(self, rows: Tensor, momentum: float = 0.5) -> None:
        """``momentum``, 0 to 1, is the share of a row that an update keeps; 0.5 is the authors' (V_y + v)/2.

        Raises :class:`InputError` for rows that are not (C, D) and a momentum outside 0 to 1.
        """
        if rows.ndim != 2:
            raise InputError(f"lookup table: expected rows of shape (C, D), got {tuple(rows.shape)}")
        if not 0 <= momentum <= 1:
            raise InputError(f"lookup table: momentum is {momentum}: expected 0 to 1")
        self.rows = rows.detach().float().clone()
        self.momentum = momentum

    @classmethod
    def from_clusters(cls, embeddings: Tensor, labels: Tensor, momentum: float = 0.5) -> "LookupTable":
        """Make row c the normalised mean of cluster c; ``embeddings`` (N, D), ``labels`` (N,) int64 in 0..C-1.

        Give the labels after a merge, not before it. (The authors' code keeps the rows of the clusters before the
        merge, which do not fit the labels that training uses next.) Sums are float64, so storage order changes a row by
        no more than float32's own rounding. The CPU sums if the device has no float64. Raises :class:`InputError` if
        the lengths differ or a cluster has no sample.
        """
        if len(embeddings) != len(labels):
            raise InputError(f"lookup table: {len(embeddings)} embeddings but {len(labels)} labels: expected equal")
        sizes = torch.bincount(labels)
        if len(sizes) == 0 or bool((sizes == 0).any()):
            raise InputError("lookup table: a cluster has no sample: expected labels to use all of 0..C-1")
        device = with_float64(embeddings.device)
        sums = torch.zeros(len(sizes), embeddings.shape[1], dtype=torch.float64, device=device)
        sums.index_add_(0, labels.to(device), embeddings.detach().to(device).double())
        return cls(normalize(sums / sizes.to(device)[:, None]).float().to(embeddings.device), momentum)

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor, passes: Sequence[Tensor] | None = None) -> None:
        """V_y <- normalise(m V_y + (1-m) v) for each sample in order; ``features`` (B, D), ``labels`` (B,).

        The order matters, because each step normalises. So a class that occurs twice in a batch is updated twice, in
        order: each pass takes the next sample of every class at once. ``passes`` are the positions of these samples in
        the batch, from :func:`in_passes`. If they are given, nothing has to wait for labels on a GPU.
        """
        features = features.detach().to(self.rows)
        if passes is None:
            order, sizes = in_passes(labels[None])
            passes = order[0].split(sizes[0])
        for places in passes:
            y = labels[places]
            moved = self.momentum * self.rows[y] + (1 - self.momentum) * features[places]
            self.rows[y] = normalize(moved)


def in_passes(labels: Tensor) -> tuple[Tensor, list[list[int]]]:
    """Divide batches of labels (S, B) into passes. A pass contains a class at most once and keeps its samples in order.

    Returns the positions in each batch, pass by pass, (S, B) int64, and the size of each pass. Takes O(S·B²).
    """
    same = labels[:, :, None] == labels[:, None, :]
    turn = torch.tril(same, diagonal=-1).sum(dim=2)  # how often the label occurred before
    sizes = [torch.bincount(each).tolist() for each in turn.cpu()]
    return turn.argsort(dim=1, stable=True), sizes
