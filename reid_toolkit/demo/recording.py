"""Records one camera: its scene with the walkers, as its lens, colours and sensor show them."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from reid_toolkit.demo.cameras import Camera
from reid_toolkit.demo.figure import draw_figure
from reid_toolkit.demo.walks import Step
from reid_toolkit.images import Image

NOISE_FRAMES = 16
"""Number of noise frames. They are drawn once and then reused with a shift, because drawing noise costs most."""
Found = tuple[str, int, int, int, int, float]
"""Person, x, y, width, height, visible: a truth.Box without camera and frame."""


class Shooting:
    """One camera at its place: each picture that it takes has the same background and its own noise."""

    def __init__(self, camera: Camera, size: tuple[int, int], rng: np.random.Generator) -> None:
        """``size`` is (width, height) of the pictures. ``rng`` also draws the noise of each picture."""
        width, height = size
        self.camera, self.rng = camera, rng
        self.background = camera.background(width, height, rng)
        self.grain = rng.normal(0, camera.noise, (NOISE_FRAMES, height, width, 3)).astype(np.int16)

    def shoot(self, walkers: list[Step]) -> tuple[Image, list[Found]]:
        """Return a picture of ``walkers``, farthest first, and their boxes."""
        image = self.background.copy()
        boxes = draw_walkers(image, self.camera, walkers)
        noise = self.grain[self.rng.integers(NOISE_FRAMES)]
        noise = np.roll(noise, int(self.rng.integers(image.shape[0])), axis=0)
        recorded = cv2.add(self.camera.develop(image), noise, dtype=cv2.CV_8U)
        return np.asarray(recorded, np.uint8), boxes


def record(
    camera: Camera, walks: list[list[Step]], size: tuple[int, int], rng: np.random.Generator
) -> Iterator[tuple[Image, list[Found]]]:
    """Yield each frame that a camera records, with the boxes of the people in it."""
    shooting = Shooting(camera, size, rng)
    for walkers in walks:
        yield shooting.shoot(walkers)


def draw_walkers(image: Image, camera: Camera, walkers: list[Step]) -> list[Found]:
    """Paint ``walkers``, farthest first, onto ``image``. Returns where each is and how much of them is visible."""
    height, width = image.shape[:2]
    owner = np.full((height, width), -1, np.int8)
    places: list[tuple[int, int, slice, slice, Sequence[int]]] = []
    for index, step in enumerate(walkers):
        tall = camera.person_height(step.y) * height
        column, row = round(step.x * width), round(step.y * height)
        cast_shadow(image, column, row, tall)
        figure = draw_figure(step.person, tall, step.heading, step.phase, camera.elevation)
        left, top = column - figure.foot[0], row - figure.foot[1]
        rows = slice(max(top, 0), min(top + figure.picture.shape[0], height))
        columns = slice(max(left, 0), min(left + figure.picture.shape[1], width))
        whole = int(np.count_nonzero(figure.picture[..., 3] > 127))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        part = figure.picture[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        light = np.interp(step.x, (0, 1), camera.light)
        blend(image[rows, columns], part, float(light))
        owner[rows, columns][part[..., 3] > 127] = index
        body = cv2.boundingRect((part[..., 3] > 127).astype(np.uint8))
        places.append((index, whole, rows, columns, body))
    boxes: list[Found] = []
    for index, whole, rows, columns, (x, y, wide, high) in places:
        seen = np.count_nonzero(owner[rows, columns] == index)
        if wide and high:
            where = (columns.start + x, rows.start + y, wide, high)
            boxes.append((walkers[index].person.identity, *where, float(seen / whole)))
    return boxes


def blend(under: Image, over: NDArray[np.uint8], light: float) -> None:
    """Paint a figure (BGRA, colours times alpha), lit by ``light``, over a part of the picture, in place."""
    through = 1 - over[..., 3:].astype(np.float32) / 255
    under[:] = np.clip(under * through + light * over[..., :3], 0, 255).astype(np.uint8)


def cast_shadow(image: Image, column: int, row: int, tall: float) -> None:
    """Darken the ground softly around the feet, in place."""
    across, deep = round(0.2 * tall), round(0.07 * tall)
    rows = np.arange(max(row - deep, 0), min(row + deep, image.shape[0]))
    columns = np.arange(max(column - across, 0), min(column + across, image.shape[1]))
    if not len(rows) or not len(columns):
        return
    away = ((rows - row) / deep)[:, None] ** 2 + ((columns - column) / across)[None, :] ** 2
    shade = 1 - 0.22 * np.clip(1 - away, 0, 1)
    patch = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    patch[:] = (patch * shade[..., None]).astype(np.uint8)
