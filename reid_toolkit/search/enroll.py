"""Enroll tracklets, crops and pictures as records of a gallery."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.datasets import open_dataset
from reid_toolkit.datasets.dataset import embed_groups
from reid_toolkit.errors import AuditError, ImageError, InputError
from reid_toolkit.files import as_name, as_text
from reid_toolkit.gallery import GalleryStore
from reid_toolkit.gallery.types import Comparison, is_past
from reid_toolkit.images import read_image, thumbnail
from reid_toolkit.parallel.pool import Pool, in_order
from reid_toolkit.records import Crop, Record
from reid_toolkit.runtime import Embedder
from reid_toolkit.runtime.engine import Engine
from reid_toolkit.runtime.tracklets import average

CROPS_OF_A_BLOCK = 512
"""About so many crops are sent to a worker at a time."""
OnProgress = Callable[[str, int, int | None], None]
"""Called with (step, done, total). The step is "enroll", "camera statistics" or "index"; total is None if unknown."""


class Unit(NamedTuple):
    """A tracklet or a single crop, which becomes one record."""

    record: Record
    crops: tuple[Crop, ...]


@dataclass(frozen=True)
class Enrolment:
    """The result of :func:`enroll`. All counts are numbers of records."""

    enrolled: int
    already: int
    """In the gallery before."""
    too_old: int
    """Left out because they are already past the gallery's retention."""
    blocked: int
    """Left out because they were forgotten."""
    expired: int
    """Older records that were deleted because they are past the retention."""
    count: int
    """In the gallery now."""
    statistics_version: int
    """Version of the camera statistics that searches use. 0 for none."""
    fitted: bool
    """Whether these statistics are new."""
    not_fitted: str
    """Why statistics could not be fitted although it was due. Empty if nothing went wrong."""


def enroll(
    store: GalleryStore,
    embedder: Embedder,
    units: Sequence[Unit],
    *,
    allow: bool = False,
    thumbnails: bool = False,
    bad: list[str] | None = None,
    pool: Pool | None = None,
    on_progress: OnProgress = lambda what, done, total: None,
) -> Enrolment:
    """Store the descriptors of those ``units`` that are not in ``store`` yet.

    Then delete records past the gallery's retention, fit camera statistics if that is due, and update the index. A
    unit's descriptor is the normalised mean over its crops. If this is interrupted, stored units are kept, and skipped
    the next time.

    Args:
        store: the gallery. It must hold descriptors of this model.
        embedder: the model.
        units: see :func:`units_of`.
        allow: also enroll forgotten units, and take them off the block list.
        thumbnails: store a small picture with each record.
        bad: unreadable pictures are left out, and their messages are appended here. None raises an error instead.
        pool: describes the units in its workers, which find the pictures under the same paths. None does it in this
            process. Records are stored by this process, in the same order.
        on_progress: see :data:`OnProgress`.

    Raises:
        ImageError: a picture cannot be read and ``bad`` is None.
    """
    there = store.enrolled([unit.record for unit in units])
    missing = [unit for unit, known in zip(units, there, strict=True) if not known]
    kept_since = None if store.retention is None else time.time() - store.retention
    young = [unit for unit in missing if not is_past(unit.record, kept_since)]
    wanted = young if allow else unblocked(young, store)
    enrolled, blocked = 0, len(young) - len(wanted)
    batches = describe(wanted, embedder, bad) if pool is None else describe_elsewhere(wanted, embedder, bad, pool)
    for described, vectors in batches:
        if not allow:  # again, because describing takes long, and somebody may be forgotten meanwhile
            free = is_free(described, store)
            blocked += free.count(False)
            described, vectors = [unit for unit, passes in zip(described, free, strict=True) if passes], vectors[free]
        shown = [pictured(unit, small=thumbnails) if thumbnails or bad else unit.record for unit in described]
        store.add(vectors, shown)
        if allow:  # only after they are stored
            store.block_list.allow([unit.record for unit in described])
        enrolled += len(described)
        on_progress("enroll", enrolled, len(young) - blocked)
    expired = store.expire()
    fitted, not_fitted = False, ""
    try:
        fitted = store.refresh_statistics(partial(on_progress, "camera statistics"), if_due=True)
    except AuditError as error:  # the enrolled records are stored and can be searched all the same
        not_fitted = str(error)
    store.build_index(partial(on_progress, "index"))
    return Enrolment(
        enrolled, sum(there), len(missing) - len(young), blocked, expired, len(store),
        store.statistics_version(Comparison()), fitted, not_fitted,
    )  # fmt: skip


def units_of(path: Path, camera: str = "", *, each_crop: bool = False, tags: tuple[str, ...] = ()) -> Iterator[Unit]:
    """The units of ``path``: the tracklets of a dataset folder (with ``each_crop``, every crop), or an image file.

    ``camera`` is the camera of image files, and of datasets that name none. ``tags`` are words to filter by later.

    Raises:
        InputError: there is no such file or folder.
        DatasetError: the dataset cannot be read.
    """
    if path.is_dir():
        dataset = open_dataset(path, split="gallery")
        for tracklet in dataset.tracklets:
            groups = [(crop,) for crop in tracklet.crops] if each_crop else [tracklet.crops]
            for group in groups:
                source = group[0].path if each_crop else dataset.root
                yield Unit(record_of(group, tracklet.camera or camera, source.resolve(), tags), group)
    elif path.exists():
        crop = Crop(path.resolve(), camera, path.stem)
        yield Unit(record_of((crop,), camera, crop.path, tags), (crop,))
    else:
        raise InputError(f"{path}: no such file or folder: expected a dataset folder or an image")


def unblocked(units: list[Unit], store: GalleryStore) -> list[Unit]:
    """The units that were not forgotten."""
    return [unit for unit, passes in zip(units, is_free(units, store), strict=True) if passes]


def is_free(units: list[Unit], store: GalleryStore) -> list[bool]:
    """For each unit, whether it was not forgotten."""
    return [not forgotten for forgotten in store.block_list.has([unit.record for unit in units])]


def record_of(crops: Sequence[Crop], camera: str, source: Path, tags: tuple[str, ...]) -> Record:
    """The record of a tracklet's ``crops``. The middle crop shows it, because the frame's edge cuts it least often."""
    times = [crop.time for crop in crops if crop.time is not None]
    return Record(
        tracklet=as_name(crops[0].tracklet),
        camera=camera,
        start=min(times, default=None),
        end=max(times, default=None),
        source=as_text(source),
        image=as_text(crops[len(crops) // 2].path.resolve()),
        tags=tags,
    )


def pictured(unit: Unit, *, small: bool) -> Record:
    """The unit's record, shown by the readable crop nearest to its middle; with ``small`` also by a thumbnail."""
    middle = len(unit.crops) // 2
    for crop in sorted(unit.crops, key=lambda crop: abs(unit.crops.index(crop) - middle)):
        try:
            image = read_image(crop.path)
        except ImageError:  # it was reported when the crop was embedded
            continue
        return replace(unit.record, image=as_text(crop.path.resolve()), thumbnail=thumbnail(image) if small else b"")
    return unit.record


def describe(
    units: Sequence[Unit], embedder: Embedder, bad: list[str] | None
) -> Iterator[tuple[list[Unit], NDArray[np.float32]]]:
    """Yield units and their descriptors (B, D) float32, in order, about a batch of crops at a time.

    Unreadable images are appended to ``bad``, or raise :class:`ImageError` if it is None. A unit without a readable
    image is left out.
    """
    done: list[Unit] = []
    rows: list[NDArray[np.float32]] = []
    crops = 0
    for place, descriptors in embed_groups(embedder, [unit.crops for unit in units], bad):
        done.append(units[place])
        rows.append(average(descriptors))
        crops += len(descriptors)
        if crops >= embedder.batch_size:
            yield done, np.array(rows)
            done, rows, crops = [], [], 0
    if done:
        yield done, np.array(rows)


class Block(NamedTuple):
    """Units for a worker."""

    crops: tuple[tuple[Crop, ...], ...]
    """Of each unit."""
    skip_bad: bool
    """Whether unreadable pictures are left out."""


class Described(NamedTuple):
    """What a worker made of a block."""

    places: list[int]
    """The units in the block that have a descriptor."""
    rows: NDArray[np.float32]
    """(B, D)."""
    bad: list[str]
    """Messages of unreadable pictures."""


@dataclass(frozen=True)
class Describer:
    """Describes units, in any process."""

    embedder: Embedder

    def __call__(self, block: Block) -> Described:
        """Describe a block. Raises :class:`ImageError` for an unreadable picture unless they are left out."""
        bad: list[str] | None = [] if block.skip_bad else None
        places, rows = [], [np.empty((0, self.embedder.dimension), np.float32)]
        for place, descriptors in embed_groups(self.embedder, block.crops, bad):
            places.append(place)
            rows.append(average(descriptors)[None])
        return Described(places, np.concatenate(rows), bad or [])


@dataclass(frozen=True)
class DescriberStart:
    """Makes the worker of a process."""

    engine: Engine

    def __call__(self) -> Describer:
        return Describer(self.engine.start())


def describe_elsewhere(
    units: Sequence[Unit], embedder: Embedder, bad: list[str] | None, pool: Pool
) -> Iterator[tuple[list[Unit], NDArray[np.float32]]]:
    """:func:`describe` by the workers of a pool. The order is the same."""
    blocks = blocks_of(units, CROPS_OF_A_BLOCK)
    engine = Engine(embedder.path, embedder.batch_size).for_pool(pool)
    work = (Block(tuple(unit.crops for unit in block), bad is not None) for block in blocks)
    for block, done in zip(blocks, in_order(pool.run(DescriberStart(engine), work)), strict=True):
        if bad is not None:
            bad += done.bad
        if done.places:
            yield [block[place] for place in done.places], done.rows


def blocks_of(units: Sequence[Unit], crops: int) -> list[list[Unit]]:
    """Divide units into blocks of about so many crops, in order."""
    blocks: list[list[Unit]] = []
    size = crops
    for unit in units:
        if size >= crops:
            blocks.append([])
            size = 0
        blocks[-1].append(unit)
        size += len(unit.crops)
    return blocks
