"""Writes the dataset folder of `reid ingest`: a recording is added completely or not at all.

    DATASET/
      manifest.csv                the data contract
      ingest.json                 which recordings are in it, with the settings they were ingested with
      crops/<recording>/<track>/<frame>.jpg
      crops/.<recording>.partial/ a recording in progress; its manifest.csv and ingest.json are written last

Renaming the partial folder is the decisive step. If a process stops after the rename, before the two files at the top
list the recording, its folder still has its own two files, and it is entered when the dataset is opened next.
"""

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from reid_toolkit.datasets import manifest
from reid_toolkit.errors import DatasetError
from reid_toolkit.files import can_be_written, locked, parse_json, remove_folder, sync_below, sync_folder, write_atomic
from reid_toolkit.records import Crop

JOURNAL = "ingest.json"
FORGOTTEN = "set-aside/recordings.txt"
"""The names of recordings whose crops were lost, so that `reid dataset check --repair` took them out of the journal."""
LONGEST_NAME = 200
"""Longest name of a recording's folder, in bytes. File systems take 255; a number and ".partial" may be added."""
Entry = dict[str, Any]


class IngestStore:
    """A dataset folder, open for adding recordings. Use :func:`open_store` to get one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.entries = read_journal(root / JOURNAL)
        self.crops = list(manifest.read_manifest(root).crops) if (root / manifest.NAME).exists() else []
        self.finish()

    def finish(self) -> None:
        """Enter the recordings that an interrupted process had finished."""
        for folder in sorted((self.root / "crops").glob("[!.]*")):
            if (folder / JOURNAL).exists():
                self.enter(folder)

    def taken(self) -> set[str]:
        """The names that a new recording cannot have."""
        there = {path.name for path in (self.root / "crops").glob("[!.]*")}
        return names_ever(self.entries) | forgotten_names(self.root) | there

    def free_name(self, wanted: str) -> str:
        """Return ``wanted`` without unsafe characters and not too long. A number is added if another recording of this
        dataset has the name."""
        return self.free_names([wanted])[0]

    def free_names(self, wanted: Sequence[str]) -> list[str]:
        """Return a different :meth:`free_name` for each of ``wanted``."""
        taken = self.taken()
        chosen = []
        for text in wanted:
            safe = re.sub(r"[^\w.-]+", "_", text).strip("._-") or "recording"
            safe = safe.encode()[:LONGEST_NAME].decode(errors="ignore")
            names = (safe if number == 1 else f"{safe}-{number}" for number in range(1, len(taken) + 2))
            chosen.append(next(name for name in names if name not in taken))
            taken.add(chosen[-1])
        return chosen

    @contextmanager
    def staging(self, name: str) -> Iterator[Path]:
        """Make a folder for the crops of one recording. It is deleted afterwards, unless the crops were committed."""
        folder = self.root / "crops" / f".{name}.partial"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir(parents=True)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def commit(self, staging: Path, crops: Sequence[Crop], entry: Entry, replaces: Entry | None = None) -> None:
        """Add one recording: its crops, which lie in ``staging``, and its journal entry. It may replace an old
        entry."""
        manifest.write_manifest(staging, crops)
        if crops:
            manifest.read_manifest(staging)  # so that nothing is added that could not be read again
        write_atomic(staging / JOURNAL, json.dumps(entry | succession(replaces)))
        # The lists that name the crops are synced as they are written, and would outlive a power cut that empties the
        # crops. The recording would then count as stored for ever.
        sync_below(staging)
        folder = staging.rename(staging.with_name(entry["name"]))
        sync_folder(folder.parent)
        self.enter(folder)

    def move(self, moves: Mapping[str, Entry]) -> None:
        """Write into the journal where recordings are now. ``moves`` are changes of entries, by the entries' names."""
        if moves:
            self.entries = [entry | moves.get(entry["name"], {}) for entry in self.entries]
            write_journal(self.root / JOURNAL, self.entries)

    def enter(self, folder: Path) -> None:
        """Enter a finished recording in the dataset's manifest and journal. Safe to repeat after any interruption."""
        try:
            entry = parse_json((folder / JOURNAL).read_text(encoding="utf-8"))
            check_entry(entry)
        except (ValueError, KeyError, TypeError):
            raise DatasetError(f"{folder / JOURNAL}: damaged: expected what `reid ingest` writes") from None
        listed = is_listed(folder, entry, self.entries)
        if not listed:
            self.list_recording(entry, manifest.read_manifest(folder).crops if entry["crops"] else ())
        # The journal first: it says that there is something to enter. A manifest without it is read by nobody.
        (folder / JOURNAL).unlink()
        (folder / manifest.NAME).unlink(missing_ok=True)
        if not entry["crops"]:
            folder.rmdir()

    def list_recording(self, entry: Entry, added: Sequence[Crop]) -> None:
        """Write the dataset's manifest and journal with a recording and its crops, and remove what it replaces."""
        old = entry.pop("replaces", None)
        if entry["crops"] or old:
            gone = self.root.resolve() / "crops" / old if old else None
            kept = [crop for crop in self.crops if not (gone and crop.path.is_relative_to(gone))]
            kept_paths = {crop.path for crop in kept}
            self.crops = [*kept, *(crop for crop in added if crop.path not in kept_paths)]
            if self.crops:
                manifest.write_manifest(self.root, self.crops)
            else:
                (self.root / manifest.NAME).unlink(missing_ok=True)  # readers refuse a manifest without rows
        if old or all(other["name"] != entry["name"] for other in self.entries):
            self.entries = [other for other in self.entries if other["name"] not in (old, entry["name"])]
            self.entries.append(entry)
            write_journal(self.root / JOURNAL, self.entries)
        if old:
            remove_folder(self.root / "crops" / old)


def is_listed(folder: Path, entry: Entry, entries: Sequence[Entry]) -> bool:
    """Whether a recording's folder has a journal only because earlier versions, which removed it last, were killed:
    the dataset lists the recording, and its own manifest is gone."""
    return not (folder / manifest.NAME).exists() and any(other["name"] == entry["name"] for other in entries)


def succession(replaces: Entry | None) -> Entry:
    """What the entry of a recording says about the one that it replaces."""
    if replaces is None:
        return {}
    return {"replaces": replaces["name"], "before": [*replaces.get("before", []), replaces["name"]]}


def names_ever(entries: Sequence[Entry]) -> set[str]:
    """The names of recordings, also those of recordings that were replaced. A gallery may still hold their tracklets,
    and takes a tracklet of the same name for one that it has."""
    return {name for entry in entries for name in (entry["name"], *entry.get("before", []))}


def forgotten_names(root: Path) -> set[str]:
    """The names in :data:`FORGOTTEN`. A gallery may hold their tracklets too."""
    try:
        return set(read_names(root / FORGOTTEN))
    except (FileNotFoundError, UnicodeDecodeError):
        return set()


def read_names(path: Path) -> list[str]:
    """The names in a file, one a line. Raises :class:`OSError` and :class:`UnicodeDecodeError`."""
    return [name for name in path.read_text(encoding="utf-8").split("\n") if name]


def write_names(path: Path, names: Iterable[str]) -> None:
    """Write names, one a line."""
    write_atomic(path, "".join(f"{name}\n" for name in names))


@contextmanager
def open_store(root: Path) -> Iterator[IngestStore]:
    """Open a dataset folder for adding recordings, and make it if needed. One process at a time can have it open.

    Raises :class:`DatasetError` if another process has it open or its content breaks the data contract.
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
    """Lock a dataset folder for this process, and make it if needed.

    Raises :class:`DatasetError` if another process has it, it cannot be written, or its crops lie elsewhere.
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
            f"{root}: cannot be written: it is read-only or belongs to another user: expected a dataset folder that "
            "you may write; copy it to a place where you may write"
        )
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(lock))
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
    """Return width and height of the frames of each recording, by the recording's name in the manifest. Recordings
    ingested by earlier versions are missing, because those did not store the size."""
    entries = read_journal(root / JOURNAL)
    return {entry["name"]: (entry["width"], entry["height"]) for entry in entries if "width" in entry}


def frame_counts(root: Path) -> dict[str, int]:
    """Return how many frames of each recording were read, by the recording's name in the manifest."""
    return {entry["name"]: entry["frames"] for entry in read_journal(root / JOURNAL)}


def write_journal(path: Path, entries: Sequence[Entry]) -> None:
    """Write a journal for :func:`read_journal`, completely or not at all."""
    write_atomic(path, json.dumps({"recordings": entries}, indent=1) + "\n")


def check_entry(entry: Entry) -> None:
    """Raise KeyError or TypeError if an entry lacks a field that is read."""
    texts, numbers = ("name", "source", "fingerprint"), ("crops", "frames")
    words = [*(entry[key] for key in texts), *entry.get("before", [])]
    if not all(isinstance(word, str) for word in words) or not all(isinstance(entry[key], int) for key in numbers):
        raise TypeError
    if not isinstance(entry["settings"], dict):
        raise TypeError
