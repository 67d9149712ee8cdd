"""Which crops make up each training step: every sample once an epoch, a few random frames of each."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from reid_toolkit.training.store import Samples


@dataclass(frozen=True)
class Batch:
    """One training step."""

    samples: NDArray[np.int64]
    """(B,) indices of samples."""
    crops: NDArray[np.int64]
    """(B * frames,) indices of crops, a sample's frames beside each other and in time order."""


def epoch_batches(samples: Samples, batch_size: int, frames: int, generator: torch.Generator) -> Iterator[Batch]:
    """Batches of one epoch, in an order drawn from ``generator``.

    The last batch is left out when it is not full, as in the paper's code, unless it is the only one: then every
    sample is in it.
    """
    order = torch.randperm(len(samples), generator=generator).numpy()
    size = min(batch_size, len(samples))
    for first in range(0, len(samples) - size + 1, size):
        chosen = order[first : first + size]
        crops = [pick_frames(samples, int(sample), frames, generator) for sample in chosen]
        yield Batch(chosen, np.concatenate(crops))


def steps_per_epoch(count: int, batch_size: int) -> int:
    """How many batches :func:`epoch_batches` yields for ``count`` samples."""
    return max(1, count // batch_size)


def pick_frames(samples: Samples, sample: int, frames: int, generator: torch.Generator) -> NDArray[np.int64]:
    """``frames`` random crops of a sample in time order; some twice when it has fewer."""
    first, last = samples.starts[sample], samples.starts[sample + 1]
    count = int(last - first)
    if count >= frames:
        chosen = torch.randperm(count, generator=generator)[:frames]
    else:
        chosen = torch.randint(count, (frames,), generator=generator)
    return first + np.sort(chosen.numpy())
