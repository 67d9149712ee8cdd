"""Which dataset and which recording a record comes from, and so with which others its times can be compared."""

from pathlib import PurePosixPath

from reid_toolkit.files import as_name
from reid_toolkit.records import Record
from reid_toolkit.times import is_unix_time


def is_single_crop(record: Record) -> bool:
    """Whether a record is a crop or a picture that was enrolled singly: its source is its own file."""
    return bool(record.image) and record.image == record.source


def dataset_of(record: Record) -> str:
    """What a record's tracklet has its name in, because names repeat: the dataset, which is the source.

    The source of a single crop is its file. If `reid ingest` has stored it, its dataset is known. Of others it is taken
    to be the folder.
    """
    if not is_single_crop(record):
        return record.source
    recording = recording_folder(record)
    return str(PurePosixPath(record.source).parent if recording is None else recording.parents[1])


def is_dated(record: Record) -> bool:
    """Whether both times of a record are Unix times."""
    return all(time is not None and is_unix_time(time) for time in (record.start, record.end))


def recording_of(record: Record) -> str:
    """The recording that a record's times count from, if they are no Unix times. Empty if that is unknown.

    A dataset has many recordings, and each begins at 0. A record of `reid watch` has no picture in a file, and its
    source is the recording.
    """
    if not record.image:
        return record.source
    folder = recording_folder(record)
    return "" if folder is None else str(folder)


def recording_folder(record: Record) -> PurePosixPath | None:
    """The folder of the recording, if `reid ingest` has stored the picture: DATASET/crops/RECORDING/TRACK/FRAME.jpg.

    The tracklet's name begins with RECORDING-TRACK. Other pictures may lie in folders of such names, too.
    """
    track = PurePosixPath(record.image).parent
    named = record.tracklet.startswith(as_name(f"{track.parent.name}-{track.name}"))
    return track.parent if named and track.parent.parent.name == "crops" else None
