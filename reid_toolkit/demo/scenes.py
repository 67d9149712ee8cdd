"""The three places: still backgrounds, painted from plain shapes in fractions of the picture."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from reid_toolkit.demo.people import Colour
from reid_toolkit.images import Image

GRAIN = 5.0
"""Standard deviation, in grey levels, of the unevenness of painted ground and walls."""


@dataclass(frozen=True)
class Painting:
    """A picture of twice the requested size, painted in fractions (0-1) of its width and height."""

    image: Image
    rng: np.random.Generator

    def at(self, x: float, y: float) -> tuple[int, int]:
        height, width = self.image.shape[:2]
        return round(x * width), round(y * height)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        cv2.rectangle(self.image, self.at(left, top), self.at(right, bottom), colour, -1)

    def shape(self, colour: Colour, *corners: tuple[float, float]) -> None:
        cv2.fillPoly(self.image, [np.array([self.at(*corner) for corner in corners], np.int32)], colour)

    def line(self, a: tuple[float, float], b: tuple[float, float], colour: Colour, thick: float = 0.004) -> None:
        pixels = max(round(thick * self.image.shape[1]), 1)
        cv2.line(self.image, self.at(*a), self.at(*b), colour, pixels, cv2.LINE_AA)

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        cv2.circle(self.image, self.at(x, y), round(radius * self.image.shape[1]), colour, -1, cv2.LINE_AA)

    def floor(self, horizon: float, colour: Colour, joints: Colour, across: int, rows: int) -> None:
        """Paint tiles from ``horizon`` down that run to a vanishing point above it."""
        self.box(0, horizon, 1, 1, colour)
        for i in range(rows):
            y = horizon + (1 - horizon) * (i / rows) ** 1.6
            self.line((0, y), (1, y), joints, 0.002)
        for i in range(-across, 2 * across + 1):
            x = i / across
            self.line((0.5 + (x - 0.5) * 0.55, horizon), (0.5 + (x - 0.5) * 1.5, 1), joints, 0.002)

    def done(self) -> Image:
        """Return the picture in its requested size, with soft unevenness."""
        height, width = (side // 2 for side in self.image.shape[:2])
        image = cv2.resize(self.image, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
        for cell in (3, 24):
            coarse = self.rng.normal(0, GRAIN, (math.ceil(height / cell), math.ceil(width / cell)))
            image += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
        return np.clip(image, 0, 255).astype(np.uint8)


def paint_square(p: Painting) -> None:
    """Paint a paved square in front of a building: windows, a bench, a tree."""
    p.box(0, 0, 1, 0.5, (158, 160, 162))
    for i in range(7):
        left = 0.03 + i * 0.14
        p.box(left, 0.04, left + 0.085, 0.3, (96, 92, 88))
        p.box(left + 0.006, 0.055, left + 0.079, 0.285, (150, 128, 104))
        p.line((left + 0.042, 0.05), (left + 0.042, 0.29), (96, 92, 88))
        p.line((left, 0.17), (left + 0.085, 0.17), (96, 92, 88))
    p.box(0, 0.36, 1, 0.5, (128, 130, 134))
    p.box(0, 0.35, 1, 0.37, (110, 112, 114))
    p.floor(0.5, (168, 172, 174), (146, 150, 152), 8, 9)
    p.box(0.86, 0.1, 0.885, 0.53, (48, 62, 78))
    for dx, dy, radius in ((0, 0, 0.08), (-0.06, 0.05, 0.06), (0.07, 0.04, 0.06), (0.01, 0.1, 0.06)):
        p.disc(0.872 + dx, 0.1 + dy, radius, (52 + round(200 * dy), 104, 62))
    p.box(0.12, 0.44, 0.34, 0.465, (50, 84, 122))
    for x in (0.14, 0.31):
        p.box(x, 0.46, x + 0.012, 0.53, (52, 52, 54))


def paint_hall(p: Painting) -> None:
    """Paint an entrance hall: doors, pillars, posters, a plant."""
    p.box(0, 0, 1, 0.46, (196, 206, 212))
    p.box(0, 0, 1, 0.06, (224, 228, 230))
    for x in (0.18, 0.5, 0.82):
        p.box(x - 0.06, 0.02, x + 0.06, 0.04, (250, 252, 252))
    for x in (0.4, 0.505):
        p.box(x, 0.12, x + 0.1, 0.46, (108, 120, 128))
        p.box(x + 0.015, 0.15, x + 0.085, 0.38, (176, 168, 150))
    for x, colour in ((0.12, (150, 96, 60)), (0.24, (88, 120, 176)), (0.7, (92, 140, 92))):
        p.box(x, 0.14, x + 0.075, 0.32, (236, 236, 236))
        p.box(x + 0.008, 0.155, x + 0.067, 0.26, colour)
    p.floor(0.46, (142, 158, 170), (122, 136, 148), 6, 8)
    p.box(0, 0.45, 1, 0.47, (96, 106, 112))
    for x in (0.335, 0.635):
        p.box(x, 0, x + 0.035, 0.5, (172, 180, 186))
        p.box(x + 0.025, 0, x + 0.035, 0.5, (148, 156, 162))
        p.box(x - 0.006, 0.48, x + 0.041, 0.51, (130, 138, 142))
    p.shape((60, 78, 120), (0.89, 0.42), (0.96, 0.42), (0.95, 0.53), (0.9, 0.53))
    for angle in range(-60, 61, 20):
        tip = (0.925 + 0.07 * math.sin(math.radians(angle)), 0.42 - 0.22 * math.cos(math.radians(angle)))
        p.line((0.925, 0.43), tip, (58, 112, 66), 0.009)


def paint_gate(p: Painting) -> None:
    """Paint a yard behind a gate: brick wall, bars, a hedge, road markings."""
    p.box(0, 0, 1, 0.44, (88, 104, 150))
    for row in range(13):
        y = row * 0.034
        p.line((0, y), (1, y), (112, 124, 156), 0.002)
        for column in range(27):
            x = (column + 0.5 * (row % 2)) / 26
            p.line((x, y), (x, y + 0.034), (112, 124, 156), 0.002)
    p.box(0.56, 0.03, 0.9, 0.44, (186, 190, 180))
    p.box(0.56, 0.26, 0.9, 0.44, (140, 150, 146))
    for i in range(15):
        x = 0.565 + i * 0.0235
        p.line((x, 0.03), (x, 0.44), (44, 44, 42), 0.005)
    for y in (0.06, 0.4):
        p.line((0.56, y), (0.9, y), (44, 44, 42), 0.007)
    for x in (0.535, 0.9):
        p.box(x, 0, x + 0.035, 0.46, (120, 132, 146))
    p.box(0, 0.44, 1, 1, (112, 112, 110))
    p.shape((134, 136, 136), (0, 0.44), (1, 0.44), (1, 0.5), (0, 0.53))
    p.line((0, 0.53), (1, 0.5), (176, 178, 178), 0.006)
    for i in range(5):
        left = 0.04 + i * 0.2
        p.shape((172, 176, 178), (left, 0.8), (left + 0.11, 0.79), (left + 0.115, 0.815), (left, 0.825))
    for i in range(14):
        p.disc(0.02 + i * 0.036, 0.37 + 0.012 * (i % 3), 0.034, (46 + 8 * (i % 2), 92 + 6 * (i % 3), 58))
    p.box(0, 0.4, 0.5, 0.475, (48, 90, 58))
    p.box(0.73, 0.1, 0.78, 0.18, (60, 60, 190))
