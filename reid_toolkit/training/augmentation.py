"""Random views of crops: drawn on the CPU, so that a seed means the same on every device; made where the batch is."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from reid_toolkit.training.network import MEAN, per_channel

LUMA = (0.299, 0.587, 0.114)
"""Weights of RGB in brightness (Rec. 601)."""


def augment(images: Tensor, boxes: Tensor | None, colours: Tensor | None, erased: Tensor | None = None) -> Tensor:
    """The view of each of RGB images (B, 3, H, W) of 0-1 that ``boxes``, ``colours`` and ``erased`` describe."""
    if boxes is not None:
        images = crop_and_flip(images, boxes)
    if colours is not None:
        images = jitter_colour(images, colours)
    if erased is not None:
        images = paint_over(images, erased)
    return images


def draw_boxes(count: int, smallest: float, flip: bool, generator: np.random.Generator) -> Tensor:
    """(count, 2, 3) float32: boxes of ``smallest`` to 1 of the area, the sides' ratio within 4:5 to 5:4 of the
    image's, half of them mirrored if ``flip``; each a map from the view's coordinates [-1, 1] to the image's.

    A large box is nearer to the image's own ratio, since it must fit: the whole area is the whole image.
    """
    area = generator.uniform(smallest, 1.0, count)
    ratio = np.exp(generator.uniform(-1.0, 1.0, count) * np.clip(-np.log(area), 0, math.log(1.25)))
    height, width = np.sqrt(area * ratio), np.sqrt(area / ratio)
    theta = np.zeros((count, 2, 3), np.float32)
    theta[:, 0, 0] = np.where(flip & (generator.random(count) < 0.5), -width, width)
    theta[:, 1, 1] = height
    # Centres such that the box stays inside.
    theta[:, 0, 2] = (1 - width) * generator.uniform(-1.0, 1.0, count)
    theta[:, 1, 2] = (1 - height) * generator.uniform(-1.0, 1.0, count)
    return torch.from_numpy(theta)


def draw_shifts(
    count: int, padding: int, height: int, width: int, flip: bool, generator: np.random.Generator
) -> Tensor:
    """(count, 2, 3) float32, as :func:`draw_boxes` gives: the whole image of ``height`` x ``width`` pixels, moved by up
    to ``padding`` whole pixels up or down and half as many sideways, half of them mirrored if ``flip``."""
    down = generator.integers(-padding, padding + 1, count)
    right = generator.integers(-(padding // 2), padding // 2 + 1, count)
    theta = np.zeros((count, 2, 3), np.float32)
    theta[:, 0, 0] = np.where(flip & (generator.random(count) < 0.5), -1, 1)
    theta[:, 1, 1] = 1
    theta[:, 0, 2], theta[:, 1, 2] = 2 * right / width, 2 * down / height
    return torch.from_numpy(theta)


def crop_and_flip(images: Tensor, boxes: Tensor) -> Tensor:
    """Cut, resize and mirror (B, 3, H, W) by one bilinear sampling at ``boxes`` (B, 2, 3)."""
    grid = F.affine_grid(boxes, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def draw_erasures(count: int, share: float, height: int, width: int, generator: np.random.Generator) -> Tensor:
    """(count, 4) int64: top, left, bottom and right of a rectangle to paint over, in images of ``height`` x ``width``
    pixels; empty but for a ``share`` of them, 0-1.

    As published (Zhong et al., "Random erasing data augmentation", 2020): 2 to 40% of the area, sides within 3:10 to
    10:3.
    """
    area = height * width * generator.uniform(0.02, 0.4, count)
    ratio = np.exp(generator.uniform(math.log(0.3), math.log(1 / 0.3), count))
    tall = np.minimum(np.sqrt(area * ratio).astype(np.int64), height - 1)
    wide = np.minimum(np.sqrt(area / ratio).astype(np.int64), width - 1)
    top = (generator.random(count) * (height - tall + 1)).astype(np.int64)
    left = (generator.random(count) * (width - wide + 1)).astype(np.int64)
    box = np.stack([top, left, top + tall, left + wide], axis=1)
    return torch.from_numpy(np.where(generator.random((count, 1)) < share, box, 0))


def paint_over(images: Tensor, boxes: Tensor) -> Tensor:
    """Paint rectangles ``boxes`` (B, 4) of images (B, 3, H, W) in ImageNet's mean colour: the network sees 0 there."""
    top, left, bottom, right = boxes[:, :, None, None].unbind(1)  # (B, 1, 1) each
    y = torch.arange(images.shape[2], device=images.device)[:, None]
    x = torch.arange(images.shape[3], device=images.device)
    inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)  # (B, H, W)
    return torch.where(inside[:, None], per_channel(MEAN, images.device), images)


def draw_colours(count: int, strength: float, generator: np.random.Generator) -> Tensor:
    """(count, 5) float32 factors: of saturation, of each of RGB, and gamma; each drawn evenly in the logarithm,
    between 1 - strength and its inverse."""
    limit = math.log(1 / (1 - strength))
    return torch.from_numpy(np.exp(generator.uniform(-limit, limit, (count, 5))).astype(np.float32))


def jitter_colour(images: Tensor, colours: Tensor) -> Tensor:
    """What another camera would make of the colours: saturation, then a gain per channel, then gamma."""
    saturation, gain, gamma = colours[:, :, None, None].split((1, 3, 1), dim=1)
    grey = (images * per_channel(LUMA, images.device)).sum(dim=1, keepdim=True)
    # The floor keeps gamma's slope at black finite; it is well under a grey level.
    return ((grey + saturation * (images - grey)) * gain).clamp(1e-3, 1) ** gamma
