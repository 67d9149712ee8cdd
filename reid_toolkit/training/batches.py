"""The random choices of an epoch, all drawn at its start: order, frames, views, dropout of the embedding.

They depend only on (seed, stage, epoch). So a training step is a function of its batch: a run can resume in the middle
of an epoch, and several processes can share an epoch, without storing a generator's state. A few backbones have layers
that draw in each step, such as stochastic depth; see :func:`drawing_anew`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
"""Dropout's probability is rounded to a multiple of 1 / LEVELS."""


@dataclass(frozen=True)
class Epoch:
    """S steps of B samples with F frames each. A field is ``None`` if the recipe turns it off."""

    samples: Tensor
    """(S, B) int64 indices of samples."""
    crops: Tensor
    """(S, B * F) int64 indices of crops. The frames of a sample are adjacent and in time order."""
    boxes: Tensor | None
    """(S, B * F, 2, 3): see :func:`reid_toolkit.training.augmentation.draw_boxes`."""
    colours: Tensor | None
    """(S, B * F, 5): see :func:`reid_toolkit.training.augmentation.draw_colours`."""
    erased: Tensor | None
    """(S, B * F, 4): see :func:`reid_toolkit.training.augmentation.draw_erasures`."""
    kept: Tensor | None
    """(S, B, E) bool: the elements of the embedding that dropout keeps."""

    def __len__(self) -> int:
        return len(self.samples)

    def part(self, rank: int, size: int) -> "Epoch":
        """Return the part of each batch that process ``rank`` of ``size`` takes."""
        return self._each(lambda part: part.chunk(size, dim=1)[rank])

    def to(self, device: torch.device) -> "Epoch":
        """Copy everything to a device, so that there is one copy per epoch and none per step."""
        return self._each(lambda part: part.to(device))

    def _each(self, function: Callable[[Tensor], Tensor]) -> "Epoch":
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: function(part) for name, part in parts.items() if part is not None})

    def views(self, step: int) -> list[Tensor | None]:
        """Return ``boxes``, ``colours``, ``erased`` and ``kept`` of one step."""
        return [part if part is None else part[step] for part in (self.boxes, self.colours, self.erased, self.kept)]


@contextmanager
def drawing_anew(device: torch.device, *numbers: int) -> Iterator[None]:
    """Inside, what layers draw on ``device``, the current one, depends only on the ``numbers``. Afterwards torch's
    generators are as before.

    For a training step the numbers are (seed, stage, epoch, step, process), so that a resumed run draws the same, and
    several processes draw differently. It takes microseconds, so it is also done for networks that draw nothing: not
    every layer that draws can be told by its class.
    """
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        # torch.manual_seed formats a stack for each device that was not used yet, which takes longer than all else.
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            torch.cuda.manual_seed(seed)  # a CUDA graph reads the generator's seed at each replay
        elif device.type == "mps":
            torch.mps.manual_seed(seed)
        yield


def draw_epoch(samples: Samples, recipe: Recipe, classes: Tensor, stage: int, epoch: int) -> Epoch:
    """Draw the batches of an epoch of a stage, or of a round.

    A stage uses every sample once, in random order; an incomplete last batch is left out (``steps_per_epoch``). A round
    draws clusters of ``classes`` (N,) and samples of these clusters (:func:`draw_clusters`).
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
        # Two bytes per value take a third of the time that floats take, and an epoch has millions of values.
        values = generator.integers(0, LEVELS, (*order.shape, network.embedding), np.uint16)
        kept = torch.from_numpy(values >= round(network.dropout * LEVELS))
    return Epoch(torch.from_numpy(order), torch.from_numpy(crops), boxes, colours, erased, kept)


def draw_cuts(count: int, recipe: Recipe, generator: np.random.Generator) -> Tensor | None:
    """Draw how ``count`` crops are cut or moved, and mirrored: (count, 2, 3), or None if the recipe does neither."""
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
    """Draw samples for ``steps`` batches of ``clusters`` clusters with ``each`` samples: (steps, clusters * each).

    ``classes`` (N,) are 0..C-1, or -1 for samples that no batch uses; ``cameras`` are N names. Every cluster is used
    once before any is used twice. The samples of a cluster are spread evenly over its cameras, and every sample of a
    camera is used once before any is used twice.
    """
    members = [np.flatnonzero(classes == one) for one in range(int(classes.max()) + 1)]
    by_camera = [[one[cameras[one] == name] for name in np.unique(cameras[one])] for one in members]
    passes = -(-steps * clusters // len(members))
    chosen = np.concatenate([generator.permutation(len(members)) for _ in range(passes)])[: steps * clusters]
    return np.stack([spread(by_camera[one], each, generator) for one in chosen]).reshape(steps, clusters * each)


def spread(groups: list[NDArray[np.int64]], number: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw ``number`` members of ``groups``, as evenly over the groups as possible, in a random order of groups."""
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
    """Do as :func:`pick_frames` for these ``samples`` (B,), which may repeat: (B * frames,)."""
    first, counts = starts[samples], starts[samples + 1] - starts[samples]
    if frames == 1:
        return first + generator.integers(counts)
    return np.concatenate([
        begin + np.sort(generator.choice(count, frames, replace=bool(count < frames)))
        for begin, count in zip(first, counts, strict=True)
    ])  # fmt: skip


def pick_frames(starts: NDArray[np.int64], frames: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Pick ``frames`` random crops of each sample, in time order: (N, frames). Short samples repeat crops.

    ``starts`` (N + 1,) says where each sample's crops begin.
    """
    first, counts = starts[:-1, None], np.diff(starts)[:, None]
    if frames == 1:
        return first + generator.integers(counts)
    repeated = first + generator.integers(counts, size=(len(counts), frames))
    # Shuffle the crops within each sample. Its first ones are then a draw without repetition.
    shuffled = np.lexsort((generator.random(starts[-1]), np.repeat(np.arange(len(counts)), counts[:, 0])))
    distinct = shuffled[np.minimum(first + np.arange(frames), starts[-1] - 1)]
    return np.sort(np.where(counts >= frames, distinct, repeated), axis=1)
