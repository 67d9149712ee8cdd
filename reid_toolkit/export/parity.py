"""Checks that an exported file gives the same descriptors as its source, on pictures of the intended kind."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import ModelError
from reid_toolkit.images import Image
from reid_toolkit.runtime import Embedder

TOLERANCE = 1e-3
"""The largest difference of any descriptor component that passes. Components of unit vectors of 512 numbers are about
0.04; float32 sums in another order differ by about 1e-6."""

BATCHES = (1, 2, 17)


class Reference(Protocol):
    """The source of the file."""

    def embed(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Map (H, W, 3) uint8 BGR images of any sizes to (B, D) float32 rows of length 1."""


@dataclass(frozen=True)
class Parity:
    """How far the file in onnxruntime is from its reference, over all batches tried."""

    crops: int
    """Number of different pictures used."""
    batches: tuple[int, ...]
    max_difference: float
    """The largest absolute difference of any component of a descriptor."""
    min_cosine: float
    """The smallest cosine between the two descriptors of one picture."""
    spread: float
    """The largest difference of any component between the reference's descriptors of the first picture and another."""


def check_parity(
    reference: Reference,
    model: Path,
    crops: list[Image],
    of: str = "torch",
    advice: str = "train it, or choose another --stage",
    why: str = "please report it with what was exported",
) -> Parity:
    """Embed every crop with both, in batches of one, two and seventeen (few crops are repeated to fill a batch).

    There must be at least one crop. ``of`` names what runs the reference, for messages. Raises :class:`ModelError` with
    ``advice`` if the reference's own descriptors are unusable (not finite, or not of length 1), and with ``why`` if the
    two differ by more than ``TOLERANCE``.
    """
    count = max(max(BATCHES), len(crops))
    filled = [crops[i % len(crops)] for i in range(count)]
    theirs = reference.embed(filled)
    lengths = np.linalg.norm(theirs, axis=1)
    if not (np.abs(lengths - 1) < TOLERANCE).all():
        raise ModelError(
            "export refused: the network's features vanish or are not finite: expected descriptors of length 1 in "
            f"{of}, got {lengths.min():.3g} to {lengths.max():.3g}; {advice}"
        )
    difference, cosine = 0.0, 1.0
    for size in BATCHES:
        ours = Embedder(model, batch_size=size, providers=["cpu"]).embed(filled)
        difference = max(difference, float(np.abs(ours - theirs).max()))
        cosine = min(cosine, float((ours * theirs).sum(axis=1).min()))
    if not difference <= TOLERANCE:
        raise ModelError(
            f"export refused: onnxruntime and {of} differ by {difference:.2g} (cosine {cosine:.6f}) on "
            f"{len(crops)} crops: expected at most {TOLERANCE:g}; {why}"
        )
    return Parity(len(crops), BATCHES, difference, cosine, float(np.abs(theirs - theirs[:1]).max()))
