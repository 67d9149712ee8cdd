"""The dataset folder that ingestion adds to: one recording is added whole or not at all.

    DATASET/
      manifest.csv                the data contract
      ingest.json                 which recordings are in it, with the settings they were ingested with
      crops/<recording>/<track>/<frame>.jpg
      crops/.<recording>.partial/ a recording in progress; its manifest.csv and ingest.json are written last

Renaming the partial folder is the one step that decides. A folder that was renamed but not entered in the two
files at the top still holds its own two, and is entered when the dataset is opened next.
"""

import fcntl
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reid_toolkit.datasets import manifest
from reid_toolkit.errors import DatasetError
from reid_toolkit.files import can_be_written, parse_json, write_atomic
from reid_toolkit.records import Crop

JOURNAL = "ingest.json"
LONGEST_NAME = 200
"""Bytes of a recording's folder, of the 255 that file systems take: a number and ".partial" come to it."""
Entry = dict[str, Any]


class IngestStore:
    """A dataset folder, open for adding; use :func:`open_store`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.entries = read_journal(root / JOURNAL)
        self.crops = list(manifest.read_manifest(root).crops) if (root / manifest.NAME).exists() else []
        for folder in sorted((root / "crops").glob("[!.]*")):
            if (folder / JOURNAL).exists():
                self.enter(folder)

    def free_name(self, wanted: str) -> str:
        """``wanted`` made safe for file names and not too long, numbered when another recording of this dataset has
        it."""
        safe = re.sub(r"[^\w.-]+", "_", wanted).strip("._-") or "recording"
        safe = safe.encode()[:LONGEST_NAME].decode(errors="ignore")
        taken = {entry["name"] for entry in self.entries} | {p.name for p in (self.root / "crops").glob("[!.]*")}
        names = (safe if number == 1 else f"{safe}-{number}" for number in range(1, len(taken) + 2))
        return next(name for name in names if name not in taken)

    @contextmanager
    def staging(self, name: str) -> Iterator[Path]:
        """A folder for the crops of one recording; gone afterwards, unless they were committed."""
        folder = self.root / "crops" / f".{name}.partial"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir(parents=True)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def commit(self, staging: Path, crops: Sequence[Crop], entry: Entry, replaces: Entry | None = None) -> None:
        """Add one recording: its crops, which lie in ``staging``, and its entry in the journal, in place of another."""
        manifest.write_manifest(staging, crops)
        if crops:
            manifest.read_manifest(staging)  # nothing enters that could not be read again
        old = {"replaces": replaces["name"]} if replaces else {}
        write_atomic(staging / JOURNAL, json.dumps(entry | old))
        self.enter(staging.rename(staging.with_name(entry["name"])))

    def enter(self, folder: Path) -> None:
        """Enter a finished recording in the dataset's manifest and journal; can be repeated at any point."""
        try:
            entry = parse_json((folder / JOURNAL).read_text(encoding="utf-8"))
            check_entry(entry)
        except (ValueError, KeyError, TypeError):
            raise DatasetError(f"{folder / JOURNAL}: damaged: expected what `reid ingest` writes") from None
        old = entry.pop("replaces", None)
        if entry["crops"] or old:
            gone = self.root.resolve() / "crops" / old if old else None
            kept = [crop for crop in self.crops if not (gone and crop.path.is_relative_to(gone))]
            known = {crop.path for crop in kept}
            added = manifest.read_manifest(folder).crops if entry["crops"] else ()
            self.crops = [*kept, *(crop for crop in added if crop.path not in known)]
            if self.crops:
                manifest.write_manifest(self.root, self.crops)
            else:
                (self.root / manifest.NAME).unlink(missing_ok=True)  # no reader takes one without rows
        if old or all(known["name"] != entry["name"] for known in self.entries):
            self.entries = [known for known in self.entries if known["name"] not in (old, entry["name"])]
            self.entries.append(entry)
            write_journal(self.root / JOURNAL, self.entries)
        if old:
            shutil.rmtree(self.root / "crops" / old, ignore_errors=True)
        (folder / manifest.NAME).unlink(missing_ok=True)
        (folder / JOURNAL).unlink()
        if not entry["crops"]:
            folder.rmdir()


@contextmanager
def open_store(root: Path) -> Iterator[IngestStore]:
    """Open or make a dataset folder for adding, for one process at a time.

    Raises :class:`DatasetError` when another process has it, or when what is in it breaks the data contract.
    """
    with open_folder(root):
        try:
            store = IngestStore(root)
        except DatasetError as error:
            if str(root / JOURNAL) in str(error):
                raise
            raise DatasetError(f"{error}; `reid dataset check {root}` says more, and --repair sets it aside") from None
        yield store


@contextmanager
def open_folder(root: Path) -> Iterator[None]:
    """Hold a dataset folder, which is made where there is none, for this process alone.

    Raises :class:`DatasetError` when another process has it, it cannot be written, or its crops lie elsewhere.
    """
    root.mkdir(parents=True, exist_ok=True)
    crops = root / "crops"
    if crops.exists() and not crops.resolve().is_relative_to(root.resolve()):
        raise DatasetError(
            f"{crops}: leads out of the dataset folder, to {crops.resolve()}: expected the crops inside it; to keep "
            f"them on another disk, make {root} itself a link to a folder there"
        )
    lock = root / ".ingest.lock"
    if not can_be_written(lock):
        raise DatasetError(
            f"{root}: cannot be written: it is on a read-only medium or of another user: expected a dataset folder "
            "that can be; copy it to where you may write"
        )
    with open(lock, "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DatasetError(
                f"{root}: another process is changing this dataset: wait for it (`reid ingest` can use another --out)"
            ) from None
        yield


def read_journal(path: Path) -> list[Entry]:
    if not path.exists():
        return []
    try:
        entries = list(parse_json(path.read_text(encoding="utf-8"))["recordings"])
        for entry in entries:
            check_entry(entry)
        return entries
    except (ValueError, KeyError, TypeError):
        raise DatasetError(
            f"{path}: damaged: expected the journal that `reid ingest` writes; restore it from a copy, or "
            "use another --out"
        ) from None


def frame_sizes(root: Path) -> dict[str, tuple[int, int]]:
    """Width and height of the frames of each recording in a dataset, by the name that the manifest has for it. Earlier
    versions did not write them down."""
    entries = read_journal(root / JOURNAL)
    return {entry["name"]: (entry["width"], entry["height"]) for entry in entries if "width" in entry}


def write_journal(path: Path, entries: Sequence[Entry]) -> None:
    """Write what :func:`read_journal` reads, all or nothing."""
    write_atomic(path, json.dumps({"recordings": entries}, indent=1) + "\n")


def check_entry(entry: Entry) -> None:
    """Raise KeyError or TypeError for an entry that lacks what is looked at."""
    texts, numbers = ("name", "source", "fingerprint"), ("crops", "frames")
    if not all(isinstance(entry[key], str) for key in texts) or not all(isinstance(entry[key], int) for key in numbers):
        raise TypeError
    if not isinstance(entry["settings"], dict):
        raise TypeError
