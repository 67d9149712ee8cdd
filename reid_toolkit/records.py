"""The data that packages pass to each other, as frozen dataclasses."""

import re
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Crop:
    """One box of one frame, stored as an image file."""

    path: Path
    """Absolute path of the image file."""
    camera: str
    """Name of the camera."""
    tracklet: str
    """Name of its tracklet, unique in the dataset."""
    frame: int = 0
    """Frame number in the recording, from 0."""
    time: float | None = None
    """Seconds: Unix time if known, else from the start of the recording. None if unknown."""
    x: float = 0.0
    """Left edge of the box in the frame, pixels."""
    y: float = 0.0
    """Top edge of the box in the frame, pixels."""
    width: float = 0.0
    """Width of the box in the frame, pixels."""
    height: float = 0.0
    """Height of the box in the frame, pixels."""
    score: float = 1.0
    """Detector's confidence, 0-1."""
    identity: str | None = None
    """Who the person is; known only for evaluation. "0" is a distractor, "-1" is junk (Market-1501)."""
    origin: str = ""
    """Where the crop is listed, for error messages, such as "manifest.csv, row 17"."""
    recording: str = ""
    """Name of the recording; a time that is not Unix time counts from its start. Empty if unknown."""


@dataclass(frozen=True, slots=True)
class Tracklet:
    """Consecutive crops of one person in one camera. In an image dataset, each tracklet has one crop."""

    name: str
    """Unique in the dataset."""
    camera: str
    crops: tuple[Crop, ...]
    """At least one, ordered by frame."""
    identity: str | None = None
    """Who the person is; known only for evaluation."""

    @property
    def start(self) -> float | None:
        """The earliest time of its crops in seconds, None if unknown. Times need not follow the order of frames."""
        return min((crop.time for crop in self.crops if crop.time is not None), default=None)

    @property
    def end(self) -> float | None:
        """The latest time of its crops in seconds, None if unknown."""
        return max((crop.time for crop in self.crops if crop.time is not None), default=None)


@dataclass(frozen=True, slots=True)
class Record:
    """What a gallery stores with a descriptor."""

    tracklet: str
    camera: str
    start: float | None = None
    """Seconds, as in :class:`Crop.time`."""
    end: float | None = None
    source: str = ""
    """The dataset folder, image file or stream that it was enrolled from."""
    image: str = ""
    """Absolute path of a crop that shows it. Empty if there is none."""
    tags: tuple[str, ...] = ()
    """Words to filter by, sorted, each once."""
    thumbnail: bytes = field(default=b"", repr=False)
    """A small picture as JPEG bytes. Empty unless pictures were asked for: by default a gallery stores none."""


@dataclass(frozen=True, slots=True)
class Match:
    """One answer of a search."""

    rank: int
    """From 1."""
    distance: float
    """Euclidean distance between L2-normalised descriptors, 0-2."""
    record: Record


SECRETS = re.compile(
    r"((?:[\w%\[\].-]*(?:user|usr|login|account|pass|pwd|pas|token|auth|key|secret|sig|sid|session|jwt|cred)"
    r"[\w%\[\].-]*|(?<![\w%-])[up])(?:=|%3D))[^&]*",
    re.IGNORECASE,
)
"""Secrets in a camera's address: in its query or, with some makers, in its path."""


def without_password(address: str) -> str:
    """A stream's address without user and password, as records store it.

    Everything before the last @ is dropped, although a path may contain an @ too: passwords with @ or / in them are
    not always escaped as the standard demands.
    """
    scheme, found, rest = address.partition("://")
    if not found:
        return address
    before, _, after = rest.rpartition("@")
    if "=" in before.partition("?")[2]:  # this @ belongs to the query
        place, mark, query = rest.partition("?")
        after = place.rpartition("@")[2] + mark + query
    nested = re.sub(r"(?<=://)[^/&]*@", "", after)
    return f"{scheme}://" + SECRETS.sub(r"\1***", nested)
