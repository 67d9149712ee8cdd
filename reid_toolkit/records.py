"""What is passed between the parts: plain frozen records, no behaviour beyond a derived field."""

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
    """Name of the tracklet it belongs to, unique in its dataset."""
    frame: int = 0
    """Frame number in the recording, from 0."""
    time: float | None = None
    """Seconds: absolute UTC (Unix time) when known, else from the start of the recording; None when unknown."""
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
    """Who it is; only ever known for evaluation. "0" is a distractor, "-1" is junk (Market-1501)."""
    origin: str = ""
    """Where this crop is named, for error messages, e.g. "manifest.csv, row 17"."""
    recording: str = ""
    """Which recording a time counts from the start of; empty when unknown."""


@dataclass(frozen=True, slots=True)
class Tracklet:
    """Crops of one person in one camera, consecutive in time. An image data set has tracklets of one crop."""

    name: str
    """Unique in the dataset."""
    camera: str
    crops: tuple[Crop, ...]
    """At least one, ordered by frame."""
    identity: str | None = None
    """Who it is; only ever known for evaluation."""

    @property
    def start(self) -> float | None:
        """The least time of its crops, seconds; None when unknown. Times need not follow the order of frames."""
        return min((crop.time for crop in self.crops if crop.time is not None), default=None)

    @property
    def end(self) -> float | None:
        """The greatest time of its crops, seconds; None when unknown."""
        return max((crop.time for crop in self.crops if crop.time is not None), default=None)


@dataclass(frozen=True, slots=True)
class Record:
    """What a gallery stores beside a descriptor."""

    tracklet: str
    camera: str
    start: float | None = None
    """Seconds, as in :class:`Crop.time`."""
    end: float | None = None
    source: str = ""
    """The dataset folder or image file it was enrolled from."""
    image: str = ""
    """Absolute path of one crop that shows it; empty when there is none."""
    tags: tuple[str, ...] = ()
    """Words to filter by, sorted, each once."""
    thumbnail: bytes = field(default=b"", repr=False)
    """A small picture as an encoded file (JPEG); empty unless it was asked for: a gallery holds no pictures."""


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
"""Of a camera's address, in its query or, with some makers, in its path."""


def without_password(address: str) -> str:
    """A stream's address as records name it: without the user and the password, wherever they stand in it.

    What stands before the last @ is dropped, though a path may have one: passwords with @ or / in them are not always
    written as the standard asks.
    """
    scheme, found, rest = address.partition("://")
    if not found:
        return address
    before, _, after = rest.rpartition("@")
    if "=" in before.partition("?")[2]:  # that @ belongs to the query
        place, mark, query = rest.partition("?")
        after = place.rpartition("@")[2] + mark + query
    nested = re.sub(r"(?<=://)[^/&]*@", "", after)
    return f"{scheme}://" + SECRETS.sub(r"\1***", nested)
