"""Runs a network in torch, with the interface of the runtime's embedder."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from reid_toolkit.images import Image
from reid_toolkit.runtime.preprocess import to_batch
from reid_toolkit.training.network import ReidNetwork, standardise, to_rgb


class TorchEmbedder:
    """A network as in training, with the methods of :class:`reid_toolkit.runtime.Embedder`. A file must match it."""

    def __init__(self, network: ReidNetwork, height: int, width: int, batch_size: int = 32) -> None:
        self.network = network.eval()
        self.height, self.width = height, width
        self.batch_size = batch_size

    @torch.no_grad()
    def embed(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Map (H, W, 3) uint8 BGR images of any sizes to (B, D) float32 rows of length 1."""
        rows = []
        for first in range(0, len(images), self.batch_size):
            pixels = to_batch(images[first : first + self.batch_size], self.height, self.width)
            rows.append(F.normalize(self.network(standardise(to_rgb(torch.from_numpy(pixels)))), dim=1).numpy())
        return np.concatenate(rows)
