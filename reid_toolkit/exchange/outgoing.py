"""Writes the boxes and tracks of a dataset as MOT, COCO, CVAT or FiftyOne files, one for each recording."""

import os
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from reid_toolkit.datasets.dataset import Dataset
from reid_toolkit.errors import DatasetError, InputError
from reid_toolkit.exchange.coco import coco_text
from reid_toolkit.exchange.cvat import cvat_text
from reid_toolkit.exchange.fiftyone import fiftyone_text
from reid_toolkit.exchange.mot import mot_text
from reid_toolkit.exchange.tracks import LARGEST, Row, Size, Tracks, collect
from reid_toolkit.files import sync_folder, temporary_beside, write_atomic
from reid_toolkit.records import Crop

WRITERS: dict[str, tuple[str, Callable[[str, Tracks], str]]] = {
    "mot": (".txt", lambda _, tracks: mot_text(tracks)),
    "coco": (".json", lambda recording, tracks: coco_text(tracks, recording)),
    "cvat": (".xml", lambda recording, tracks: cvat_text(tracks, recording)),
    "fiftyone": (".json", lambda _, tracks: fiftyone_text(tracks)),
}
"""Suffix of a file and how its text is made, by format."""


@dataclass(frozen=True)
class Written:
    """What was written."""

    files: tuple[Path, ...]
    tracks: int
    boxes: int


def write_tracks(
    dataset: Dataset, form: str, out: Path, sizes: Mapping[str, Size], lengths: Mapping[str, int] | None = None
) -> Written:
    """Write a file for each recording of a dataset into the new folder ``out``: all files or none.

    ``form`` is one of :data:`WRITERS`. ``sizes`` and ``lengths`` are the size and number of frames by recording,
    as far as they are known.

    Raises:
        DatasetError: crops have no box, or two of one tracklet are of one frame.
        InputError: ``out`` is there, or FiftyOne's form is asked for and the size of frames is not known.
    """
    suffix, text_of = WRITERS[form]
    texts: dict[str, str] = {}
    tracks = boxes = 0
    for (camera, recording), crops in (groups := by_recording(dataset)).items():
        held = tracks_of(dataset, recording, crops, sizes.get(recording))
        held = replace(held, length=(lengths or {}).get(recording))
        several = sum(other == recording for _, other in groups) > 1
        name = free_name(f"{camera}-{recording}" if several else recording, texts)
        try:
            texts[name] = text_of(recording, held)
        except InputError as error:
            raise InputError(f"{dataset.root}: recording {recording!r}: {error}: expected mot, coco or cvat") from None
        tracks += len(held.names)
        boxes += len(held.frames)
    with new_folder(out) as folder:
        for name, text in texts.items():
            write_atomic(folder / f"{name}{suffix}", text)
    return Written(tuple(out / f"{name}{suffix}" for name in texts), tracks, boxes)


def by_recording(dataset: Dataset) -> dict[tuple[str, str], list[Crop]]:
    """The crops of each recording of each camera; of each camera, if the dataset does not name recordings. Sorted.

    Manifests of other programs may have one name, such as a date, for the recordings of several cameras."""
    groups: defaultdict[tuple[str, str], list[Crop]] = defaultdict(list)
    for crop in dataset.crops:
        if crop.width <= 0 or crop.height <= 0:
            raise DatasetError(
                f"{crop.origin or crop.path}: a crop without a box: only datasets with boxes hold tracks; "
                "--format market needs none"
            )
        groups[crop.camera, crop.recording or crop.camera or "recording"].append(crop)
    return dict(sorted(groups.items()))


def tracks_of(dataset: Dataset, recording: str, crops: list[Crop], size: Size | None) -> Tracks:
    """The tracks of one recording. A tracklet that `reid ingest` named keeps the number of its track."""
    numbers = numbered(recording, sorted({crop.tracklet for crop in crops}))
    rows = [
        Row(
            crop.origin or str(crop.path),
            crop.frame,
            numbers[crop.tracklet],
            (crop.x, crop.y, crop.width, crop.height),
            crop.score,
        )
        for crop in crops
    ]
    try:
        tracks = collect(dataset.root, rows, size=size)
    except InputError as error:
        raise DatasetError(str(error)) from None
    names = {number: name for name, number in numbers.items()}
    who = {numbers[crop.tracklet]: crop.identity for crop in crops if crop.identity}
    return replace(tracks, names=names, identities=who)


def numbered(recording: str, tracklets: list[str]) -> dict[str, int]:
    """A number for each tracklet: the one in its name, RECORDING-NUMBER, or the next that is free."""
    numbers: dict[str, int] = {}
    taken: set[int] = set()
    for name in tracklets:
        match = re.fullmatch(r"-([0-9]{1,9})", name.removeprefix(recording)) if name.startswith(recording) else None
        if match and int(match[1]) < LARGEST and int(match[1]) not in taken:
            numbers[name] = int(match[1])
            taken.add(int(match[1]))
    following = max(taken, default=0) + 1
    for name in tracklets:
        if name not in numbers:
            numbers[name] = following
            following += 1
    return numbers


def free_name(recording: str, taken: Mapping[str, object]) -> str:
    """The name of a recording's file, without signs that a file's name cannot have."""
    safe = re.sub(r"[^\w.-]+", "_", recording).strip("._-").encode()[:200].decode(errors="ignore") or "recording"
    names = (safe if number == 1 else f"{safe}-{number}" for number in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``path`` at the end. On an error it is removed.

    Raises :class:`InputError` if ``path`` is there and is not an empty folder, or is the working directory.
    """
    refuse_existing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = temporary_beside(path)
    folder.mkdir()
    try:
        yield folder
        refuse_existing(path)
        os.replace(folder, path)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def refuse_existing(path: Path) -> None:
    """Raise :class:`InputError` if there is something at ``path`` that would be replaced."""
    if path.exists() and os.path.samefile(path, os.curdir):
        # Its parent has no name for ".", and who stands in a folder that is replaced no longer sees its files.
        raise InputError(f"{path}: is the working directory: expected a new folder")
    if path.is_symlink() or (path.exists() and not (path.is_dir() and not any(path.iterdir()))):
        raise InputError(f"{path}: is there already: expected a new folder, so that nothing is replaced")
