"""Which recordings a dataset holds already, and which of its entries a new recording replaces."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reid_toolkit.errors import InputError, MissingDependencyError, StorageError, VideoError
from reid_toolkit.footage.dataset_writer import Entry, IngestStore
from reid_toolkit.footage.extract import Job
from reid_toolkit.footage.frames import Recording, digest_of
from reid_toolkit.storage import path_of


class Held:
    """The entries of a dataset's journal, to be found by place and by size."""

    def __init__(self, store: IngestStore) -> None:
        self.root = store.root
        self.by_source: defaultdict[str, list[Entry]] = defaultdict(list)
        self.by_size: defaultdict[Any, list[Entry]] = defaultdict(list)
        for entry in store.entries:
            self.by_source[entry["source"]].append(entry)
            self.by_size[entry.get("size")].append(entry)

    def entry_of(self, job: Job) -> Entry | None:
        """The entry of this recording, wherever it was before.

        Raises:
            InputError: it was ingested with other settings than are asked for now.
        """
        recording = job.recording
        if recording.is_stream:
            return None
        there = self.by_source.get(recording.source, ())
        same = next((entry for entry in there if entry.get("stamp") == recording.stamp), None)
        if same is None:  # earlier versions stored no size
            likely = (*self.by_size.get(recording.size, ()), *self.by_size.get(None, ()))
            same = next((entry for entry in likely if is_of(entry, recording)), None)
        if same is None:
            return None
        then, now = same["settings"], succeeding(job, same).asked
        other = [f"{key} was {then.get(key)!r}, is {now[key]!r}" for key in now if then.get(key) != now[key]]
        if other:
            raise InputError(
                f"{recording.source}: already in {self.root} with other settings ({'; '.join(other)}): use those, or "
                "another --out"
            )
        return same

    def at_its_place(self, recording: Recording) -> Entry | None:
        """The entry of the recording that was last at the path of this one."""
        there = () if recording.is_stream else self.by_source.get(recording.source, ())
        return there[-1] if there else None


def is_of(entry: Entry, recording: Recording) -> bool:
    """Whether an entry is of the bytes of this recording. Earlier versions compared a part of the bytes."""
    before = len(entry["fingerprint"]) == 16
    return bool(entry["fingerprint"] == (recording.fingerprint_before if before else recording.fingerprint))


def succeeding(job: Job, entry: Entry) -> Job:
    """The job with the camera of an entry, unless the user named one: a copy under another name is the same recording,
    and so is one that has grown."""
    return job if job.camera_given else replace(job, camera=entry["settings"].get("camera", job.camera))


def replaceable(job: Job, held: Entry, store: IngestStore, *, anyway: bool) -> Entry:
    """Returns ``held`` if the file at its path now is the same recording grown longer, or with ``anyway``.

    Raises:
        VideoError: the file is another recording.
    """
    recording, size = job.recording, held.get("size")
    if anyway or (size and digest_of(recording.files, size) == held["fingerprint"]):
        return held
    raise VideoError(
        f"{recording.source}: has changed since it was ingested into {store.root}: give the new recording another "
        "name, use another --out, or give --replace to have what was stored of it replaced"
    )


def moves(
    there: Mapping[str, Recording], entries: Sequence[Entry], given: Collection[str]
) -> dict[str, dict[str, str]]:
    """What entries must say of their recordings, which are elsewhere now or were touched, by the entries' names. Then
    their bytes need not be read again in the next run.

    ``there`` are the recordings by the names of their entries, and ``given`` the sources of the command. An entry whose
    own file is still at its place stays, because the recording is a copy.
    """
    found = {}
    for entry in entries:
        recording, source = there.get(entry["name"]), entry["source"]
        if recording is None or (source, entry.get("stamp")) == (recording.source, recording.stamp):
            continue
        if source in given or not is_there(source):  # of a command's recordings no two have the same bytes
            found[entry["name"]] = {"source": recording.source, "stamp": recording.stamp}
    return found


def is_there(source: str) -> bool:
    """Whether there is something at the place of a recording. Yes if nobody can say."""
    try:
        return path_of(source).exists()
    except (StorageError, MissingDependencyError, InputError, OSError):
        return True
