"""The true positions of people in drawn footage, and from them the identity of a tracklet. For evaluation only."""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from reid_toolkit.datasets.dataset import Dataset
from reid_toolkit.errors import InputError
from reid_toolkit.files import csv_text, write_atomic
from reid_toolkit.records import Crop

JUNK = "-1"
"""Identity of a tracklet that shows no single person. The evaluation protocol drops it."""
OVERLAP = 0.5
"""Least intersection over union at which a crop shows the person of a box."""
MAJORITY = 0.6
"""Least fraction of a tracklet's crops that must show the same person."""
HIDDEN = 0.3
"""A crop does not show a person who is less visible than this."""


@dataclass(frozen=True, slots=True)
class Box:
    """Where one person is in one frame: the whole body, cut off by the picture's edge but not by other people."""

    camera: str
    frame: int
    person: str
    x: int
    y: int
    width: int
    height: int
    visible: float
    """Fraction, 0-1, of the body that is in the picture and not hidden by others."""


COLUMNS = tuple(field.name for field in fields(Box))


def write_truth(path: Path, boxes: Iterable[Box]) -> None:
    """Write ``boxes`` as CSV, completely or not at all."""
    rows = ((*astuple(box)[:-1], f"{box.visible:.3f}") for box in boxes)
    write_atomic(path, csv_text([COLUMNS, *rows]))


def read_truth(path: Path) -> list[Box]:
    """Read a file of :func:`write_truth`. Raises :class:`InputError` for another file."""
    try:
        with open(path, encoding="utf-8", newline="") as handle:
            header, *rows = csv.reader(handle, strict=True)
        if tuple(header) != COLUMNS:
            raise ValueError("another header")
        return [
            Box(camera, int(frame), person, int(x), int(y), int(width), int(height), float(visible))
            for camera, frame, person, x, y, width, height, visible in rows
        ]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file: expected the truth of drawn footage") from None
    except (ValueError, csv.Error) as error:
        raise InputError(
            f"{path}: not the truth of drawn footage: expected a CSV of {','.join(COLUMNS)}, got {error}"
        ) from None


def label_tracklets(dataset: Dataset, truth: Iterable[Box]) -> dict[str, str]:
    """Return the identity of every tracklet of ``dataset``: the person that most of its crops show.

    A crop shows the person whose box in its camera and frame overlaps it most, with an intersection over union of at
    least OVERLAP. A tracklet gets JUNK if less than the fraction MAJORITY of its crops shows one person.
    """
    boxes: defaultdict[tuple[str, int], list[Box]] = defaultdict(list)
    for box in truth:
        if box.visible >= HIDDEN:
            boxes[box.camera, box.frame].append(box)
    identities = {}
    for tracklet in dataset.tracklets:
        shown = Counter(person_of(crop, boxes[crop.camera, crop.frame]) for crop in tracklet.crops)
        person, votes = shown.most_common(1)[0]
        identities[tracklet.name] = person if votes >= MAJORITY * len(tracklet.crops) else JUNK
    return identities


def person_of(crop: Crop, boxes: Iterable[Box]) -> str:
    """Return the person of ``boxes`` that ``crop`` shows, or JUNK."""
    overlaps = [(overlap(crop, box), box.person) for box in boxes]
    best, person = max(overlaps, default=(0.0, JUNK))
    return person if best >= OVERLAP else JUNK


def overlap(a: Crop | Box, b: Crop | Box) -> float:
    """Return the intersection over union of two boxes, 0-1."""
    wide = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    high = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    shared = max(wide, 0) * max(high, 0)
    return shared / (a.width * a.height + b.width * b.height - shared) if shared else 0.0


def write_identities(path: Path, identities: Mapping[str, str]) -> None:
    """Write the CSV file ``tracklet,identity`` that ``datasets.manifest.read_identities`` reads."""
    write_atomic(path, csv_text([("tracklet", "identity"), *sorted(identities.items())]))
