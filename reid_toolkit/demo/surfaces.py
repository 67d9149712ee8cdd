"""Paints the two parts whose pattern goes round the body: the torso and the head.

In the picture of a round body, a column at ``u`` (-1 left edge, 1 right edge) shows the point at the angle
asin(u) - heading from its front. So a jacket opens in front, straps show there, and the face turns away.
"""

import math

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.demo.people import CLOTHES, Person

Floats = NDArray[np.float32]


def paint_torso(
    canvas: NDArray[np.uint8],
    person: Person,
    heading: float,
    top: tuple[float, float],
    bottom: tuple[float, float],
    scale: float,
) -> None:
    """Paint the top from the shoulders (``top``: column, row) to its hem (``bottom``) onto a BGRA canvas."""
    rows = np.arange(round(top[1]), round(bottom[1]), dtype=np.float32)
    down = ((rows - top[1]) / scale).astype(np.float32)  # (R,) body heights below the shoulders
    part = (down / down[-1]).astype(np.float32)
    wide = np.interp(down, (0, 0.02, 0.05, 0.08, 0.2, 0.32, 0.46), (0.045, 0.085, 0.11, 0.118, 0.1, 0.112, 0.138))
    deep = np.interp(down, (0, 0.04, 0.12, 0.22, 0.32, 0.46), (0.05, 0.068, 0.085, 0.078, 0.086, 0.105))
    half = np.hypot(wide * math.cos(heading), deep * math.sin(heading)) * person.girth * scale
    patch, u = patch_of(canvas, rows, top[0], half.astype(np.float32))
    inside = np.abs(u) <= 1
    angle = np.arcsin(np.clip(u, -1, 1))
    round_body = ((angle - heading + math.pi) % (2 * math.pi) - math.pi).astype(np.float32)
    mix = pattern_mix(person.pattern, round_body, np.broadcast_to(part[:, None], u.shape), down[:, None])
    colours = np.array([CLOTHES[person.top], CLOTHES[person.second]], np.float32)
    paint = colours[0] + mix[..., None] * (colours[1] - colours[0])
    if person.bag == "backpack":
        straps = (np.abs(np.abs(round_body) - 0.62) < 0.13) & (down[:, None] < 0.2)
        paint[straps] = CLOTHES[person.bag_colour]
    paint *= lighting(angle)[..., None]
    lay(patch, paint, inside)


def pattern_mix(pattern: str, angle: Floats, part: Floats, down: Floats) -> Floats:
    """Return how much of the second colour shows, 0-1, at an angle round the body and a fraction of the way down."""
    hoops = np.broadcast_to((down / 0.045).astype(np.int32) % 2, angle.shape).astype(np.float32)
    stripes = (np.floor(angle / 0.36) % 2).astype(np.float32)
    match pattern:
        case "plain":
            return np.zeros_like(angle)
        case "hoops":
            return hoops
        case "stripes":
            return stripes
        case "checks":
            return (hoops + stripes) / 2
        case "halves":
            return (part > 0.5).astype(np.float32)
        case _:  # an open jacket, wider towards the hem
            return (np.abs(angle) < 0.3 + 0.25 * part).astype(np.float32)


def paint_head(
    canvas: NDArray[np.uint8], person: Person, heading: float, centre: tuple[float, float], scale: float
) -> None:
    """Paint hair, face and hat of a head around ``centre`` (column, row) onto a BGRA canvas."""
    tall = 0.073 * scale * (1.08 if person.hair_style == "beanie" else 1.0)
    wide = math.hypot(0.054 * math.cos(heading), 0.062 * math.sin(heading)) * scale
    rows = np.arange(round(centre[1] - tall), round(centre[1] + tall) + 1, dtype=np.float32)
    down = (rows - centre[1]) / tall
    half = wide * np.sqrt(np.maximum(1 - down**2, 0)).astype(np.float32)
    patch, u = patch_of(canvas, rows, centre[0], np.maximum(half, 1))
    inside = np.abs(u) <= 1
    angle = np.arcsin(np.clip(u, -1, 1))
    from_face = np.abs((angle - heading + math.pi) % (2 * math.pi) - math.pi)
    low = np.broadcast_to(down[:, None], u.shape)
    paint = np.broadcast_to(np.array(person.skin, np.float32), (*u.shape, 3)).copy()
    if person.hair_style != "bald":
        back = (from_face > 1.25) & (low < (0.9 if person.hair_style == "long" else 0.35))
        paint[back | (low < -0.42)] = person.hair
    paint[(np.abs(low + 0.02) < 0.09) & (np.abs(from_face - 0.42) < 0.16)] = (30, 30, 34)
    paint[(np.abs(low - 0.5) < 0.05) & (from_face < 0.3)] = (70, 70, 140)
    if person.hair_style in ("cap", "beanie"):
        paint[low < (-0.25 if person.hair_style == "cap" else -0.3)] = person.hat
        brim = (np.abs(low + 0.27) < 0.1) & (from_face < 1.0) & (person.hair_style == "cap")
        paint[brim] = np.array(person.hat, np.float32) * 0.6
    paint *= lighting(angle)[..., None]
    lay(patch, paint, inside)


def patch_of(canvas: NDArray[np.uint8], rows: Floats, column: float, half: Floats) -> tuple[NDArray[np.uint8], Floats]:
    """Return the view of the canvas that a round part of half-width ``half`` (R,) covers, and u there (R, W)."""
    reach = math.ceil(float(half.max()))
    left = round(column) - reach
    columns = np.arange(left, left + 2 * reach + 1, dtype=np.float32)
    u = (columns[None, :] - np.float32(column)) / half[:, None]  # (1, W) / (R, 1) -> (R, W)
    return canvas[int(rows[0]) : int(rows[-1]) + 1, left : left + 2 * reach + 1], u


def lighting(angle: Floats) -> Floats:
    """Return the brightness at an angle from the viewer. Light comes from the upper left, as on the limbs."""
    return 0.62 + 0.4 * np.cos(angle + 0.45)


def lay(patch: NDArray[np.uint8], paint: Floats, inside: NDArray[np.bool_]) -> None:
    """Copy ``paint`` (R, W, 3) onto a BGRA ``patch`` at the pixels ``inside``, opaque."""
    patch[..., :3][inside] = np.clip(paint[inside], 0, 255).astype(np.uint8)
    patch[..., 3][inside] = 255
