"""Proof that the exported file does what torch does, on pictures it is meant for."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from reid_toolkit.errors import ModelError
from reid_toolkit.images import Image
from reid_toolkit.runtime.embedder import Embedder
from reid_toolkit.runtime.preprocess import to_batch

TOLERANCE = 1e-3
"""Largest difference of any descriptor component that passes. Components of unit vectors of 512 numbers are about
0.04; float32 sums in another order differ by about 1e-6."""

BATCHES = (1, 2, 17)


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


@torch.no_grad()
def check_parity(network: nn.Module, model: Path, crops: list[Image]) -> Parity:
    """Embed the same crops with both, at batch 1, 2 and 17 (few crops are repeated to fill a batch).

    ``crops`` are at least one. Raises :class:`ModelError` when they differ by more than ``TOLERANCE``.
    """
    network.eval()
    embedder = Embedder(model, batch_size=max(BATCHES))
    difference, cosine = 0.0, 1.0
    for size in BATCHES:
        batch = [crops[i % len(crops)] for i in range(size)]
        ours = embedder.embed(batch)
        pixels = to_batch(batch, embedder.metadata.height, embedder.metadata.width)
        theirs = network(torch.from_numpy(pixels)).numpy()
        difference = max(difference, float(np.abs(ours - theirs).max()))
        cosine = min(cosine, float((ours * theirs).sum(axis=1).min()))
    if not difference <= TOLERANCE:
        raise ModelError(
            f"export refused: onnxruntime and torch differ by {difference:.2g} (cosine {cosine:.6f}) on "
            f"{len(crops)} crops: expected at most {TOLERANCE:g}; please report it with the recipe"
        )
    return Parity(len(crops), BATCHES, difference, cosine)
