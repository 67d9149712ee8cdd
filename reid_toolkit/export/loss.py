"""How much a model lost on the way to another form, by its descriptors of the same crops."""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import InputError
from reid_toolkit.images import Image
from reid_toolkit.runtime import Embedder


def mean_cosine(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """Between the two descriptors of one crop, over the rows of two (B, D) arrays of unit rows."""
    return float((before.astype(np.float64) * after).sum(axis=1).mean())


def descriptor_loss(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """How far descriptors moved, as a share of how far apart different crops' are: 0 nothing lost, 1 all.

    (1 - mean cosine of a crop's two descriptors) / (1 - mean cosine of two different crops): for unit vectors, the
    ratio of the mean squared distances. A bare cosine would flatter a model that gives all crops nearly the same.

    Args:
        before, after: (B, D) unit rows, B at least 2.

    Raises:
        InputError: fewer than two rows, or all the same.
    """
    count = len(before)
    total = before.astype(np.float64).sum(axis=0)
    apart = 1 - (total @ total - count) / (count * (count - 1)) if count > 1 else 0.0
    if apart < 1e-6:
        raise InputError(
            f"the loss cannot be told from {count} crops whose descriptors do not differ: expected a trained model "
            "and at least 2 different crops"
        )
    return float((1 - mean_cosine(before, after)) / apart)


def seconds_per_crop(embedders: Sequence[Embedder], crops: Sequence[Image], rounds: int = 5) -> list[float]:
    """The least time of each for the same crops, in turns, so that a busy machine slows all alike."""
    seconds = [[] for _ in embedders]  # type: list[list[float]]
    for _ in range(rounds):
        for embedder, times in zip(embedders, seconds, strict=True):
            began = time.perf_counter()
            embedder.embed(crops)
            times.append((time.perf_counter() - began) / len(crops))
    return [min(times) for times in seconds]
