"""Draws single crops of people, for uses that need pictures of people but no footage."""

import numpy as np

from reid_toolkit.demo.figure import draw_figure
from reid_toolkit.demo.people import make_people
from reid_toolkit.demo.recording import blend
from reid_toolkit.images import Image

HEIGHT, EDGE = 220, 10
"""Height of the figure, and width of the wall around it, in pixels."""


def draw_crops(count: int, seed: int = 0) -> list[Image]:
    """Draw ``count`` people, each once, as (H, W, 3) uint8 BGR pictures of about 240 x 100 in front of plain walls."""
    rng = np.random.default_rng(seed)
    crops = []
    for person in make_people(count, seed):
        figure = draw_figure(person, HEIGHT, rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi), 0.1).picture
        height, width = figure.shape[0] + 2 * EDGE, figure.shape[1] + 2 * EDGE
        wall = np.linspace(rng.uniform(60, 220, 3), rng.uniform(60, 220, 3), height)[:, None].repeat(width, 1)
        crop = np.clip(wall + rng.normal(0, 3, wall.shape), 0, 255).astype(np.uint8)
        blend(crop[EDGE:-EDGE, EDGE:-EDGE], figure, 1.0)
        crops.append(crop)
    return crops
