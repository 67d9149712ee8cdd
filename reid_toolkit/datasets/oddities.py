"""Signs that a tracklet is wrong, so that a person can look at such tracklets first. Nothing is decided by them.

Colours are compared only within one tracklet, where light and camera are the same.
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
"""Pixels. A box that ends this close to the frame's edge counts as cut by it."""
MANY = 0.5
"""A tracklet is odd if more than this fraction of its crops is."""
TINY = 40.0
"""Height in pixels. Networks read crops 128 or 256 pixels high."""
WIDEST, NARROWEST = 1.2, 5.0
"""Height divided by width; standing and walking people have about 2 to 3.5."""
FASTEST = 4.0
"""Own heights per second: the speed of a sprinter. Half a height more is allowed, because boxes tremble."""
TREMBLES = 0.5
GROWS = 1.6
"""Factor by which a height may change between two crops less than ``SOON`` apart."""
SOON = 1.0
"""Seconds."""
USUAL_RATE = 25.0
"""Frames per second, used if times are unknown."""
TWO_PEOPLE = 0.05
"""How much greater the distance between the two parts of a tracklet is than within them, at the best cut.

About one in twenty tracklets of vtest.avi and of `reid demo` exceeds it. Of pairs of tracklets of one camera that were
joined on purpose, two in five (vtest.avi) and nine in ten (`reid demo`) exceed it."""
LEAST_PART = 3
"""Fewest crops of a part."""
MOST_LOOKED_AT = 48
"""Most crops whose colours are read; from longer tracklets, this many are taken at even intervals."""
STRIPES, BINS = 4, 6
COLOUR_RANGE = ((0, 255), (100, 156), (100, 156))
"""Ranges of L*, a* and b* in OpenCV's 8-bit L*a*b*: clothes seldom have a more extreme a* or b*."""

Size = tuple[int, int]
"""Width and height of a frame, pixels."""


@dataclass(frozen=True, slots=True)
class Oddity:
    """A single sign that a tracklet is wrong."""

    kind: str
    """"two people", "leap", "shape", "cut" or "tiny"."""
    words: str
    weight: float
    """How odd it is, for sorting."""
    frame: int | None = None
    """The frame where another person may begin, and where `reid dataset split` would cut."""


def oddities(tracklet: Tracklet, frame_sizes: Mapping[str, Size], *, colours: bool = True) -> list[Oddity]:
    """Return the signs that ``tracklet`` is wrong, the strongest first; an empty list if there are none.

    ``frame_sizes`` has the frame size of each recording, if known; without it, only the left and the upper edge are
    checked. If the boxes of a dataset have no size, the size of the pictures is used. If ``colours`` is false, pictures
    are read for that purpose only.

    Raises:
        ImageError: a crop cannot be read.
    """
    checks = [cut_off(tracklet, frame_sizes), *outline(tracklet), leap(tracklet)]
    if colours:
        checks.append(change(tracklet))
    return sorted((one for one in checks if one is not None), key=lambda one: -one.weight)


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
    """Check the size and the shape of most boxes."""
    sizes = [(crop.width, crop.height) for crop in tracklet.crops if crop.width > 0 and crop.height > 0]
    if not sizes:
        shapes = [read_image(crop.path).shape for crop in spread(tracklet.crops, LEAST_PART)]
        sizes = [(float(width), float(height)) for height, width, _ in shapes]
    width, height = median(w for w, _ in sizes), median(h for _, h in sizes)
    odd = []
    if has_odd_shape(width, height):
        how = "wide" if height < WIDEST * width else "narrow"
        weight = max(WIDEST * width / height, height / (NARROWEST * width))
        odd.append(Oddity("shape", f"too {how} for one person who stands: {width:.0f} x {height:.0f} pixels", weight))
    if height < TINY:
        odd.append(Oddity("tiny", f"tiny: {height:.0f} pixels high", TINY / height / 2))
    return odd


def leap(tracklet: Tracklet) -> Oddity | None:
    """Find the greatest jump in place or size between two consecutive crops, relative to the time between them."""
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
    """Seconds between two crops: by their times if these are known and increase, else by their frame numbers."""
    if before.time is not None and after.time is not None and after.time > before.time:
        return after.time - before.time
    return (after.frame - before.frame) / USUAL_RATE


def centre(crop: Crop) -> NDArray[np.float64]:
    return np.array([crop.x + crop.width / 2, crop.y + crop.height / 2])


def change(tracklet: Tracklet) -> Oddity | None:
    """Find the frame where the colours change for good: another person may begin there."""
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
    """Return where to cut a row of N pictures in two, and by how much the mean distance between the two parts exceeds
    the mean distance within them. ``similarity`` (N, N) holds the cosines of the pictures."""
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
    """Describe the colours of a person's crop from top to bottom by a vector of length 1.

    It holds histograms of L*, a* and b* in horizontal stripes; each value is shared between the two nearest bins. The
    sides are left out, because they show background. The entries are square roots, so that the product of two vectors
    is Bhattacharyya's coefficient.
    """
    side = picture.shape[1] // 5
    small = resize(np.ascontiguousarray(picture[:, side : picture.shape[1] - side]), 64, 24)
    lab = cv2.cvtColor(small, cv2.COLOR_BGR2LAB).astype(np.float32)
    histograms = []
    for stripe in np.array_split(lab[6:], STRIPES):  # the top rows show hair and background, which tell little
        for channel, (low, high) in enumerate(COLOUR_RANGE):
            value = np.clip((stripe[..., channel].ravel() - low) / (high - low), 0, 1) * (BINS - 1)
            lower = np.minimum(value.astype(int), BINS - 2)
            share = value - lower
            counts = np.bincount(lower, 1 - share, BINS) + np.bincount(lower + 1, share, BINS)
            histograms.append(counts / len(value))
    return np.sqrt(np.concatenate(histograms) / len(histograms)).astype(np.float32)


def spread(crops: tuple[Crop, ...], count: int) -> tuple[Crop, ...]:
    """Return at most ``count`` crops at even intervals, including the first and the last."""
    if len(crops) <= count:
        return crops
    return tuple(crops[round(index)] for index in np.linspace(0, len(crops) - 1, count))
