"""Workers that read recordings into folders of their own, from which the process that writes the dataset takes them."""

import secrets
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from reid_toolkit.errors import InputError, VideoError
from reid_toolkit.files import remove_folder
from reid_toolkit.footage.extract import Job, Part, is_about, read_file
from reid_toolkit.footage.stored_dataset import send
from reid_toolkit.footage.track_sources import TrackSource
from reid_toolkit.storage.path import is_stored
from reid_toolkit.storage.temporary import temporary_folder

COUNT = ".frames"
"""The file in a folder of crops that says how many frames were read so far. It is removed at the end."""
COUNT_SECONDS = 1.0
"""Seconds between two writes of it."""


class Unit(NamedTuple):
    """A recording for a worker."""

    job: Job
    name: str
    """Its name in the dataset."""
    parent: Path
    """The folder in which the worker makes its own folder; in object storage, the folder of all crops."""


class Outcome(NamedTuple):
    """What a worker read."""

    part: Part
    folder: Path
    machine: str
    """Name of the worker's machine."""


@dataclass(frozen=True)
class ReaderStart:
    """Makes the worker of a process."""

    loader: Callable[[], TrackSource]

    def __call__(self) -> "Reader":
        return Reader(self.loader())


@dataclass(frozen=True)
class Reader:
    """Reads recordings, in any process."""

    people: TrackSource

    def __call__(self, unit: Unit) -> Outcome | VideoError | OSError:
        """Read a recording. What is wrong with the recording itself is returned, so that the others go on."""
        machine = socket.gethostname()
        if is_stored(unit.parent):
            return self.read_and_send(unit, machine)
        if not unit.parent.is_dir():
            raise InputError(
                f"machine {machine} does not see {unit.parent}: expected the dataset and the recordings in folders "
                "that all machines share, under the same paths"
            )
        # Another name for each try: a worker that was given up because it did not answer may still write to its own.
        folder = unit.parent / f".{unit.name}.{secrets.token_hex(4)}.partial"
        folder.mkdir()
        try:
            part = read_file(unit.job, self.people, folder, unit.name, FrameCounter(folder / COUNT))
        except (VideoError, OSError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            return passed_on(error, unit)
        return Outcome(part, folder, machine)

    def read_and_send(self, unit: Unit, machine: str) -> Outcome | VideoError | OSError:
        """Read a recording, and send its crops to object storage."""
        with temporary_folder() as folder:
            try:
                part = read_file(unit.job, self.people, folder, unit.name, lambda: None)
            except (VideoError, OSError) as error:
                return passed_on(error, unit)
            part.crops = send(folder, part.crops, unit.parent / unit.name)
        return Outcome(part, unit.parent / unit.name, machine)


def passed_on(error: VideoError | OSError, unit: Unit) -> VideoError | OSError:
    """The error, if it is about the recording itself; others are raised."""
    if isinstance(error, VideoError) or is_about(error, unit.job.recording):
        return error
    raise error


class FrameCounter:
    """Counts frames, and writes the number into a file about once a second."""

    def __init__(self, path: Path) -> None:
        self.path, self.frames, self.written = path, 0, time.monotonic()

    def __call__(self) -> None:
        self.frames += 1
        now = time.monotonic()
        if now - self.written >= COUNT_SECONDS:
            self.path.write_text(str(self.frames))
            self.written = now


class Workplace:
    """The folder in which workers read recordings, and how far they are. It is left clean."""

    def __init__(self, root: Path) -> None:
        """``root`` is the dataset's folder, which this process has locked."""
        self.folder = root.resolve() / "crops"
        self.counted = 0
        """Frames that :meth:`new_frames` has told of."""
        self.done = 0
        """Frames of recordings that were read to their end."""

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.clean()
        return self

    def __exit__(self, *_: object) -> None:
        self.clean()

    def clean(self) -> None:
        """Remove what workers left that were killed."""
        for folder in self.folder.glob(".*.partial"):
            shutil.rmtree(folder, ignore_errors=True)

    def unit(self, job: Job, name: str) -> Unit:
        """The unit for a recording."""
        return Unit(job, name, self.folder)

    def folder_of(self, outcome: Outcome) -> Path:
        """The folder with the crops of a recording, ready to be stored.

        Raises :class:`InputError` if the worker's machine wrote it where this machine does not see it.
        """
        if not outcome.folder.is_dir():
            raise InputError(
                f"machine {outcome.machine} wrote {outcome.folder}, which is not there on this machine: expected the "
                "dataset in a folder that all machines share"
            )
        (outcome.folder / COUNT).unlink(missing_ok=True)
        self.done += outcome.part.entry["frames"]
        return outcome.folder

    def new_frames(self) -> int:
        """How many more frames were read since the last call."""
        frames = self.done
        for path in self.folder.glob(f".*.partial/{COUNT}"):
            with suppress(OSError, ValueError):  # it is being written, or was just taken
                frames += int(path.read_text())
        new = max(0, frames - self.counted)
        self.counted += new
        return new


class StoredWorkplace(Workplace):
    """The same for a dataset in object storage: workers send crops to their place, and count whole recordings."""

    def clean(self) -> None:
        """Do nothing: workers work on their own disks."""

    def unit(self, job: Job, name: str) -> Unit:
        """The unit for a recording. Crops that an earlier command left there are removed."""
        remove_folder(self.folder / name)
        return Unit(job, name, self.folder)

    def folder_of(self, outcome: Outcome) -> Path:
        """The place of the crops of a recording."""
        self.done += outcome.part.entry["frames"]
        return outcome.folder

    def new_frames(self) -> int:
        """How many more frames were read since the last call, of recordings that were read to their end."""
        new = self.done - self.counted
        self.counted = self.done
        return new


def workplace_of(root: Path) -> Workplace:
    """The place for workers that read recordings for the dataset ``root``."""
    kind = StoredWorkplace if is_stored(root) else Workplace
    return kind(root)
