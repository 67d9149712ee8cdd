"""The boxes and tracks of one recording, as every format gives and takes them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import InputError

PERSON = "person"
PEOPLE = frozenset({PERSON, "pedestrian", "people", "human"})
"""Names of classes that are people, in small letters."""
LARGEST = 1_000_000_000
"""Frame and track numbers must be smaller. At 25 frames a second this is more than a year."""

Size = tuple[int, int]
"""Width and height of a frame, pixels."""


class Row(NamedTuple):
    """One box, as it is written in a file."""

    origin: str
    """Where it is written, for error messages, such as "tracks.txt, line 3"."""
    frame: int
    """From 0."""
    track: int
    """From 0."""
    box: tuple[float, float, float, float]
    """x, y, width, height: pixels, or fractions of the frame."""
    score: float
    """0-1."""


@dataclass(frozen=True)
class Tracks:
    """The boxes of people in one recording, sorted by frame, then by track. No track has two boxes in one frame."""

    frames: NDArray[np.int64]
    """(N,) frame numbers, from 0."""
    numbers: NDArray[np.int64]
    """(N,) numbers of tracks, from 0."""
    boxes: NDArray[np.float64]
    """(N, 4) x, y, width, height in pixels of the frame; as fractions of it if ``relative``."""
    scores: NDArray[np.float64]
    """(N,) 0-1."""
    size: Size | None = None
    """Size of the frames, if it is known."""
    length: int | None = None
    """Number of frames of the recording, if it is known."""
    relative: bool = False
    others: int = 0
    """Boxes that were left out, because their class is not a person or because they are marked to be ignored."""
    names: dict[int, str] = field(default_factory=dict)
    """Name of each track, for formats that can hold it."""
    identities: dict[int, str] = field(default_factory=dict)
    """Who each track is, as far as it is known."""

    def in_pixels(self, size: Size) -> "Tracks":
        """The same tracks with boxes in pixels of frames of this size."""
        if not self.relative:
            return self
        width, height = size
        return replace(self, boxes=self.boxes * [width, height, width, height], relative=False, size=size)


def collect(
    path: object, rows: Iterable[Row], *, size: Size | None = None, relative: bool = False, others: int = 0
) -> Tracks:
    """Check and sort the rows of a file.

    Raises :class:`InputError` for a file without people, for a box that is not finite, for a frame or track number out
    of range, and for two boxes of one track in one frame.
    """
    seen: dict[tuple[int, int], Row] = {}
    for row in rows:
        if not all(map(math.isfinite, (*row.box, row.score))):
            raise InputError(f"{row.origin}: a box of {row.box} with score {row.score}: expected finite numbers")
        if not (0 <= row.frame < LARGEST and 0 <= row.track < LARGEST):
            raise InputError(
                f"{row.origin}: frame {row.frame} of track {row.track}, counted from 0: expected numbers from 0 to "
                f"{LARGEST - 1}"
            )
        before = seen.setdefault((row.frame, row.track), row)
        if before is not row:
            raise InputError(
                f"{row.origin}: a second box of track {row.track} in one frame, the first is in {before.origin}: "
                "expected one person a track"
            )
    if not seen:
        left = f": all of its {others} boxes are of other classes or marked to be ignored" if others else ""
        raise InputError(f"{path}: has no box of a person{left}: expected the class {', '.join(sorted(PEOPLE))}")
    order = sorted(seen)
    return Tracks(
        np.array([frame for frame, _ in order], np.int64),
        np.array([track for _, track in order], np.int64),
        np.array([seen[key].box for key in order], np.float64).reshape(-1, 4),
        np.array([seen[key].score for key in order], np.float64),
        size,
        relative=relative,
        others=others,
    )


def as_number(value: object, what: str, origin: str) -> float:
    """A number of a file. Raises :class:`InputError` for anything else; NaN and infinite values pass."""
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        return float(value)
    except (ValueError, OverflowError):
        raise InputError(f"{origin}: {what} is {str(value)[:50]!r}: expected a number") from None


def as_whole(value: object, what: str, origin: str) -> int:
    """A whole number of a file, which may be written as 7.0. Raises :class:`InputError` for anything else."""
    number = as_number(value, what, origin)
    if not math.isfinite(number) or number != int(number):
        raise InputError(f"{origin}: {what} is {str(value)[:50]!r}: expected a whole number")
    return int(number)


def as_score(value: object, origin: str) -> float:
    """A score between 0 and 1. A negative one (MOT: not known) counts as 1, a greater one as 1."""
    score = as_number(value, "score", origin)
    return 1.0 if score < 0 else min(score, 1.0)
