"""Proof that the exported file does what torch does, on pictures it is meant for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from reid_toolkit.errors import ModelError
from reid_toolkit.images import Image
from reid_toolkit.runtime import Embedder
from reid_toolkit.runtime.preprocess import to_batch
from reid_toolkit.training.network import ReidNetwork, standardise, to_rgb

TOLERANCE = 1e-3
"""Largest difference of any descriptor component that passes. Components of unit vectors of 512 numbers are about
0.04; float32 sums in another order differ by about 1e-6."""

BATCHES = (1, 2, 17)


class TorchEmbedder:
    """A network as training runs it, by the names of :class:`reid_toolkit.runtime.Embedder`: what a file must equal."""

    def __init__(self, network: ReidNetwork, height: int, width: int, batch_size: int = 32) -> None:
        self.network = network.eval()
        self.height, self.width = height, width
        self.batch_size = batch_size

    @torch.no_grad()
    def embed(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(H, W, 3) uint8 BGR images of any sizes -> (B, D) float32 rows of length 1."""
        rows = []
        for first in range(0, len(images), self.batch_size):
            pixels = to_batch(images[first : first + self.batch_size], self.height, self.width)
            rows.append(F.normalize(self.network(standardise(to_rgb(torch.from_numpy(pixels)))), dim=1).numpy())
        return np.concatenate(rows)


@dataclass(frozen=True)
class Parity:
    """How far onnxruntime is from torch, over all batches tried."""

    crops: int
    """Different pictures used."""
    batches: tuple[int, ...]
    max_difference: float
    """Of any component of a descriptor, absolute."""
    min_cosine: float
    """Between the two descriptors of one picture."""


def check_parity(reference: TorchEmbedder, model: Path, crops: list[Image]) -> Parity:
    """Embed every crop with both, one, two and seventeen at a time (few crops are repeated to fill a batch).

    ``crops`` are at least one. Raises :class:`ModelError` when torch's own descriptors are of no use (not finite,
    or not of length 1), and when the two differ by more than ``TOLERANCE``.
    """
    count = max(max(BATCHES), len(crops))
    filled = [crops[i % len(crops)] for i in range(count)]
    theirs = reference.embed(filled)
    lengths = np.linalg.norm(theirs, axis=1)
    if not (np.abs(lengths - 1) < TOLERANCE).all():
        raise ModelError(
            "export refused: the network's features vanish or are not finite: expected descriptors of length 1 in "
            f"torch, got {lengths.min():.3g} to {lengths.max():.3g}; train it, or choose another --stage"
        )
    difference, cosine = 0.0, 1.0
    for size in BATCHES:
        ours = Embedder(model, batch_size=size, providers=["cpu"]).embed(filled)
        difference = max(difference, float(np.abs(ours - theirs).max()))
        cosine = min(cosine, float((ours * theirs).sum(axis=1).min()))
    if not difference <= TOLERANCE:
        raise ModelError(
            f"export refused: onnxruntime and torch differ by {difference:.2g} (cosine {cosine:.6f}) on "
            f"{len(crops)} crops: expected at most {TOLERANCE:g}; please report it with the recipe"
        )
    return Parity(len(crops), BATCHES, difference, cosine)
