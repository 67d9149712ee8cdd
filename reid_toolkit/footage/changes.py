"""Drops or splits tracklets of a dataset, so that it can be undone. Only the manifest changes; crops stay.

    DATASET/set-aside/NNN/
      change.json             what was done, and to which crops
      manifest-before.csv     the manifest before the change, byte for byte
    DATASET/set-aside/names.txt
      the names that splits have given, also splits that were undone
    DATASET/set-aside/recordings.txt
      the names of recordings whose crops were lost (dataset_writer.FORGOTTEN)

A change is recorded before the manifest is written. If a process dies in between, there is nothing to undo.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from reid_toolkit.datasets import manifest
from reid_toolkit.datasets.dataset import Dataset, group_tracklets
from reid_toolkit.errors import DatasetError, did_you_mean
from reid_toolkit.files import as_name, csv_text, parse_json, write_atomic
from reid_toolkit.footage.dataset_writer import open_folder, read_names, write_names

SET_ASIDE = "set-aside"
"""A folder in the dataset that only `undo` reads."""
RECORD, BEFORE, NAMES = "change.json", "manifest-before.csv", "names.txt"

Row = dict[str, str]
Edit = Callable[[list[Row]], tuple[list[Row], list[Row], tuple[str, ...]]]
"""Takes the manifest's rows; returns the new rows, the rows that the change concerns, and the tracklets' names."""


@dataclass(frozen=True)
class Change:
    """A change of a dataset."""

    kind: str
    """"drop" or "split"."""
    tracklets: tuple[str, ...]
    """The tracklets dropped; or the tracklet that was split and the new tracklet with its later crops."""
    paths: tuple[str, ...]
    """Crops that were dropped or moved to another tracklet."""
    after: str
    """SHA-256 of the new manifest."""

    @property
    def words(self) -> str:
        """Describe the change in one line."""
        if self.kind == "drop":
            return f"dropped {len(self.tracklets)} tracklets, {len(self.paths)} crops"
        old, new = self.tracklets
        return f"split {old}: its last {len(self.paths)} crops are {new}"


def drop(root: Path, names: Sequence[str]) -> Change:
    """Take tracklets out of the dataset. Their crops stay on disk but are no longer read.

    Raises:
        DatasetError: there is no such tracklet, no tracklet would be left, or another process is adding to the dataset.
    """
    dropped = {as_name(name) for name in names}

    def change(rows: list[Row]) -> tuple[list[Row], list[Row], tuple[str, ...]]:
        for name in sorted(dropped):
            crops_of(rows, name, root)
        kept = [row for row in rows if as_name(row["tracklet"]) not in dropped]
        if not kept:
            raise DatasetError(f"{root}: has no other tracklets: delete the folder instead")
        return kept, [row for row in rows if as_name(row["tracklet"]) in dropped], tuple(sorted(dropped))

    return apply(root, "drop", change)


def split(root: Path, name: str, frame: int) -> Change:
    """Make a new tracklet, named after the old one, of the crops of a tracklet from ``frame`` on.

    Raises:
        DatasetError: there is no such tracklet, or one part would have no crops.
    """

    def change(rows: list[Row]) -> tuple[list[Row], list[Row], tuple[str, ...]]:
        crops = crops_of(rows, as_name(name), root)
        later = [row for row in crops if int(row["frame"]) >= frame]
        if len({row["frame"] for row in crops}) == 1:
            raise DatasetError(f"{root}: {name!r} has crops of only one frame: it cannot be split")
        if not 0 < len(later) < len(crops):
            numbers = sorted(int(row["frame"]) for row in crops)
            raise DatasetError(
                f"{root}: {name!r} has the frames {numbers[0]} to {numbers[-1]}: expected --at after the first and "
                f"not after the last, got {frame}"
            )
        # A gallery knows a tracklet by its name, so no name is given twice, not even after `undo` or `drop`.
        taken = {as_name(row["tracklet"]) for row in rows} | names_before(root)
        new = next(free for number in count(2) if (free := f"{name}-{number}") not in taken)
        moved = {row["path"] for row in later}
        return [row | {"tracklet": new} if row["path"] in moved else row for row in rows], later, (as_name(name), new)

    return apply(root, "split", change)


def undo(root: Path) -> Change:
    """Undo the last change. If nothing else changed the manifest since, it is restored byte for byte.

    If recordings were added since, only the crops that the change concerned are put back.

    Raises:
        DatasetError: there is nothing to undo, or its crops are gone or were changed again.
    """
    with open_folder(existing(root)):
        for place in reversed(places(root)):
            if not (place / RECORD).exists():
                continue  # set aside by `reid dataset check --repair`, not a change
            made = read_record(place / RECORD)
            before, now = (place / BEFORE).read_bytes(), (root / manifest.NAME).read_bytes()
            if now != before:  # equal if a process died before it made the change
                with undoing(root, made, place):
                    if digest(now) == made.after:
                        content_of(root, read_rows(place / BEFORE))  # raises if crops are gone
                        write_atomic(root / manifest.NAME, before)
                    else:
                        put_back(root, made, place / BEFORE)
            shutil.rmtree(place)
            if now != before:
                return made
    raise DatasetError(f"{root}: nothing to undo: expected a dataset that `reid dataset drop` or `split` changed")


def put_back(root: Path, made: Change, before: Path) -> None:
    paths = set(made.paths)
    old = {row["path"]: row for row in read_rows(before) if row["path"] in paths}
    rows = read_rows(root / manifest.NAME)
    if made.kind == "split":
        rows = [row | {"tracklet": old[row["path"]]["tracklet"]} if row["path"] in old else row for row in rows]
    else:
        rows = [*(row for row in rows if row["path"] not in old), *old.values()]
    write_atomic(root / manifest.NAME, content_of(root, rows))


@contextmanager
def undoing(root: Path, made: Change, place: Path) -> Iterator[None]:
    """Add to an error which change could not be undone, and what to do. ``place`` holds its record."""
    try:
        yield
    except DatasetError as error:
        raise DatasetError(
            f"{root}: cannot undo what {made.words}, as it has changed since: {error}; move {place} elsewhere to undo "
            "what was changed before it"
        ) from None


def dropped_paths(root: Path) -> set[str]:
    """Return the crops on disk that :func:`drop` took out. Damaged records are skipped."""
    paths: set[str] = set()
    for place in places(root):
        with suppress(DatasetError, OSError):
            made = read_record(place / RECORD)
            paths |= set(made.paths) if made.kind == "drop" else set()
    return paths


def names_given(root: Path) -> list[str]:
    """Return the names that splits have given. None if the file is missing or damaged."""
    try:
        return read_names(root / SET_ASIDE / NAMES)
    except (OSError, UnicodeDecodeError):
        return []


def names_before(root: Path) -> set[str]:
    """Return the names of tracklets that changes have given or taken away. Damaged records are skipped."""
    names = set(names_given(root))
    for place in places(root):
        with suppress(DatasetError, OSError):
            names |= {as_name(name) for name in read_record(place / RECORD).tracklets}
    return names


def fingerprints_before(root: Path) -> set[str]:
    """Return the fingerprints that the dataset had before its changes, as far as records can be read."""
    fingerprints, folder = set(), root.resolve()
    for place in places(root):
        with suppress(DatasetError, OSError):
            crops = [manifest.parse_row(folder, row, "") for row in read_rows(place / BEFORE)]
            fingerprints.add(Dataset(folder, "manifest", group_tracklets(crops)).fingerprint)
    return fingerprints


def apply(root: Path, kind: str, change: Edit) -> Change:
    """Record a change of the manifest, then make it."""
    with open_folder(existing(root)):
        path = root / manifest.NAME
        manifest.read_manifest(root)  # rows that the reader refuses are a case for `check --repair`
        rows, about, names = change(read_rows(path))
        content = content_of(root, rows)
        made = Change(kind, names, tuple(row["path"] for row in about), digest(content))
        place = new_place(root)
        shutil.copyfile(path, place / BEFORE)
        record = {"kind": kind, "tracklets": names, "paths": made.paths, "after": made.after}
        if kind == "split":
            write_names(root / SET_ASIDE / NAMES, [*names_given(root), names[-1]])
        write_atomic(place / RECORD, json.dumps(record, indent=1) + "\n")
        write_atomic(path, content)
        return made


def existing(root: Path) -> Path:
    if not (root / manifest.NAME).exists():
        raise DatasetError(f"{root / manifest.NAME}: no such file: expected a dataset of `reid ingest`")
    return root


def crops_of(rows: list[Row], name: str, root: Path) -> list[Row]:
    own = [row for row in rows if as_name(row["tracklet"]) == name]
    if not own:
        near = did_you_mean(name, {as_name(row["tracklet"]) for row in rows})
        raise DatasetError(f"{root}: no tracklet {name!r}{near}: `reid dataset show` names them")
    return own


def places(root: Path) -> list[Path]:
    """Return the folders of what was set aside, the oldest first."""
    folders = (path for path in (root / SET_ASIDE).glob("*") if path.name.isascii() and path.name.isdecimal())
    return sorted(folders, key=lambda path: int(path.name))


def new_place(root: Path) -> Path:
    """Make a new folder for what is set aside, with the next number."""
    last = max((int(path.name) for path in places(root)), default=0)
    place = root / SET_ASIDE / f"{last + 1:03d}"
    place.mkdir(parents=True)
    return place


def read_rows(path: Path) -> list[Row]:
    return [row for _, row in manifest.read_table(path, manifest.COLUMNS, (manifest.RECORDING,))]


def content_of(root: Path, rows: list[Row]) -> bytes:
    """Return the manifest of these rows. Values stay as they are written. Raises :class:`DatasetError` if its reader
    would refuse them."""
    folder = root.resolve()
    crops = [manifest.parse_row(folder, row, row["path"]) for row in rows]
    manifest.refuse_duplicates(crops)
    group_tracklets(crops)
    named = any(manifest.RECORDING in row for row in rows)  # rows of an older manifest may lack the column
    columns = (*manifest.COLUMNS, manifest.RECORDING) if named else manifest.COLUMNS
    return csv_text([columns, *([row.get(column, "") for column in columns] for row in rows)]).encode()


def read_record(path: Path) -> Change:
    try:
        made = parse_json(path.read_text(encoding="utf-8"))
        return Change(made["kind"], tuple(made["tracklets"]), tuple(made["paths"]), made["after"])
    except (ValueError, KeyError, TypeError):
        raise DatasetError(
            f"{path}: damaged: expected what `reid dataset drop` and `split` write; move {path.parent} elsewhere to "
            "undo what was changed before it"
        ) from None


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
