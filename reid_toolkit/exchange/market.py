"""Writes a dataset as Market-1501 folders, for other toolkits.

    bounding_box_train/  query/  bounding_box_test/      0002_c1s1_000451_00.jpg

A name holds the person's number, the camera, the recording of the camera, the frame, and a number that makes it unique.
A CSV beside the folders says from which tracklet each image is.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reid_toolkit.datasets.dataset import Dataset
from reid_toolkit.errors import DatasetError, InputError
from reid_toolkit.exchange.outgoing import new_folder, refuse_existing
from reid_toolkit.files import csv_text, write_atomic
from reid_toolkit.images import encode_crop, read_image
from reid_toolkit.records import Crop, Tracklet

Part = Literal["train", "test"]
TRAIN, QUERY, GALLERY = "bounding_box_train", "query", "bounding_box_test"
COLUMNS = ("image", "tracklet", "camera", "identity", "recording", "frame", "time")
JUNK, DISTRACTOR = -1, 0


@dataclass(frozen=True)
class MarketReport:
    """What was written."""

    images: dict[str, int]
    """Images in each folder."""
    people: int
    """Different people, without junk and distractors. A tracklet whose identity is not known counts as a person."""
    unknown: int
    """Tracklets whose identity is not known."""
    cameras: dict[str, str]
    """The name in the files of each camera, such as c1."""


def write_market(dataset: Dataset, out: Path, part: Part = "train") -> MarketReport:
    """Write the crops of a dataset into ``out``, as training images or as queries and gallery. The images are written
    completely or not at all.

    A query is the middle crop of the first tracklet that a person has in a camera, if another camera saw that person;
    all other crops are the gallery.

    Raises:
        DatasetError: ``part`` is test, and no person is known to be seen by two cameras.
        ImageError: a crop that is not a JPEG cannot be read.
        InputError: one of the folders is there.
    """
    numbers, cameras = people_of(dataset.tracklets), cameras_of(dataset.cameras)
    queries = queries_of(dataset) if part == "test" else set()
    wanted = [TRAIN] if part == "train" else [QUERY, GALLERY]
    listed = out / f"{part}.csv"
    if listed.exists():
        raise InputError(f"{listed}: is there already: expected a new folder, so that nothing is replaced")
    for name in wanted:
        refuse_existing(out / name)
    rows, counts, uses = [], dict.fromkeys(wanted, 0), Counter[str]()
    sequences = sequences_of(dataset.crops)
    with ExitStack() as stack:
        folders = {name: stack.enter_context(new_folder(out / name)) for name in wanted}
        for crop in dataset.crops:
            folder = TRAIN if part == "train" else QUERY if crop in queries else GALLERY
            place = f"{cameras[crop.camera]}s{sequences[crop.camera, crop.recording]}_{crop.frame:06d}"
            stem = f"{as_pid(numbers[crop.tracklet])}_{place}"
            name = f"{stem}_{uses[stem]:02d}.jpg"
            uses[stem] += 1
            (folders[folder] / name).write_bytes(as_jpeg(crop))
            counts[folder] += 1
            time = "" if crop.time is None else f"{crop.time:.3f}"
            about = (crop.tracklet, crop.camera, crop.identity or "", crop.recording, crop.frame, time)
            rows.append((f"{folder}/{name}", *about))
    write_atomic(listed, csv_text([COLUMNS, *rows]))
    unknown = sum(tracklet.identity is None for tracklet in dataset.tracklets)
    return MarketReport(counts, len({number for number in numbers.values() if number > 0}), unknown, cameras)


def as_pid(number: int) -> str:
    """A person's number as the names of files have it."""
    return "-1" if number == JUNK else f"{number:04d}"


def people_of(tracklets: Sequence[Tracklet]) -> dict[str, int]:
    """The number of the person of each tracklet. Identities that are numbers keep them; other identities, and tracklets
    whose identity is not known, get numbers of their own."""
    own = {who: int(who) for one in tracklets if (who := one.identity) and re.fullmatch(r"-1|[0-9]{1,9}", who)}
    following = max([0, *own.values()]) + 1
    numbers: dict[str, int] = {}
    for tracklet in tracklets:
        who = tracklet.identity
        if who in own:
            numbers[tracklet.name] = own[who]
            continue
        numbers[tracklet.name] = following
        if who is not None:
            own[who] = following
        following += 1
    return numbers


def cameras_of(names: Sequence[str]) -> dict[str, str]:
    """The name of each camera in the files: its own, if all are called as c1; else c and a number in their order."""
    if all(re.fullmatch(r"c[0-9]+", name) for name in names):
        return {name: name for name in names}
    return {name: f"c{number}" for number, name in enumerate(names, start=1)}


def sequences_of(crops: Sequence[Crop]) -> dict[tuple[str, str], int]:
    """The number of each recording of each camera, from 1, in the order of their names."""
    numbers: dict[tuple[str, str], int] = {}
    counts = Counter[str]()
    for camera, recording in sorted({(crop.camera, crop.recording) for crop in crops}):
        counts[camera] += 1
        numbers[camera, recording] = counts[camera]
    return numbers


def queries_of(dataset: Dataset) -> set[Crop]:
    """One crop of each person in each camera, of the people whom several cameras saw."""
    seen: defaultdict[str, dict[str, Tracklet]] = defaultdict(dict)
    for tracklet in dataset.tracklets:
        if tracklet.identity not in (None, str(JUNK), str(DISTRACTOR)):
            seen[str(tracklet.identity)].setdefault(tracklet.camera, tracklet)
    queries = {one.crops[len(one.crops) // 2] for places in seen.values() if len(places) > 1 for one in places.values()}
    if not queries:
        raise DatasetError(
            f"{dataset.root}: no person is known to be seen by two cameras, so there is nothing to search for: "
            "expected identities, in the manifest or by --identities"
        )
    return queries


def as_jpeg(crop: Crop) -> bytes:
    """The bytes of a crop. Only pictures that are not JPEG are encoded anew."""
    content = crop.path.read_bytes()
    if content.startswith(b"\xff\xd8"):
        return content
    return encode_crop(read_image(crop.path, crop.origin), crop.path)
