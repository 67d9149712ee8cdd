"""A long list of crops to embed, divided into shards that many processes and machines share.

OUT/
  job.json               the settings of the job: the first process writes them, and all others compare theirs
  shards/000017.npz      a finished shard; a shard is finished if this file exists
  shards/000017.claim    a process works on the shard
  ...                    the result (results.py), after which the shards are removed
"""

import hashlib
import json
import os
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.errors import ImageError, InputError, RunError
from reid_toolkit.files import atomic_path, parse_json, write_atomic
from reid_toolkit.images import read_image
from reid_toolkit.records import Crop
from reid_toolkit.runtime.bulk.claims import Claims
from reid_toolkit.runtime.embedder import Embedder

WAIT_SECONDS = 0.5
"""Seconds between two looks at shards that other processes work on."""


@dataclass(frozen=True)
class Asked:
    """The settings that decide a job's result. All processes that share the job must have the same."""

    crops: int
    paths: str
    """Digest of the crops' paths, in order."""
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
        """Written last: if it exists, the job is done."""

    @property
    def names(self) -> list[str]:
        """The names of the shards, in order."""
        return [f"{number:06d}" for number in range(-(-len(self.crops) // self.asked.shard_size))]

    def path(self, name: str) -> Path:
        """The file of a finished shard."""
        return self.shards / f"{name}.npz"

    def pending(self) -> list[str]:
        """The names of shards that are not finished."""
        if self.report.exists():
            return []
        done = {path.stem for path in self.shards.glob("[!.]*.npz")}
        return [name for name in self.names if name not in done]

    def positions(self, name: str) -> range:
        """The positions of a shard in the list of crops."""
        first = int(name) * self.asked.shard_size
        return range(first, min(first + self.asked.shard_size, len(self.crops)))

    def read(self, name: str) -> Shard:
        """Read a finished shard. Raises :class:`RunError` if its file is damaged."""
        path = self.path(name)
        try:
            with open(path, "rb") as handle, np.load(handle) as file:
                bad = list(zip(file["bad"].tolist(), file["why"].tolist(), strict=True))
                shard = Shard(file["kept"], file["descriptors"], bad)
            whole = sorted([*shard.kept.tolist(), *(position for position, _ in bad)])
            shape = (len(shard.kept), self.asked.dimension)
            if whole != list(self.positions(name)) or shard.descriptors.shape != shape:
                raise ValueError("it holds other crops or another width")
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise RunError(f"{path}: a damaged shard: {error}: delete it and run the same command again") from None
        return shard


def open_job(folder: Path, crops: Sequence[Crop], model: str, dimension: int, shard_size: int, format: str) -> Job:
    """Begin a job in ``folder``, or join the job that is there.

    Raises :class:`InputError` if that job has other settings, or if the folder holds other files.
    """
    digest = hashlib.sha256()
    for crop in crops:
        digest.update(os.fsencode(crop.path) + b"\0")
    asked = Asked(len(crops), digest.hexdigest()[:16], model, dimension, shard_size, format)
    path = folder / "job.json"
    if not path.exists():
        # Hidden files, and the folder of shards, may come from processes that begin the same job at this moment.
        if folder.is_dir() and any(not name.startswith(".") for name in {*os.listdir(folder)} - {"shards"}):
            raise InputError(f"{folder}: holds other files: expected a new or empty folder, or one of `reid embed`")
        (folder / "shards").mkdir(parents=True, exist_ok=True)
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
    return Job(folder, crops, asked)


def work(job: Job, embedder: Embedder, claims: Claims, on_shard: Callable[[], None] = lambda: None) -> None:
    """Embed shards until all are finished. It waits for shards of other processes, in case they give up."""
    while names := job.pending():
        name = next((name for name in names if claims.take(name)), None)
        if name is None:
            time.sleep(WAIT_SECONDS)
            continue
        try:
            if not job.path(name).exists():  # it may have been finished just before it was claimed
                write_shard(job, name, embedder, claims)
        finally:
            claims.drop(name)
        on_shard()


def write_shard(job: Job, name: str, embedder: Embedder, claims: Claims) -> None:
    """Embed the crops of a shard and store the result, all or nothing."""
    kept: list[int] = []
    rows = [np.empty((0, embedder.dimension), np.float32)]
    bad: list[tuple[int, str]] = []
    for positions in batches(job.positions(name), embedder.batch_size):
        claims.renew(name)
        images = []
        for position in positions:
            crop = job.crops[position]
            try:
                images.append(read_image(crop.path, crop.origin))
                kept.append(position)
            except ImageError as error:
                bad.append((position, printable(str(error))))
        rows.append(embedder.embed(images))
    with atomic_path(job.path(name)) as temporary:
        np.savez(
            temporary,
            kept=np.array(kept, np.int64),
            descriptors=np.concatenate(rows),
            bad=np.array([position for position, _ in bad], np.int64),
            why=np.array([why for _, why in bad], np.str_),
        )


def batches(positions: range, size: int) -> Iterator[range]:
    for first in range(0, len(positions), size):
        yield positions[first : first + size]


def printable(text: str) -> str:
    """``text`` in a form that UTF-8 can write, because file names need not be valid Unicode."""
    return text.encode(errors="surrogateescape").decode(errors="backslashreplace")
