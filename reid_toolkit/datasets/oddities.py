"""What looks wrong with a tracklet, so that a person can look at those first. Nothing is decided by it.

Which colours a box has, and where, is compared within one tracklet alone: the light and the camera are the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import cv2
import numpy as np
from numpy.typing import NDArray

from reid_toolkit.images import Image, read_image, resize
from reid_toolkit.records import Crop, Tracklet

AT_EDGE = 2.0
"""Pixels: a box that ends so near to the frame's edge is cut by it."""
MANY = 0.5
"""A tracklet is odd when more than this part of its crops is."""
TINY = 40.0
"""Height in pixels. Networks look at 128 or 256."""
WIDEST, NARROWEST = 1.2, 5.0
"""Height over width; standing and walking people have about 2 to 3.5."""
FASTEST = 4.0
"""Of one's own heights in a second: a sprinter. Boxes tremble, so half a height more is no leap."""
TREMBLES = 0.5
GROWS = 1.6
"""Times, between two crops less than ``SOON`` apart."""
SOON = 1.0
"""Seconds."""
USUAL_RATE = 25.0
"""Frames a second, where no time is known."""
TWO_PEOPLE = 0.05
"""How much further apart than within them the two parts of a tracklet are, at the best cut. About one in twenty
tracklets of vtest.avi and of `reid demo` has more; of pairs of one camera joined, two in five and nine in ten have."""
LEAST_PART = 3
"""Crops, of a part."""
MOST_LOOKED_AT = 48
"""Crops whose colours are read: of longer tracklets, spread over them."""
STRIPES, BINS = 4, 6
COLOUR_RANGE = ((0, 255), (100, 156), (100, 156))
"""Of OpenCV's 8-bit L*a*b*: clothes seldom go further in a* and b*."""

Size = tuple[int, int]
"""Width and height of a frame, pixels."""


@dataclass(frozen=True, slots=True)
class Oddity:
    """One thing that looks wrong."""

    kind: str
    """"two people", "leap", "shape", "cut" or "tiny"."""
    words: str
    weight: float
    """How odd, to sort by."""
    frame: int | None = None
    """The frame where somebody else may begin; where `reid dataset split` would cut."""


def oddities(tracklet: Tracklet, frame_sizes: Mapping[str, Size], *, colours: bool = True) -> list[Oddity]:
    """What looks wrong with ``tracklet``, the oddest first; empty where nothing does.

    ``frame_sizes`` has the size of the frames of each recording, where it is known; the right and the lower edge are
    not looked at without. Datasets whose boxes have no size are judged by their pictures. Without ``colours`` no
    picture is read, except for that.

    Raises:
        ImageError: a crop cannot be read.
    """
    found = [cut_off(tracklet, frame_sizes), *outline(tracklet), leap(tracklet)]
    if colours:
        found.append(change(tracklet))
    return sorted((one for one in found if one is not None), key=lambda one: -one.weight)


def is_cut(crop: Crop, frame_sizes: Mapping[str, Size]) -> bool:
    """Whether the box of a crop ends at the frame's edge."""
    if not crop.width or not crop.height:
        return False
    width, height = frame_sizes.get(crop.recording, (np.inf, np.inf))
    right, bottom = crop.x + crop.width, crop.y + crop.height
    return min(crop.x, crop.y, width - right, height - bottom) < AT_EDGE


def cut_off(tracklet: Tracklet, frame_sizes: Mapping[str, Size]) -> Oddity | None:
    count = sum(is_cut(crop, frame_sizes) for crop in tracklet.crops)
    share = count / len(tracklet.crops)
    if share <= MANY:
        return None
    return Oddity("cut", f"cut by the frame's edge in {count} of {len(tracklet.crops)} crops", share)


def has_odd_shape(width: float, height: float) -> bool:
    """Whether a box is too wide or too narrow for a person who stands or walks."""
    return not WIDEST <= height / width <= NARROWEST


def outline(tracklet: Tracklet) -> list[Oddity]:
    """What is odd about the size and the shape of most boxes."""
    sizes = [(crop.width, crop.height) for crop in tracklet.crops if crop.width > 0 and crop.height > 0]
    if not sizes:
        shapes = [read_image(crop.path).shape for crop in spread(tracklet.crops, LEAST_PART)]
        sizes = [(float(width), float(height)) for height, width, _ in shapes]
    width, height = median(w for w, _ in sizes), median(h for _, h in sizes)
    found = []
    if has_odd_shape(width, height):
        how = "wide" if height < WIDEST * width else "narrow"
        weight = max(WIDEST * width / height, height / (NARROWEST * width))
        found.append(Oddity("shape", f"too {how} for one person who stands: {width:.0f} x {height:.0f} pixels", weight))
    if height < TINY:
        found.append(Oddity("tiny", f"tiny: {height:.0f} pixels high", TINY / height / 2))
    return found


def leap(tracklet: Tracklet) -> Oddity | None:
    """The greatest leap of place or size between two crops that follow each other, against the time between them."""
    worst: Oddity | None = None
    for before, after in pairwise(tracklet.crops):
        if min(before.width, before.height, after.width, after.height) <= 0 or before.recording != after.recording:
            continue
        seconds = seconds_between(before, after)
        if seconds <= 0:
            continue
        height = max(before.height, after.height)
        moved = float(np.hypot(*(centre(after) - centre(before)))) / height
        grown = height / min(before.height, after.height)
        far, big = moved / (TREMBLES + FASTEST * seconds), (grown / GROWS if seconds < SOON else 0.0)
        weight = max(far, big)
        if weight > max(1.0, worst.weight if worst else 0.0):
            what = f"moves {moved:.1f} of its heights" if far >= big else f"its height changes {grown:.1f} times"
            worst = Oddity("leap", f"{what} in {seconds:.1f} s, at frame {after.frame}", weight, after.frame)
    return worst


def seconds_between(before: Crop, after: Crop) -> float:
    """By their times where these are known and go on, else by their frames."""
    if before.time is not None and after.time is not None and after.time > before.time:
        return after.time - before.time
    return (after.frame - before.frame) / USUAL_RATE


def centre(crop: Crop) -> NDArray[np.float64]:
    return np.array([crop.x + crop.width / 2, crop.y + crop.height / 2])


def change(tracklet: Tracklet) -> Oddity | None:
    """Where the colours become others, and stay so: somebody else may begin there."""
    if len(tracklet.crops) < 2 * LEAST_PART:
        return None
    crops = spread(tracklet.crops, MOST_LOOKED_AT)
    colours = np.stack([colours_of(read_image(crop.path)) for crop in crops])
    place, how_much = best_cut(colours @ colours.T)
    if how_much <= TWO_PEOPLE:
        return None
    frame = crops[place].frame
    return Oddity(
        "two people", f"maybe two people: other colours from frame {frame} on", 1 + how_much / TWO_PEOPLE, frame
    )


def best_cut(similarity: NDArray[np.float32]) -> tuple[int, float]:
    """Where to cut a row of N pictures in two, of which ``similarity`` (N, N) has the cosines; and by how much the
    mean distance between the parts is greater than that within them."""
    count, best = len(similarity), (LEAST_PART, -np.inf)
    distance = 1 - similarity
    for place in range(LEAST_PART, count - LEAST_PART + 1):
        parts = distance[:place, :place], distance[place:, place:]
        within = sum(float(part.sum()) for part in parts) / sum(len(part) * (len(part) - 1) for part in parts)
        apart = float(distance[:place, place:].mean()) - within
        if apart > best[1]:
            best = place, apart
    return best


def colours_of(picture: Image) -> NDArray[np.float32]:
    """What colours a person's crop has from top to bottom, as a vector of length 1.

    Histograms of L*, a* and b* in horizontal stripes, each value shared between the two bins next to it; the sides,
    where the background is, are left out. Square roots, so that the product of two is Bhattacharyya's coefficient.
    """
    side = picture.shape[1] // 5
    small = resize(np.ascontiguousarray(picture[:, side : picture.shape[1] - side]), 64, 24)
    lab = cv2.cvtColor(small, cv2.COLOR_BGR2LAB).astype(np.float32)
    histograms = []
    for stripe in np.array_split(lab[6:], STRIPES):  # hair and what is above it tell little
        for channel, (low, high) in enumerate(COLOUR_RANGE):
            value = np.clip((stripe[..., channel].ravel() - low) / (high - low), 0, 1) * (BINS - 1)
            lower = np.minimum(value.astype(int), BINS - 2)
            share = value - lower
            counts = np.bincount(lower, 1 - share, BINS) + np.bincount(lower + 1, share, BINS)
            histograms.append(counts / len(value))
    return np.sqrt(np.concatenate(histograms) / len(histograms)).astype(np.float32)


def spread(crops: tuple[Crop, ...], count: int) -> tuple[Crop, ...]:
    """At most ``count`` of them, evenly over all, the first and the last among them."""
    if len(crops) <= count:
        return crops
    return tuple(crops[round(index)] for index in np.linspace(0, len(crops) - 1, count))
