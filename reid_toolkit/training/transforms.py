"""Random views of crops, a batch at a time on whatever device the batch is, from a seeded generator."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from reid_toolkit.config import TrainingRecipe

LUMA = (0.299, 0.587, 0.114)
"""Weights of RGB in brightness (Rec. 601)."""


def augment(images: Tensor, recipe: TrainingRecipe, generator: torch.Generator) -> Tensor:
    """Random resized crop, flip and colour changes of RGB images (B, 3, H, W) of 0-1, each its own.

    The generator lives on the CPU, so that a seed means the same on every device.
    """
    if recipe.crop_scale < 1 or recipe.flip:
        images = crop_and_flip(images, recipe.crop_scale, recipe.flip, generator)
    if recipe.colour_jitter:
        images = jitter_colour(images, recipe.colour_jitter, generator)
    return images


def crop_and_flip(images: Tensor, smallest: float, flip: bool, generator: torch.Generator) -> Tensor:
    """Cut a box of ``smallest`` to 1 of the area, the sides' ratio within 4:5 to 5:4 of the image's; resize.

    A large box is nearer to the image's own ratio, since it must fit: the whole area is the whole image.

    One bilinear sampling does the cut, the resize and the mirroring.
    """
    count = len(images)
    area = uniform(count, smallest, 1.0, generator)
    ratio = torch.exp(uniform(count, -1.0, 1.0, generator) * (-torch.log(area)).clamp(0, math.log(1.25)))
    height, width = torch.sqrt(area * ratio), torch.sqrt(area / ratio)
    # Centres in [-1, 1] coordinates, such that the box stays inside.
    centre_y = (1 - height) * uniform(count, -1.0, 1.0, generator)
    centre_x = (1 - width) * uniform(count, -1.0, 1.0, generator)
    mirror = torch.ones(count)
    if flip:
        mirror[torch.rand(count, generator=generator) < 0.5] = -1
    zero = torch.zeros(count)
    theta = torch.stack(
        [torch.stack([width * mirror, zero, centre_x], 1), torch.stack([zero, height, centre_y], 1)], 1
    )  # (B, 2, 3)
    grid = F.affine_grid(theta.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def jitter_colour(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """What another camera would make of the colours: saturation, then a gain per channel, then gamma.

    Each factor is drawn evenly in the logarithm, between 1 - strength and its inverse.
    """
    count, limit = len(images), -math.log(1 - strength)
    saturation, gain, gamma = (
        torch.exp(uniform(count * channels, -limit, limit, generator)).view(count, channels, 1, 1).to(images)
        for channels in (1, 3, 1)
    )
    luma = torch.tensor(LUMA, device=images.device).view(3, 1, 1)
    grey = (images * luma).sum(dim=1, keepdim=True)
    # The floor keeps gamma's slope at black finite; it is well under a grey level.
    return ((grey + saturation * (images - grey)) * gain).clamp(1e-3, 1) ** gamma


def uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)
