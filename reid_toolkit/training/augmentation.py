"""Random views of crops. They are drawn on the CPU, so that a seed means the same on every device, and made on the
device that holds the batch."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from reid_toolkit.training.network import MEAN, per_channel

LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G and B in brightness (Rec. 601)."""


def augment(images: Tensor, boxes: Tensor | None, colours: Tensor | None, erased: Tensor | None = None) -> Tensor:
    """Make the view of each RGB image (B, 3, H, W), 0 to 1, that ``boxes``, ``colours`` and ``erased`` describe."""
    if boxes is not None:
        images = crop_and_flip(images, boxes)
    if colours is not None:
        images = jitter_colour(images, colours)
    if erased is not None:
        images = paint_over(images, erased)
    return images


def draw_boxes(count: int, smallest: float, flip: bool, generator: np.random.Generator) -> Tensor:
    """Draw (count, 2, 3) float32: random boxes, each as a map from the view's coordinates [-1, 1] to the image's.

    A box has an area of ``smallest`` to 1 of the image's. Its aspect ratio is within 4:5 to 5:4 of the image's. Half
    of the boxes are mirrored if ``flip``. A large box is nearer to the image's own ratio, because it must fit inside:
    the box of the whole area is the whole image.
    """
    area = generator.uniform(smallest, 1.0, count)
    ratio = np.exp(generator.uniform(-1.0, 1.0, count) * np.clip(-np.log(area), 0, math.log(1.25)))
    height, width = np.sqrt(area * ratio), np.sqrt(area / ratio)
    theta = np.zeros((count, 2, 3), np.float32)
    theta[:, 0, 0] = np.where(flip & (generator.random(count) < 0.5), -width, width)
    theta[:, 1, 1] = height
    # Centres that keep the box inside the image.
    theta[:, 0, 2] = (1 - width) * generator.uniform(-1.0, 1.0, count)
    theta[:, 1, 2] = (1 - height) * generator.uniform(-1.0, 1.0, count)
    return torch.from_numpy(theta)


def draw_shifts(
    count: int, padding: int, height: int, width: int, flip: bool, generator: np.random.Generator
) -> Tensor:
    """Draw (count, 2, 3) float32, as :func:`draw_boxes` does: the whole image of ``height`` x ``width`` pixels, moved
    by up to ``padding`` whole pixels up or down and half as many sideways. Half of them are mirrored if ``flip``."""
    down = generator.integers(-padding, padding + 1, count)
    right = generator.integers(-(padding // 2), padding // 2 + 1, count)
    theta = np.zeros((count, 2, 3), np.float32)
    theta[:, 0, 0] = np.where(flip & (generator.random(count) < 0.5), -1, 1)
    theta[:, 1, 1] = 1
    theta[:, 0, 2], theta[:, 1, 2] = 2 * right / width, 2 * down / height
    return torch.from_numpy(theta)


def crop_and_flip(images: Tensor, boxes: Tensor) -> Tensor:
    """Cut, resize and mirror images (B, 3, H, W) by one bilinear sampling at ``boxes`` (B, 2, 3)."""
    grid = F.affine_grid(boxes, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def draw_erasures(count: int, share: float, height: int, width: int, generator: np.random.Generator) -> Tensor:
    """Draw (count, 4) int64: top, left, bottom and right of a rectangle to paint over, in pixels of ``height`` x
    ``width``.

    A fraction ``share`` (0-1) of the rectangles is not empty. As published (Zhong et al., "Random erasing data
    augmentation", 2020), they cover 2 to 40% of the area, with an aspect ratio within 3:10 to 10:3.
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
    """Paint rectangles ``boxes`` (B, 4) of images (B, 3, H, W) in ImageNet's mean colour, which the network sees as
    0."""
    top, left, bottom, right = boxes[:, :, None, None].unbind(1)  # (B, 1, 1) each
    y = torch.arange(images.shape[2], device=images.device)[:, None]
    x = torch.arange(images.shape[3], device=images.device)
    inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)  # (B, H, W)
    return torch.where(inside[:, None], per_channel(MEAN, images.device), images)


def draw_colours(count: int, strength: float, generator: np.random.Generator) -> Tensor:
    """Draw (count, 5) float32 factors: saturation, a gain for each of R, G and B, and gamma. Each is drawn uniformly in
    its logarithm, between 1 - strength and the inverse of that."""
    limit = math.log(1 / (1 - strength))
    return torch.from_numpy(np.exp(generator.uniform(-limit, limit, (count, 5))).astype(np.float32))


def jitter_colour(images: Tensor, colours: Tensor) -> Tensor:
    """Change colours as another camera would: saturation, then a gain per channel, then gamma."""
    saturation, gain, gamma = colours[:, :, None, None].split((1, 3, 1), dim=1)
    grey = (images * per_channel(LUMA, images.device)).sum(dim=1, keepdim=True)
    # The lower bound keeps gamma's slope at black finite. It is well below one grey level.
    return ((grey + saturation * (images - grey)) * gain).clamp(1e-3, 1) ** gamma
