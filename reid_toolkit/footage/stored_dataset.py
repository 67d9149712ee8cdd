"""Writes a dataset of `reid ingest` into object storage, where nothing can be renamed or locked.

    DATASET/
      manifest.csv, ingest.json, crops/...     as in a folder (dataset_writer.py)
      .entering/<recording>.json               a recording whose crops are all there, but which is not listed yet
      .ingest.lock                             which process adds to the dataset

An object is written whole or not at all, so writing .entering/<recording>.json is the decisive step. If a process stops
before that, its crops are in no manifest, and the next one overwrites them. If it stops later, the recording is entered
when the dataset is opened next.
"""

import json
import os
import secrets
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from reid_toolkit.datasets import manifest
from reid_toolkit.datasets.dataset import group_tracklets
from reid_toolkit.errors import DatasetError, StorageError
from reid_toolkit.files import parse_json, remove_folder, write_atomic
from reid_toolkit.footage.dataset_writer import (
    Entry,
    IngestStore,
    check_entry,
    names_ever,
    open_store,
    succession,
)
from reid_toolkit.records import Crop
from reid_toolkit.storage.path import is_stored

ENTERING = ".entering"
LOCK = ".ingest.lock"


class StoredDataset(IngestStore):
    """A dataset in object storage, open for adding recordings. Use :func:`open_place` to get one."""

    def __init__(self, root: Path, token: bytes) -> None:
        self.token = token
        """What the lock holds as long as no other process has begun to add to the dataset."""
        super().__init__(root)

    def finish(self) -> None:
        for path in sorted((self.root / ENTERING).glob("*.json")):
            self.enter(path)

    def taken(self) -> set[str]:
        """The names that a new recording cannot have. Crops that no manifest lists take no name."""
        crops = self.root.resolve() / "crops"
        listed = {crop.path.relative_to(crops).parts[0] for crop in self.crops if crop.path.is_relative_to(crops)}
        entering = {path.stem for path in (self.root / ENTERING).glob("*.json")}
        return names_ever(self.entries) | listed | entering

    @contextmanager
    def staging(self, name: str) -> Iterator[Path]:
        """Make a folder on this machine for the crops of one recording."""
        from reid_toolkit.storage.temporary import temporary_folder

        remove_folder(self.root / "crops" / name)  # crops of a process that was stopped
        with temporary_folder() as folder:
            yield folder

    def commit(self, staging: Path, crops: Sequence[Crop], entry: Entry, replaces: Entry | None = None) -> None:
        """Add one recording: its crops, which lie in ``staging`` or were sent from there by a worker, and its journal
        entry. It may replace an old entry."""
        if not is_stored(staging):
            crops = send(staging, crops, self.root.resolve() / "crops" / entry["name"])
        self.refuse_others()
        entry = entry | succession(replaces)
        path = self.root / ENTERING / f"{entry['name']}.json"
        write_atomic(path, json.dumps({"entry": entry, "manifest": manifest.manifest_text(self.root, crops)}))
        self.enter(path)

    def move(self, moves: Mapping[str, Entry]) -> None:
        """Write into the journal where recordings are now."""
        if moves:
            self.refuse_others()
        super().move(moves)

    def enter(self, path: Path) -> None:
        """Enter a finished recording in the dataset's manifest and journal. Safe to repeat after any interruption."""
        try:
            found = parse_json(path.read_bytes())
            entry, rows = found["entry"], found["manifest"].encode()
            check_entry(entry)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DatasetError(f"{path}: damaged: expected what `reid ingest` writes") from None
        folder = self.root.resolve()
        added: tuple[Crop, ...] = ()
        if entry["crops"]:
            sent = folder / "crops" / entry["name"]
            there = {f"crops/{entry['name']}/{name}" for name in sent.names_below()} if is_stored(sent) else None
            crops = manifest.read_rows(path, folder, there, rows)
            added = tuple(crop for tracklet in group_tracklets(crops) for crop in tracklet.crops)
        self.list_recording(entry, added)
        # Another process that began meanwhile may not have seen these lines, and then writes the lists without them.
        # What is left in .entering is entered when the dataset is opened next.
        self.refuse_others()
        path.unlink(missing_ok=True)

    def refuse_others(self) -> None:
        """Raise :class:`DatasetError` if another process has begun to add to the dataset."""
        try:
            now = (self.root / LOCK).read_bytes()
        except FileNotFoundError:
            now = b"a process that has ended"
        if now != self.token:
            who = now.decode(errors="replace").rpartition(" ")[0] or "unknown"
            raise DatasetError(
                f"{self.root}: another process began to change this dataset ({who}): what both have finished is kept; "
                "when the other process has ended, run the same command again to continue"
            )


def send(folder: Path, crops: Sequence[Crop], to: Path) -> list[Crop]:
    """Copy the crops of one recording, which lie in ``folder``, to object storage. Gives the crops with their new
    paths."""
    from reid_toolkit.storage.transfer import upload

    if crops:
        manifest.write_manifest(folder, crops)
        manifest.read_manifest(folder)  # so that nothing is added that could not be read again
    sent = [replace(crop, path=to / crop.path.relative_to(folder).as_posix()) for crop in crops]
    upload([(crop.path, one.path) for crop, one in zip(crops, sent, strict=True) if is_stored(one.path)])
    return sent


@contextmanager
def open_place(root: Path) -> Iterator[IngestStore]:
    """Open a dataset for adding recordings, in a folder as :func:`open_store` does, or in object storage.

    In object storage the process that opens it last has it: another one that adds to it stops with an error.
    """
    away = is_stored(root)
    if not away:
        with open_store(root) as store:
            yield store
        return
    token = f"{socket.gethostname()}, process {os.getpid()} {secrets.token_hex(8)}".encode()
    write_atomic(root / LOCK, token)  # also shows that the dataset can be written
    try:
        yield StoredDataset(root, token)
    finally:
        with suppress(StorageError, FileNotFoundError):
            if (root / LOCK).read_bytes() == token:
                (root / LOCK).unlink()
