"""Draws one walking person: a jointed body in space, which is turned, projected and painted part by part.

Body coordinates are in body heights: sideways to the person's left, up from the ground, and forward.
``heading`` is the direction of walking: 0 towards the camera, pi/2 to the right of the picture, pi away.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from reid_toolkit.demo.people import CLOTHES, Colour, Person
from reid_toolkit.demo.surfaces import paint_head, paint_torso

Point = tuple[float, float, float]
"""Sideways, up, forward, in body heights."""
Piece = tuple[Point, Point, float, float, Colour]
"""A limb's two ends, its thickness at each, and its colour."""

OVERSAMPLING = 2
"""Figures are painted this many times larger and then shrunk by area, which smooths their edges."""
GROUND = 0.88
"""Row of the ground point under the body, as a fraction of the canvas's height."""
SHOULDER, HIP, WAIST, HEAD = 0.80, 0.49, 0.52, 0.925
THIGH = SHIN = 0.225
UPPER_ARM, FOREARM = 0.165, 0.145


@dataclass(frozen=True)
class Figure:
    """A painted person."""

    picture: NDArray[np.uint8]
    """(H, W, 4) uint8, BGRA, colours already multiplied by alpha; no larger than the person needs."""
    foot: tuple[int, int]
    """Column and row in ``picture`` of the ground point under the body."""


@dataclass(frozen=True)
class Brush:
    """Projects body coordinates onto a canvas and paints there."""

    canvas: NDArray[np.uint8]
    scale: float
    """Canvas pixels per body height."""
    heading: float
    elevation: float
    """Angle by which the camera looks down, in radians."""
    lift: float
    """Added to every height, so that the lower foot stands on the ground."""

    def project(self, point: Point) -> tuple[float, float]:
        """Return canvas column and row of ``point``."""
        side, up, forward = point
        across = side * math.cos(self.heading) + forward * math.sin(self.heading)
        rise = (up + self.lift) * math.cos(self.elevation) - self.nearness(point) * math.sin(self.elevation)
        rows, columns = self.canvas.shape[:2]
        return columns / 2 + across * self.scale, rows * GROUND - rise * self.scale

    def nearness(self, point: Point) -> float:
        """Return how much nearer to the camera ``point`` is than the body's axis, in body heights."""
        side, _, forward = point
        return forward * math.cos(self.heading) - side * math.sin(self.heading)

    def limbs(self, *pieces: Piece) -> None:
        """Paint tapering limbs, lit from the left of the picture. All shade is painted before all light, to avoid
        seams."""
        placed = []
        for a, b, thick_a, thick_b, colour in pieces:
            light = 1 + 1.6 * min(self.nearness((a[0], 0, 0)), 0)  # the far arm and leg are darker
            radii = (thick_a * self.scale / 2, thick_b * self.scale / 2)
            placed.append((self.project(a), self.project(b), radii, colour, light))
        for shade, part, shift in ((0.78, 1.0, 0.0), (1.0, 0.66, -0.2)):
            for start, end, radii, colour, light in placed:
                paint = shaded(colour, shade * light)
                centres = (start[0] + shift * radii[0], start[1]), (end[0] + shift * radii[1], end[1])
                for centre, radius in zip(centres, radii, strict=True):
                    cv2.circle(self.canvas, rounded(centre), max(round(radius * part), 1), paint, -1)
                corners = band(*centres, radii[0] * part, radii[1] * part)
                cv2.fillConvexPoly(self.canvas, corners, paint)

    def blob(self, centre: Point, across: float, high: float, colour: Colour) -> None:
        """Paint a lit ellipse of ``across`` by ``high`` body heights."""
        column, row = self.project(centre)
        for shade, part in ((0.8, 1.0), (1.0, 0.72)):
            axes = (max(across * self.scale * part / 2, 1), max(high * self.scale * part / 2, 1))
            place = (column - (1 - part) * axes[0] * 0.5, row - (1 - part) * axes[1] * 0.5)
            cv2.ellipse(self.canvas, rounded(place), rounded(axes), 0, 0, 360, shaded(colour, shade), -1)

    def box(self, centre: Point, across: float, high: float, colour: Colour) -> None:
        """Paint a bag: a box with a darker rim and a pocket."""
        column, row = self.project(centre)
        for shade, part, drop in ((0.7, 1.0, 0.0), (1.0, 0.82, 0.0), (0.84, 0.52, 0.22)):
            x, y = across * self.scale * part / 2, high * self.scale * part / 2
            middle = row + drop * high * self.scale
            corners = rounded((column - x, middle - y)), rounded((column + x, middle + y))
            cv2.rectangle(self.canvas, *corners, shaded(colour, shade), -1)


def draw_figure(person: Person, height: float, heading: float, phase: float, elevation: float) -> Figure:
    """Paint ``person`` ``height`` pixels tall at ``phase`` (radians; 2 pi is two steps) of the walk."""
    scale = height * person.height * OVERSAMPLING
    side = 4 * round(scale * 0.22), 4 * round(scale * 0.29)
    canvas = np.zeros((side[1], side[0], 4), np.uint8)
    one, other = leg_joints(0.052 * person.girth, phase), leg_joints(-0.052 * person.girth, phase + math.pi)
    brush = Brush(canvas, scale, heading, elevation, 0.03 - min(one[2][1], other[2][1]))
    parts = [
        (brush.nearness((0.06, 0, 0)) - 0.1, lambda: paint_leg(brush, person, one)),
        (brush.nearness((-0.06, 0, 0)) - 0.1, lambda: paint_leg(brush, person, other)),
        (0.0, lambda: paint_body(brush, person, (one[1], other[1]))),
        (brush.nearness((0.16, 0, 0)), lambda: paint_arm(brush, person, 1, phase + math.pi)),
        (brush.nearness((-0.16, 0, 0)), lambda: paint_arm(brush, person, -1, phase)),
    ]
    if person.bag == "backpack":
        parts.append((brush.nearness((0, 0, -0.13)), lambda: paint_backpack(brush, person)))
    if person.hair_style == "long":
        parts.append((brush.nearness((0, 0, -0.1)) + 0.02, lambda: paint_long_hair(brush, person)))
    for _, paint in sorted(parts, key=lambda part: part[0]):
        paint()
    small = np.asarray(cv2.resize(canvas, (side[0] // 2, side[1] // 2), interpolation=cv2.INTER_AREA), np.uint8)
    left, top, wide, high = cv2.boundingRect((small[..., 3] > 0).astype(np.uint8))
    ground = round(side[1] // 2 * GROUND)
    return Figure(small[top : top + high, left : left + wide], (side[0] // 4 - left, ground - top))


def leg_joints(side: float, phase: float) -> tuple[Point, Point, Point, Point]:
    """Return hip, knee, ankle and toe of a leg. It is straight while it carries, and bent while it swings forward."""
    swing = 0.46 * math.sin(phase)
    bend = 0.08 + 0.85 * max(math.cos(phase), 0.0) ** 1.5
    knee = (side, HIP - THIGH * math.cos(swing), THIGH * math.sin(swing))
    lower = swing - bend
    ankle = (side, knee[1] - SHIN * math.cos(lower), knee[2] + SHIN * math.sin(lower))
    toe = (side, ankle[1] - 0.012 - 0.05 * math.sin(max(-lower - 0.3, 0.0)), ankle[2] + 0.085)
    return (side, HIP, 0.0), knee, ankle, toe


def paint_leg(brush: Brush, person: Person, joints: tuple[Point, Point, Point, Point]) -> None:
    hip, knee, ankle, toe = joints
    cloth = CLOTHES[person.legs_colour]
    thigh, shin = {
        "trousers": (cloth, cloth),
        "shorts": (cloth, person.skin),
        "skirt": (person.skin, person.skin),
    }[person.legs]
    wide = person.girth
    brush.limbs((ankle, toe, 0.05, 0.034, CLOTHES[person.shoes]))
    brush.limbs((knee, ankle, 0.078 * wide, 0.052 * wide, shin), (hip, knee, 0.108 * wide, 0.08 * wide, thigh))


def paint_arm(brush: Brush, person: Person, which: int, phase: float) -> None:
    """Paint the left (``which`` 1) or right (-1) arm of the person. It swings against the leg on its side."""
    swing = 0.42 * math.sin(phase)
    side = which * (0.098 * person.girth + 0.012)
    shoulder = (side, SHOULDER - 0.028, 0.0)
    elbow = (side * 1.2, shoulder[1] - UPPER_ARM * math.cos(swing), UPPER_ARM * math.sin(swing))
    lower = swing + 0.3
    hand = (side * 1.25, elbow[1] - FOREARM * math.cos(lower), elbow[2] + FOREARM * math.sin(lower))
    sleeve = CLOTHES[person.top]
    wide = person.girth
    brush.blob(hand, 0.045, 0.05, person.skin)
    brush.limbs(
        (elbow, hand, 0.054 * wide, 0.042 * wide, sleeve if person.long_sleeves else person.skin),
        (shoulder, elbow, 0.072 * wide, 0.056 * wide, sleeve),
    )
    if person.bag == "handbag" and which == 1:
        brush.box((hand[0], hand[1] - 0.1, hand[2]), 0.13, 0.13, CLOTHES[person.bag_colour])
        brush.limbs(((hand[0], hand[1] - 0.03, hand[2]), hand, 0.012, 0.012, CLOTHES[person.bag_colour]))


def paint_body(brush: Brush, person: Person, knees: tuple[Point, Point]) -> None:
    """Paint skirt, torso, neck and head, which share the body's axis."""
    if person.legs == "skirt":
        paint_skirt(brush, person, knees)
    top, bottom = brush.project((0, SHOULDER + 0.025, 0)), brush.project((0, person.hem - 0.02, 0))
    paint_torso(brush.canvas, person, brush.heading, top, bottom, brush.scale)
    brush.limbs(((0, SHOULDER, 0), (0, 0.87, 0.01), 0.06, 0.052, person.skin))
    paint_head(brush.canvas, person, brush.heading, brush.project((0, HEAD, 0.012)), brush.scale)


def paint_skirt(brush: Brush, person: Person, knees: tuple[Point, Point]) -> None:
    """Paint the skirt from the waist to below the knees. There it is as wide as the stride."""
    waist, hem = brush.project((0, WAIST, 0)), brush.project((0, 0.25, 0))
    columns = sorted(brush.project(knee)[0] for knee in knees)
    loose = 0.07 * person.girth * brush.scale
    for shade, part in ((0.8, 1.0), (1.0, 0.7)):  # the lit part leaves the right edge in shade
        left, right = columns[0] - loose, columns[1] + loose
        corners = (
            (waist[0] - 1.4 * loose, waist[1]),
            (waist[0] + (2.8 * part - 1.4) * loose, waist[1]),
            (left + part * (right - left), hem[1]),
            (left, hem[1]),
        )
        points = np.array([rounded(corner) for corner in corners], np.int32)
        cv2.fillConvexPoly(brush.canvas, points, shaded(CLOTHES[person.legs_colour], shade))


def paint_backpack(brush: Brush, person: Person) -> None:
    turn = abs(math.sin(brush.heading))
    across = 0.19 * (1 - turn) + 0.11 * turn
    brush.box((0, 0.675, -0.115), across, 0.235, CLOTHES[person.bag_colour])


def paint_long_hair(brush: Brush, person: Person) -> None:
    turn = abs(math.sin(brush.heading))
    across = 0.135 * (1 - turn) + 0.085 * turn
    brush.blob((0, 0.87, -0.035), across, 0.2, person.hair)


def shaded(colour: Colour, shade: float) -> tuple[int, int, int, int]:
    """Return ``colour`` times ``shade``, opaque."""
    blue, green, red = (min(round(value * shade), 255) for value in colour)
    return blue, green, red, 255


def rounded(point: tuple[float, float]) -> tuple[int, int]:
    return round(point[0]), round(point[1])


def band(a: tuple[float, float], b: tuple[float, float], radius_a: float, radius_b: float) -> NDArray[np.int32]:
    """Return the four corners of the band between two circles."""
    length = math.hypot(b[0] - a[0], b[1] - a[1]) or 1.0
    x, y = (a[1] - b[1]) / length, (b[0] - a[0]) / length
    corners = (
        (a[0] + x * radius_a, a[1] + y * radius_a),
        (a[0] - x * radius_a, a[1] - y * radius_a),
        (b[0] - x * radius_b, b[1] - y * radius_b),
        (b[0] + x * radius_b, b[1] + y * radius_b),
    )
    return np.array([rounded(corner) for corner in corners], np.int32)
