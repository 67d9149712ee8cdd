"""What an epoch leaves to chance, drawn at once at its start: order, frames, views, dropout.

It is drawn from (seed, stage, epoch) and from nothing else. So a training step is a function of its batch: a run
goes on in the middle of an epoch, and several processes share one, without a generator's state to keep.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_toolkit.config import Recipe
from reid_toolkit.training.augmentation import draw_boxes, draw_colours, draw_erasures, draw_shifts
from reid_toolkit.training.samples import Samples
from reid_toolkit.training.schedule import plan

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
    erased: Tensor | None
    """(S, B * F, 4): see :func:`reid_toolkit.training.augmentation.draw_erasures`."""
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

    def views(self, step: int) -> list[Tensor | None]:
        """``boxes``, ``colours``, ``erased`` and ``kept`` of one step."""
        return [part if part is None else part[step] for part in (self.boxes, self.colours, self.erased, self.kept)]


def draw_epoch(samples: Samples, recipe: Recipe, classes: Tensor, stage: int, epoch: int) -> Epoch:
    """The batches of an epoch of stages, or of a round.

    Stages see every sample once, in a random order, but for those of a last batch that is not full
    (``steps_per_epoch``). Rounds draw clusters of ``classes`` (N,) and samples of them (:func:`draw_clusters`).
    """
    settings, network = recipe.training, recipe.network
    generator = np.random.default_rng((recipe.seed, stage, epoch))
    steps = plan(recipe, len(samples)).per_epoch
    if recipe.rounds.count:
        cameras = np.array(samples.cameras if recipe.rounds.spread_cameras else [""] * len(samples))
        each = recipe.rounds.per_cluster
        order = draw_clusters(classes.numpy(), cameras, steps, settings.batch_size // each, each, generator)
        crops = np.stack([pick_frames_of(samples.starts, one, settings.frames, generator) for one in order])
    else:
        size = min(settings.batch_size, len(samples))
        order = generator.permutation(len(samples))[: steps * size].reshape(steps, size)
        crops = pick_frames(samples.starts, settings.frames, generator)[order.ravel()].reshape(steps, -1)
    boxes = draw_cuts(crops.size, recipe, generator)
    boxes = boxes if boxes is None else boxes.view(*crops.shape, 2, 3)
    colours = erased = kept = None
    if settings.colour_jitter:
        colours = draw_colours(crops.size, settings.colour_jitter, generator).view(*crops.shape, 5)
    if settings.erasing:
        erased = draw_erasures(crops.size, settings.erasing, network.height, network.width, generator)
        erased = erased.view(*crops.shape, 4)
    if network.dropout:
        # Two bytes a value are a third of the time of a float, and an epoch has millions.
        values = generator.integers(0, LEVELS, (*order.shape, network.embedding), np.uint16)
        kept = torch.from_numpy(values >= round(network.dropout * LEVELS))
    return Epoch(torch.from_numpy(order), torch.from_numpy(crops), boxes, colours, erased, kept)


def draw_cuts(count: int, recipe: Recipe, generator: np.random.Generator) -> Tensor | None:
    """How ``count`` crops are cut or moved, and mirrored: (count, 2, 3), or None where the recipe does neither."""
    settings, network = recipe.training, recipe.network
    if settings.padding:
        return draw_shifts(count, settings.padding, network.height, network.width, settings.flip, generator)
    if settings.crop_scale < 1 or settings.flip:
        return draw_boxes(count, settings.crop_scale, settings.flip, generator)
    return None


def draw_clusters(
    classes: NDArray[np.int64],
    cameras: NDArray[Any],
    steps: int,
    clusters: int,
    each: int,
    generator: np.random.Generator,
) -> NDArray[np.int64]:
    """Samples for ``steps`` batches of ``clusters`` clusters with ``each`` samples; (steps, clusters * each).

    ``classes`` (N,) are 0..C-1, and -1 for samples that no batch takes; ``cameras`` are N names. Every cluster comes
    once before any comes twice. The samples of a cluster are spread evenly over its cameras, and each comes once before
    any of its camera comes twice.
    """
    members = [np.flatnonzero(classes == one) for one in range(int(classes.max()) + 1)]
    by_camera = [[one[cameras[one] == name] for name in np.unique(cameras[one])] for one in members]
    passes = -(-steps * clusters // len(members))
    chosen = np.concatenate([generator.permutation(len(members)) for _ in range(passes)])[: steps * clusters]
    return np.stack([spread(by_camera[one], each, generator) for one in chosen]).reshape(steps, clusters * each)


def spread(groups: list[NDArray[np.int64]], number: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """``number`` members of ``groups``, as many of each as can be, in a random order of groups."""
    order = generator.permutation(len(groups))
    shares = np.bincount(np.arange(number) % len(groups), minlength=len(groups))
    picked = []
    for place, share in zip(order, shares, strict=True):
        group = groups[place]
        passes = [generator.permutation(group) for _ in range(-(-share // len(group)))]
        picked.append(np.concatenate([*passes, group[:0]])[:share])
    return np.concatenate(picked)


def pick_frames_of(
    starts: NDArray[np.int64], samples: NDArray[np.int64], frames: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """As :func:`pick_frames` of these ``samples`` (B,), which may repeat; (B * frames,)."""
    first, counts = starts[samples], starts[samples + 1] - starts[samples]
    if frames == 1:
        return first + generator.integers(counts)
    return np.concatenate([
        begin + np.sort(generator.choice(count, frames, replace=bool(count < frames)))
        for begin, count in zip(first, counts, strict=True)
    ])  # fmt: skip


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
