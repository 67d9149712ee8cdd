"""What a teacher finds of a sample beside its cluster: how alike it is to all clusters, as a part of the loss.

The student is to find a sample as alike to each row of its lookup table as the teacher finds it to the mean of the same
cluster. So it learns the teacher's distances, and needs neither the teacher's width nor a layer of its own for that.
This is SEED (Fang et al., "Self-supervised distillation for visual representation", 2021) with the clusters in place of
a queue of samples, and one temperature for both.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from reid_toolkit.method.equations import repelled_log_probabilities
from reid_toolkit.method.lookup_table import LookupTable


@dataclass(frozen=True)
class SoftLabels:
    """A teacher's part in the loss of one stage."""

    means: Tensor
    """(C, D) unit rows: the clusters as the teacher sees them."""
    share: float
    """Of the loss, 0-1."""

    @classmethod
    def of(cls, lessons: Tensor, classes: Tensor, share: float, device: torch.device) -> "SoftLabels":
        """From the teacher's rows ``lessons`` (N, D) and ``classes`` (N,) in 0..C-1, or -1 where left out."""
        kept = classes >= 0
        return cls(LookupTable.from_clusters(lessons[kept].to(device), classes[kept].to(device)).rows, share)

    def add(self, loss: Tensor, embedded: Tensor, lessons: Tensor, table: Tensor, temperature: float) -> Tensor:
        """(1 - share) of the clusters' ``loss``, and ``share`` of the cross entropy of what the student finds, of
        ``embedded`` (B, E) and ``table`` (C, E), to what the teacher finds, of ``lessons`` (B, D)."""
        wanted = (lessons @ self.means.T / temperature).softmax(dim=1)  # (B, C)
        found = repelled_log_probabilities(embedded, table, temperature)
        return (1 - self.share) * loss - self.share * (wanted * found).sum(dim=1).mean()
