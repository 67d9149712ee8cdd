"""What an epoch leaves to chance, drawn at once at its start: order, frames, views, dropout.

It is drawn from (seed, stage, epoch) and from nothing else. So a training step is a function of its batch: a run
goes on in the middle of an epoch, and several processes share one, without a generator's state to keep.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_toolkit.config import Recipe
from reid_toolkit.training.augmentation import draw_boxes, draw_colours
from reid_toolkit.training.samples import Samples
from reid_toolkit.training.schedule import steps_per_epoch

LEVELS = 1 << 16
"""Dropout's share is rounded to one of so many."""


@dataclass(frozen=True)
class Epoch:
    """S steps of B samples with F frames each; ``None`` for what the recipe turns off."""

    samples: Tensor
    """(S, B) int64 indices of samples."""
    crops: Tensor
    """(S, B * F) int64 indices of crops, a sample's frames beside each other and in time order."""
    boxes: Tensor | None
    """(S, B * F, 2, 3): see :func:`reid_toolkit.training.augmentation.draw_boxes`."""
    colours: Tensor | None
    """(S, B * F, 5): see :func:`reid_toolkit.training.augmentation.draw_colours`."""
    kept: Tensor | None
    """(S, B, E) bool: what dropout keeps of the embedding."""

    def __len__(self) -> int:
        return len(self.samples)

    def part(self, rank: int, size: int) -> "Epoch":
        """What process ``rank`` of ``size`` takes of each batch."""
        return self._each(lambda part: part.chunk(size, dim=1)[rank])

    def to(self, device: torch.device) -> "Epoch":
        """All of it on a device: one copy an epoch, and none a step."""
        return self._each(lambda part: part.to(device))

    def _each(self, function: Callable[[Tensor], Tensor]) -> "Epoch":
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: function(part) for name, part in parts.items() if part is not None})

    def views(self, step: int) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """``boxes``, ``colours`` and ``kept`` of one step."""
        boxes, colours, kept = (part if part is None else part[step] for part in (self.boxes, self.colours, self.kept))
        return boxes, colours, kept


def draw_epoch(samples: Samples, recipe: Recipe, stage: int, epoch: int) -> Epoch:
    """Every sample once, in a random order, but for those of a last batch that is not full (``steps_per_epoch``)."""
    settings = recipe.training
    generator = np.random.default_rng((recipe.seed, stage, epoch))
    steps = steps_per_epoch(len(samples), settings.batch_size)
    size = min(settings.batch_size, len(samples))
    order = generator.permutation(len(samples))[: steps * size]
    crops = pick_frames(samples.starts, settings.frames, generator)[order].reshape(steps, -1)
    boxes = colours = kept = None
    if settings.crop_scale < 1 or settings.flip:
        boxes = draw_boxes(crops.size, settings.crop_scale, settings.flip, generator).view(*crops.shape, 2, 3)
    if settings.colour_jitter:
        colours = draw_colours(crops.size, settings.colour_jitter, generator).view(*crops.shape, 5)
    if recipe.network.dropout:
        # Two bytes a value are a third of the time of a float, and an epoch has millions.
        values = generator.integers(0, LEVELS, (steps, size, recipe.network.embedding), np.uint16)
        kept = torch.from_numpy(values >= round(recipe.network.dropout * LEVELS))
    return Epoch(torch.from_numpy(order.reshape(steps, size)), torch.from_numpy(crops), boxes, colours, kept)


def pick_frames(starts: NDArray[np.int64], frames: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """``frames`` random crops of each sample in time order, (N, frames); some twice where it has fewer.

    ``starts`` (N + 1,) says where each sample's crops begin.
    """
    first, counts = starts[:-1, None], np.diff(starts)[:, None]
    if frames == 1:
        return first + generator.integers(counts)
    repeated = first + generator.integers(counts, size=(len(counts), frames))
    # Crops in a random order within each sample: the first so many of them are a draw without repetition.
    shuffled = np.lexsort((generator.random(starts[-1]), np.repeat(np.arange(len(counts)), counts[:, 0])))
    distinct = shuffled[np.minimum(first + np.arange(frames), starts[-1] - 1)]
    return np.sort(np.where(counts >= frames, distinct, repeated), axis=1)
