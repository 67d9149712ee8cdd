"""How far the records of one person are from each other, and how many there are: estimated without any label.

In a gallery of many people, nearly all pairs of records show two people. So the distances of all pairs tell how far
apart different people are, and a pair that is much nearer is likely one person. If some records are surely of one
person, their distances tell how far apart records of one person are. The limit is in the middle between both.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Farthest = Callable[[str | None, str | None], float]
"""The largest distance at which records of two cameras count as neighbours."""

Distances = tuple[float | None, float | None]
"""Of records of one camera, and of two cameras. None if unknown."""
LEAST_PAIRS = 3
"""A single distance is its own median, and would be taken for near."""
PAIRS = 200_000
"""At most so many pairs are looked at."""
ROWS = 2_000
"""The neighbours of at most so many records are counted."""
SAMPLED_FROM, SAMPLED = 50_000, 20_000
"""In galleries of so many records, so many of them are looked at."""
SEEDS, AROUND = 1_000, (15, 45)
"""Of these, records drawn at random, and those nearest to each of them: in its own camera, and in others."""
LOWER, UPPER = 2.8, 4.5
"""Neighbours are nearer than the typical distance of two people by so many standard deviations. The deviation is
measured below the median (LOWER), or, if many pairs show one person, far above it (UPPER). Found on drawn footage and
on CUHK03's validation people; docs/people.md."""
SURE = 0.9
"""This part of the distances within sure groups is under the largest usual distance of one person."""
USUAL = 0.5
"""This part of them is under the distance at which records are neighbours, however many there are."""
FEWEST_PAIRS = 20
"""Fewer pairs of a kind say nothing."""
PLAUSIBLE = 0.6
"""If the lower limit is under this part of the upper one, a quarter of all pairs or more show one person."""
MORE = 1.5
"""A record has at most so many times the median number of neighbours."""
FEWEST_OWN, FEWEST_OTHER = 2, 4
MOST_OWN, MOST_OTHER = 60, 200
"""Bounds of the numbers of neighbours, in a record's own camera and in others."""


class Reach(NamedTuple):
    """Limits on which records are neighbours."""

    farthest: Farthest
    own: int
    """Neighbours of a record in its own camera."""
    other: int
    """Neighbours in all other cameras."""
    surely: Farthest | None = None
    """Records that are nearer than this are neighbours beyond these numbers. None if nothing is known."""


def estimate_reach(
    descriptors: NDArray[np.float32],
    cameras: Sequence[str],
    farthest: Farthest | None = None,
    groups: NDArray[np.int64] | None = None,
    numbers: tuple[int, int] | None = None,
) -> Reach:
    """Estimate the limits for (N, D) unit rows of N cameras.

    Args:
        descriptors, cameras: the records.
        farthest: the distances from a calibration, if there is one. Otherwise there is a distance for records of one
            camera and another for records of different cameras.
        groups: (N,) equal numbers for records that surely show one person, -1 if nothing is known.
        numbers: the numbers of neighbours, if they are known.

    From :data:`SAMPLED_FROM` records on with ``groups``, only the records of some groups are looked at. The number of
    neighbours is then that of a smaller gallery: in a large one, many records within reach show other people.
    """
    names, number = numbered(cameras)
    if groups is not None and len(groups) >= SAMPLED_FROM:
        rows = some_groups(groups)
        descriptors, number, groups = descriptors[rows], number[rows], groups[rows]
    surely: Farthest | None = None
    if groups is not None:
        largest, usual = distances_within(descriptors, number, groups)
        surely = two_limits(*(distance or 0.0 for distance in usual))
    if farthest is None:
        own, other = typical_limits(descriptors, number)
        if groups is not None:
            own, other = ((a + b) / 2 if b is not None else a for a, b in zip((own, other), largest, strict=True))
        farthest = two_limits(own, other)
    if numbers is None:
        counts = neighbour_counts(descriptors, number, limits_between(names, farthest))
        bounds = ((FEWEST_OWN, MOST_OWN), (FEWEST_OTHER, MOST_OTHER))
        in_own, in_other = (
            int(np.clip(MORE * np.median(column), *bound)) for column, bound in zip(counts, bounds, strict=True)
        )
        numbers = in_own, in_other
    return Reach(farthest, *numbers, surely)


def numbered(cameras: Sequence[str]) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
    """The names of the cameras, each once, and the number (N,) of each record's camera among them."""
    return np.unique(np.array(cameras, dtype=object).astype(str), return_inverse=True)


def limits_between(names: NDArray[np.str_], farthest: Farthest) -> NDArray[np.float64]:
    """The largest distance of neighbours for each two of C cameras, (C, C)."""
    return np.array([[farthest(a or None, b or None) for b in names] for a in names])


def two_limits(own: float, other: float) -> Farthest:
    """One limit for records of one camera, and another for records of two cameras."""
    return lambda a, b: own if (a or "") == (b or "") else other


def some_groups(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows (about :data:`SAMPLED`) of some whole groups, drawn at random, and as large a part of the rows without a
    group."""
    numbers, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(0).permutation(len(numbers))
    order = order[numbers[order] >= 0]
    chosen = order[np.cumsum(sizes[order]) - sizes[order] < SAMPLED]
    rows = np.flatnonzero(np.isin(place, chosen))
    alone = np.flatnonzero(groups < 0)
    step = max(1, round(len(groups) / SAMPLED))
    return np.sort(np.concatenate([rows, alone[::step]]))


def surroundings(
    descriptors: NDArray[np.float32], cameras: Sequence[str], farthest: Farthest
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows that hold all records near to some of them, and these rows in the middle. In a gallery of fewer than
    :data:`SAMPLED_FROM` records, all rows."""
    count = len(descriptors)
    if count < SAMPLED_FROM:
        return np.arange(count), np.arange(count)
    names, number = numbered(cameras)
    middle = np.sort(np.random.default_rng(0).choice(count, min(SEEDS, count), replace=False))
    chosen = [middle]
    for _, distances, same in to_all(descriptors, number, limits_between(names, farthest), middle):
        for kind, most in zip((same, ~same), AROUND, strict=True):
            apart = np.where(kind, distances, np.inf)
            nearest = np.argpartition(apart, min(most, count - 1), axis=1)[:, :most]
            chosen.append(nearest[np.isfinite(np.take_along_axis(apart, nearest, axis=1))])
    return np.unique(np.concatenate(chosen)), middle


def place_within(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each row in its group, in an order drawn at random."""
    drawn = np.random.default_rng(0).permutation(len(groups))
    order = drawn[np.argsort(groups[drawn], kind="stable")]
    places = np.empty(len(groups), np.int64)
    places[order] = sizes_and_places(groups[order])[1]
    return places


def sizes_and_places(groups: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The sizes of groups (G,), and the place of each row in its group (N,). ``groups`` (N,) are sorted, from 0 on."""
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    sizes = np.diff(starts, append=len(groups))
    return sizes, np.arange(len(groups)) - np.repeat(starts, sizes)


def typical_limits(descriptors: NDArray[np.float32], camera: NDArray[np.int64]) -> tuple[float, float]:
    """The largest distance of neighbours in one camera, and in different cameras."""
    count = len(descriptors)
    if count * (count - 1) // 2 <= PAIRS:
        first, second = np.triu_indices(count, 1)
    else:
        rng = np.random.default_rng(0)
        first = rng.integers(count, size=PAIRS)
        second = (first + rng.integers(1, count, size=PAIRS)) % count
    distances = lengths(descriptors, first, second)
    own = camera[first] == camera[second]
    whole = limit_of(distances)
    one_camera, two_cameras = (
        limit_of(distances[kind]) if kind.sum() >= FEWEST_PAIRS else whole for kind in (own, ~own)
    )
    return one_camera, two_cameras


def distances_within(
    descriptors: NDArray[np.float32], camera: NDArray[np.int64], groups: NDArray[np.int64]
) -> tuple[Distances, Distances]:
    """The largest usual distances within groups, and the median ones."""
    order = np.argsort(groups, kind="stable")
    order = order[groups[order] >= 0]
    sizes, place = sizes_and_places(groups[order])
    # Each record with each later one of its group, or with a few of them if there are too many pairs.
    first, second = [], []
    most = max(1, 2 * PAIRS // max(len(order), 1))
    rng = np.random.default_rng(0)
    left = np.repeat(sizes, sizes) - place - 1
    for step in range(1, int(min(most, sizes.max(initial=1) - 1)) + 1):
        rows = np.flatnonzero(left >= step)
        jump = step if sizes.max() - 1 <= most else rng.integers(1, left[rows] + 1)
        first.append(order[rows])
        second.append(order[rows + jump])
    if not first:
        return (None, None), (None, None)
    one, other = np.concatenate(first), np.concatenate(second)
    apart = lengths(descriptors, one, other)
    same = camera[one] == camera[other]
    kinds = [apart[kind] if kind.sum() >= FEWEST_PAIRS else None for kind in (same, ~same)]

    def quantiles(share: float) -> Distances:
        own, across = (None if kind is None else float(np.quantile(kind, share)) for kind in kinds)
        return own, across

    return quantiles(SURE), quantiles(USUAL)


def lengths(
    descriptors: NDArray[np.float32], first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The distances (P,) of P pairs of rows."""
    steps = range(0, len(first), ROWS)
    parts = [descriptors[first[at : at + ROWS]] - descriptors[second[at : at + ROWS]] for at in steps]
    return np.concatenate([np.linalg.norm(part, axis=1) for part in parts] or [np.empty(0, np.float32)])


def limit_of(distances: NDArray[np.floating]) -> float:
    """The distance that hardly any pair of two people is under, for pairs that mostly show two people. 0 if there are
    too few pairs to tell."""
    if len(distances) < LEAST_PAIRS:
        return 0.0
    low, middle, high, top = np.quantile(distances, (0.25, 0.5, 0.75, 0.95))
    # Of a normal distribution, the quartile is 0.674 deviations from the middle, and the 95th hundredth 1.645.
    lower = middle - LOWER * (middle - low) / 0.674
    deviation = (top - high) / (1.645 - 0.674)
    upper = high - (0.674 + UPPER) * deviation
    return float(lower if lower >= PLAUSIBLE * upper else upper)


def neighbour_counts(
    descriptors: NDArray[np.float32], camera: NDArray[np.int64], limits: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many others are within the limits of each of some records: in the own camera, and in other cameras."""
    count = len(descriptors)
    rows = np.arange(count) if count <= ROWS else np.sort(np.random.default_rng(0).choice(count, ROWS, replace=False))
    own, other = [], []
    for part, distances, same in to_all(descriptors, camera, limits, rows):
        near = np.isfinite(distances)
        near[np.arange(len(part)), part] = False
        own.append((near & same).sum(axis=1))
        other.append((near & ~same).sum(axis=1))
    return np.concatenate(own), np.concatenate(other)


def to_all(
    descriptors: NDArray[np.float32], camera: NDArray[np.int64], limits: NDArray[np.float64], rows: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]]:
    """Yield some of ``rows`` at a time: them, their distances to all records, infinite beyond the limits, and whether
    both are of one camera."""
    for part in np.array_split(rows, max(1, len(rows) * len(camera) // (1 << 24))):
        distances = np.sqrt(np.maximum(2 - 2 * (descriptors[part] @ descriptors.T), 0))
        distances[distances > limits[camera[part][:, None], camera]] = np.inf
        yield part, distances, camera[part][:, None] == camera
