"""``reid enroll``: descriptors of tracklets or crops into a gallery."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from reid_toolkit.cli import options
from reid_toolkit.cli.cameras import describe_fit
from reid_toolkit.cli.progress import late_progress_bar, progress_bar
from reid_toolkit.cli.root import print_json, warn
from reid_toolkit.errors import AuditError, ImageError, InputError
from reid_toolkit.files import as_name, as_text
from reid_toolkit.records import Crop, Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from reid_toolkit.gallery import GalleryStore
    from reid_toolkit.runtime import Embedder


class Unit(NamedTuple):
    """What becomes one record: a tracklet, or one crop."""

    record: Record
    crops: tuple[Crop, ...]


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=options.ANY_PATH, metavar="DATASET|IMAGE...")
@options.model_option
@options.gallery_option
@click.option(
    "--camera", type=options.NAME, default="", help="Name of the camera of images, and of folders that name none."
)
@click.option("--crops", is_flag=True, help="One record for each crop, not for each tracklet.")
@click.option(
    "--tag",
    "tags",
    type=options.NAME,
    multiple=True,
    metavar="WORD",
    help="A word to filter by later; several times for several.",
)
@options.thumbnails
@options.allow
@options.skip_bad
@options.batch_size
@options.wait
@options.json_output
def command(
    inputs: tuple[Path, ...],
    model: Path,
    gallery: str,
    camera: str,
    crops: bool,
    tags: tuple[str, ...],
    thumbnails: bool,
    allow: bool,
    skip_bad: bool,
    batch_size: int,
    wait: float,
    as_json: bool,
) -> None:
    """Store the descriptors of tracklets, crops or images in a gallery, which is made if there is none.

    A tracklet's descriptor is the normalised mean over its crops. Run again, what is enrolled is left out. Camera
    statistics are fitted when a camera's records have doubled since the last time.
    """
    from reid_toolkit.gallery import open_gallery
    from reid_toolkit.gallery.types import Comparison, is_past
    from reid_toolkit.runtime import Embedder

    units = [unit for path in inputs for unit in units_of(path, camera, crops, tags)]
    embedder = Embedder(model, batch_size=batch_size)
    bad: list[str] | None = [] if skip_bad else None
    enrolled = 0
    with open_gallery(gallery, embedder.dimension, embedder.fingerprint, wait=wait) as store:
        store.remember_model_file(model.resolve())
        there = store.enrolled([unit.record for unit in units])
        missing = [unit for unit, known in zip(units, there, strict=True) if not known]
        kept_since = None if store.retention is None else time.time() - store.retention
        young = [unit for unit in missing if not is_past(unit.record, kept_since)]
        wanted = unblocked(young, store, allow=allow)
        with progress_bar("enroll", "crops" if crops else "tracklets") as on_progress:
            for described, vectors in describe(wanted, embedder, bad):
                if thumbnails or bad:
                    store.add(vectors, [pictured(unit, small=thumbnails) for unit in described])
                else:
                    store.add(vectors, [unit.record for unit in described])
                if allow:  # when they are stored, and not before
                    store.block_list.allow([unit.record for unit in described])
                enrolled += len(described)
                on_progress(enrolled, len(wanted))
        expired = store.expire()
        count = len(store)
        fitted = False
        with late_progress_bar("camera statistics", "records") as on_progress:
            try:
                fitted = store.refresh_statistics(on_progress, if_due=True)
            except AuditError as error:  # what was enrolled is stored, and can be searched
                warn(f"camera statistics were not fitted: {error}")
        with late_progress_bar("index", "records") as on_progress:
            store.build_index(on_progress)
        statistics = store.statistics_version(Comparison())
    if len(young) < len(missing):
        warn(f"left out {len(missing) - len(young)} that are older than the gallery's retention")
    if len(wanted) < len(young):
        warn(f"left out {len(young) - len(wanted)} that were forgotten: --allow enrolls them again")
    if expired:
        warn(f"deleted {expired} records that were past the gallery's retention")
    if bad:
        warn(f"left out {len(bad)} images; the first: {bad[0]}")
        if not count:
            raise InputError("nothing was enrolled: not one of the images could be read")
    report = {
        "enrolled": enrolled, "already": sum(there), "bad": len(bad or ()), "too_old": len(missing) - len(young),
        "blocked": len(young) - len(wanted),
        "expired": expired, "count": count, "camera_statistics": statistics or None,
    }  # fmt: skip
    if as_json:
        print_json({"gallery": gallery, **report})
        return
    click.echo(
        f"{gallery}: {enrolled} enrolled, {sum(there)} were there before, {len(bad or ())} unreadable images "
        f"left out; {count} records now"
    )
    if fitted:
        click.echo(describe_fit(gallery, statistics))


def unblocked(units: list[Unit], store: "GalleryStore", *, allow: bool) -> list[Unit]:
    """Those that were not forgotten; all of them where that is allowed."""
    if allow:
        return units
    has = store.block_list.has([unit.record for unit in units])
    return [unit for unit, forgotten in zip(units, has, strict=True) if not forgotten]


def units_of(path: Path, camera: str, each_crop: bool, tags: tuple[str, ...]) -> Iterator[Unit]:
    """What ``path``, a dataset folder or an image file, has to enroll."""
    from reid_toolkit.datasets import open_dataset

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


def record_of(crops: Sequence[Crop], camera: str, source: Path, tags: tuple[str, ...]) -> Record:
    """The record of one tracklet's ``crops``, shown by the middle one: least often cut by the frame."""
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
    """The unit's record, shown by the crop nearest to its middle that can be read; with a ``small`` copy of it."""
    from reid_toolkit.images import read_image, thumbnail

    middle = len(unit.crops) // 2
    for crop in sorted(unit.crops, key=lambda crop: abs(unit.crops.index(crop) - middle)):
        try:
            image = read_image(crop.path)
        except ImageError:  # said already, when it was to be described
            continue
        return replace(unit.record, image=as_text(crop.path.resolve()), thumbnail=thumbnail(image) if small else b"")
    return unit.record


def describe(
    units: Sequence[Unit], embedder: "Embedder", bad: list[str] | None
) -> Iterator[tuple[list[Unit], "NDArray[np.float32]"]]:
    """Yield units and their descriptors, (B, D) float32, in order: those of about a batch of crops at a time.

    Unreadable images are raised, or noted in ``bad``; a unit with no readable image is left out.
    """
    import numpy as np

    from reid_toolkit.datasets.dataset import embed_groups
    from reid_toolkit.runtime.tracklets import average

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
