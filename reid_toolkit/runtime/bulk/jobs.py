"""A long list of crops to embed, divided into shards. Workers embed the shards, and one process stores them.

OUT/
  job.json               the settings of the job, which a later call compares with its own
  .lock                  locked while a process works on the job
  shards/000017.npz      a finished shard; a shard is finished if this file exists
  ...                    the result (results.py), after which the shards are removed
"""

import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import ImageError, InputError, RunError
from reid_toolkit.files import atomic_path, locked, parse_json, write_atomic
from reid_toolkit.images import read_images
from reid_toolkit.records import Crop
from reid_toolkit.runtime.embedder import Embedder
from reid_toolkit.storage import is_stored

LOCK = ".lock"
SETTINGS = "job.json"
PARTIAL = re.compile(
    r"\.(descriptors|manifest|bad|report|job|[0-9]{6,})\.[0-9a-f]{16}\.partial\.(npy|npz|parquet|csv|json)"
)
"""Names of our temporary files: ``files.temporary_beside`` of a file of the job."""


@dataclass(frozen=True)
class Asked:
    """The settings that decide a job's result. A job is continued only with the same."""

    crops: int
    paths: str
    """Digest of the crops, in order: their paths, and what the result says about them."""
    model: str
    """Fingerprint of the model file."""
    dimension: int
    shard_size: int
    """Number of crops in a shard."""
    format: str
    """"npy" or "parquet"."""


class Shard(NamedTuple):
    """The result of a shard. Positions are positions in the whole list of crops."""

    kept: NDArray[np.int64]
    """Positions of the B crops that could be read."""
    descriptors: NDArray[np.float32]
    """(B, D)."""
    bad: list[tuple[int, str]]
    """Position and error message of each crop that could not be read."""


class Job:
    """A job in its folder. Use :func:`open_job` to make it."""

    def __init__(self, folder: Path, crops: Sequence[Crop], asked: Asked) -> None:
        self.folder, self.crops, self.asked = folder, crops, asked
        self.shards = folder / "shards"
        self.report = folder / "report.json"
        """Written last."""

    @property
    def done(self) -> bool:
        """Whether the whole result is there. Somebody may have deleted or moved a part of it since."""
        names = (f"descriptors.{self.asked.format}", "manifest.csv", "bad.csv")
        return all(path.exists() for path in (self.report, *(self.folder / name for name in names)))

    @property
    def names(self) -> list[str]:
        """The names of the shards, in order."""
        return [f"{number:06d}" for number in range(-(-len(self.crops) // self.asked.shard_size))]

    def path(self, name: str) -> Path:
        """The file of a finished shard."""
        return self.shards / f"{name}.npz"

    def pending(self) -> list[str]:
        """The names of shards that are not finished."""
        if self.done:
            return []
        done = {path.stem for path in self.shards.glob("[!.]*.npz")}
        return [name for name in self.names if name not in done]

    def positions(self, name: str) -> range:
        """The positions of a shard in the list of crops."""
        first = int(name) * self.asked.shard_size
        return range(first, min(first + self.asked.shard_size, len(self.crops)))

    def write(self, name: str, shard: Shard) -> None:
        """Store a finished shard, all or nothing."""
        with atomic_path(self.path(name)) as temporary:
            np.savez(
                temporary,
                kept=shard.kept,
                descriptors=shard.descriptors,
                bad=np.array([position for position, _ in shard.bad], np.int64),
                why=np.array([why for _, why in shard.bad], np.str_),
            )

    def read(self, name: str) -> Shard:
        """Read a finished shard. Raises :class:`RunError` if its file is damaged."""
        path = self.path(name)
        try:
            with np.load(io.BytesIO(path.read_bytes())) as file:
                bad = list(zip(file["bad"].tolist(), file["why"].tolist(), strict=True))
                shard = Shard(file["kept"], file["descriptors"], bad)
            whole = sorted([*shard.kept.tolist(), *(position for position, _ in bad)])
            shape = (len(shard.kept), self.asked.dimension)
            if whole != list(self.positions(name)) or shard.descriptors.shape != shape:
                raise ValueError("it holds other crops or another width")
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise RunError(f"{path}: a damaged shard: {error}: delete it and run the same command again") from None
        return shard


@contextmanager
def open_job(
    folder: Path, crops: Sequence[Crop], model: str, dimension: int, shard_size: int, format: str
) -> Iterator[Job]:
    """Begin a job in ``folder``, or continue the job that is there. One process at a time can have it open.

    Raises :class:`InputError` if that job has other settings, if the folder holds other files, or if another process
    has it open. In object storage nobody notices other processes; they do the same work twice.
    """
    digest = hashlib.sha256()
    for crop in crops:
        about = str(crop.path), crop.camera, crop.tracklet, str(crop.frame), str(crop.time)
        digest.update(os.fsencode("\0".join(about)) + b"\n")
    asked = Asked(len(crops), digest.hexdigest()[:16], model, dimension, shard_size, format)
    refuse_foreign(folder)
    (folder / "shards").mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / LOCK))
        except BlockingIOError:
            raise InputError(
                f"{folder}: another process works on a job here: wait for it, or use another --out; to use several "
                "processes or machines, give --workers or --ray"
            ) from None
        settle(folder, asked)
        remove_partial(folder)
        yield Job(folder, crops, asked)


def refuse_foreign(folder: Path) -> None:
    """Raise :class:`InputError` if the folder holds other files than a job's."""
    # The folder of shards may come from a process that was killed before it had written the settings.
    names = {one.name for one in folder.iterdir()} if folder.is_dir() else set()
    if SETTINGS not in names and any(not name.startswith(".") for name in names - {"shards"}):
        raise InputError(f"{folder}: holds other files: expected a new or empty folder, or one of `reid embed`")


def settle(folder: Path, asked: Asked) -> None:
    """Write the settings of a new job, or compare them with those of the job that is there.

    Only the holder of the lock may do it: two processes that begin together would both find no job, and one would take
    the other's result for its own. Raises :class:`InputError` if the settings differ or the file is damaged.
    """
    path = folder / SETTINGS
    if not path.exists():
        write_atomic(path, json.dumps(asdict(asked), indent=1) + "\n")
    try:
        held = parse_json(path.read_bytes())
        differences = [
            f"{key} was {held[key]}, is {value}" for key, value in asdict(asked).items() if held[key] != value
        ]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: damaged: expected a file of `reid embed`: use another --out") from None
    if differences:
        raise InputError(
            f"{folder}: holds another job ({'; '.join(differences)}): give the same settings to continue it, or use "
            "another --out"
        )


def remove_partial(folder: Path) -> None:
    """Remove the temporary files of a process that was killed. They can be as large as the result. Only the holder of
    the lock may do it."""
    if is_stored(folder):  # temporary files of objects lie elsewhere, and go with their process
        return
    for path in (*folder.glob(".*"), *(folder / "shards").glob(".*")):
        if PARTIAL.fullmatch(path.name):
            path.unlink(missing_ok=True)


class ShardWork(NamedTuple):
    """What a worker needs to know about a shard."""

    name: str
    first: int
    """Position of its first crop in the whole list."""
    crops: tuple[Crop, ...]


@dataclass(frozen=True)
class ShardWorker:
    """Embeds shards, in any process."""

    embedder: Embedder

    def __call__(self, work: ShardWork) -> Shard:
        """Embed the crops of a shard. Raises :class:`ModelError` if the network fails."""
        kept: list[int] = []
        rows = [np.empty((0, self.embedder.dimension), np.float32)]
        bad: list[tuple[int, str]] = []
        read = enumerate(read_images((crop.path, crop.origin) for crop in work.crops), start=work.first)
        while batch := list(islice(read, self.embedder.batch_size)):
            images = []
            for position, image in batch:
                if isinstance(image, ImageError):
                    bad.append((position, printable(str(image))))
                else:
                    images.append(image)
                    kept.append(position)
            rows.append(self.embedder.embed(images))
        return Shard(np.array(kept, np.int64), np.concatenate(rows), bad)


def printable(text: str) -> str:
    """``text`` in a form that UTF-8 can write, because file names need not be valid Unicode."""
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace")
