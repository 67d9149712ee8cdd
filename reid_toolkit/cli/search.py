"""``reid search``: who looks like this, in which camera, and when."""

import math
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from reid_toolkit.cli import options
from reid_toolkit.cli.answers import (
    SCHEMA,
    as_list,
    is_out_of_order,
    judge,
    print_table,
    verdict,
    warn_damage,
    write_sheet,
)
from reid_toolkit.cli.detecting import choose_person, detect_options, doubt_shapes
from reid_toolkit.cli.meaning import Scale, calibration_options
from reid_toolkit.cli.outputs import PAGE
from reid_toolkit.cli.root import log, print_json
from reid_toolkit.errors import GalleryError, InputError, did_you_mean
from reid_toolkit.records import Crop, Record
from reid_toolkit.times import read_moment

if TYPE_CHECKING:
    from reid_toolkit.camera_statistics import CameraStatistics
    from reid_toolkit.datasets import Dataset
    from reid_toolkit.gallery import GalleryStore
    from reid_toolkit.gallery.pages import Grouping
    from reid_toolkit.runtime import Embedder


class Query(NamedTuple):
    """What is searched for."""

    name: str
    crops: tuple[Crop, ...]
    dataset: Path | None = None
    """The dataset it is a tracklet of."""

    @property
    def camera(self) -> str | None:
        """That the dataset names; None where it is not known."""
        return self.crops[0].camera or None


def parse_time(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """Seconds as they are; ISO 8601 as Unix time, in the zone that is set without an offset."""
    if value is None:
        return None
    try:
        seconds = float(value)
        if math.isfinite(seconds):
            return seconds
    except ValueError:
        pass
    try:
        return read_moment(value).timestamp()
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither seconds nor ISO 8601, e.g. 2026-11-22T14:30:00+01:00") from None


@click.command()
@click.argument("query", type=options.ANY_PATH)
@options.gallery_option
@click.option("--model", type=options.MODEL, help="The ONNX model. [default: the one it was enrolled with]")
@click.option(
    "--tracklet", type=options.NAME, metavar="ID", help="QUERY is a dataset folder: search for this tracklet of it."
)
@detect_options
@options.query_camera
@options.camera_statistics
@click.option(
    "--camera", "cameras", type=options.NAME, multiple=True, help="Only in this camera; may be given several times."
)
@click.option("--since", callback=parse_time, metavar="T", help="Only seen at T or later: ISO 8601 or seconds.")
@click.option("--until", callback=parse_time, metavar="T", help="Only seen at T or earlier.")
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="PATH",
    callback=options.parse_sources,
    help="Only from this dataset folder, image or video file, or stream.",
)
@click.option(
    "--tag",
    "tags",
    type=options.NAME,
    multiple=True,
    metavar="WORD",
    help="Only enrolled with this tag; several times: with all.",
)
@click.option(
    "--top-k", type=click.IntRange(1), default=10, show_default=True, help="How many matches; by camera: of each."
)
@click.option(
    "--group",
    type=click.Choice(["tracklet", "camera"]),
    help="One match a tracklet, where crops are enrolled each; or the best of each camera.",
)
@click.option("--after", metavar="CURSOR", help="Go on behind the matches that this very search ended with.")
@click.option("--identities", type=options.FILE, help="CSV tracklet,identity: mark matches right or wrong.")
@click.option("--html", type=PAGE, help="Write the query and its matches as a page of pictures.")
@calibration_options
@options.json_output
def command(
    query: Path,
    gallery: str,
    model: Path | None,
    tracklet: str | None,
    detect: bool,
    person: int | None,
    detector: str | None,
    detector_weights: Path | None,
    query_camera: str | None,
    camera_statistics: bool,
    cameras: tuple[str, ...],
    since: float | None,
    until: float | None,
    sources: list[str],
    tags: tuple[str, ...],
    top_k: int,
    group: "Grouping | None",
    after: str | None,
    identities: Path | None,
    html: Path | None,
    calibration: Path | None,
    people: int | None,
    false_match_rate: float | None,
    as_json: bool,
) -> None:
    """Find the enrolled people who look most like QUERY: an image, a folder of crops of one person, or a
    dataset folder with --tracklet. The crops of a tracklet, in its dataset, are that tracklet.

    Distances are Euclidean between descriptors, from 0 (the same) to 2. Where the model was calibrated (`reid
    calibrate`), each match has the probability that it is the same person.
    """
    if detect and tracklet:
        raise click.UsageError("--detect is for a picture, and --tracklet for a dataset: give one of them")
    if not detect and (person or detector or detector_weights):
        raise click.UsageError("--person, --detector and --detector-weights say how --detect works: give it too")
    from reid_toolkit.datasets.manifest import read_identities
    from reid_toolkit.gallery import Filter, open_gallery
    from reid_toolkit.images import read_image

    with open_gallery(gallery, create=False) as store:
        count = len(store)
        held = cache(store.info)  # only where it is needed, since Milvus reads all records for it
        if count and query_camera is not None:
            refuse_unknown("camera", [query_camera], held().cameras, gallery)
        if count and (cameras or tags):
            refuse_unknown("camera", cameras, held().cameras, gallery)
            refuse_unknown("tag", tags, held().tags, gallery)
        truth = read_identities(identities) if identities else {}
        if detect:
            number, one = choose_person(query, detector or "torchvision", detector_weights, person)
            wanted, images = Query(f"{query.stem}, person {number}", (Crop(query.resolve(), "", ""),)), [one.crop]
        else:
            number, wanted = None, find_query(query, tracklet)
            images = [read_image(crop.path, crop.origin) for crop in wanted.crops]
            doubt_shapes(query, images)
        embedder = open_embedder(store, gallery, model)
        camera = wanted.camera
        query_camera = query_camera or camera

        def scale_of(statistics: "CameraStatistics | None") -> Scale:
            digest = statistics.digest if statistics else None
            return Scale(embedder, count, query_camera, calibration, people, false_match_rate, digest)

        statistics = store.statistics() if camera_statistics else None
        scale = scale_of(statistics)  # a calibration that does not fit is refused before the search
        vector = embedder.embed_tracklet(images)
        # Where the dataset names no camera, `reid enroll --camera` gave it one.
        enrolled = enrolled_as(wanted, [camera] if camera else held().cameras) if wanted.dataset else []
        where = Filter(cameras or None, since, until, sources or None, tags, enrolled)
        page = store.search_page(
            vector, top_k, where, group=group, after=after, query_camera=query_camera,
            camera_statistics=camera_statistics, name=wanted.name,
        )  # fmt: skip
        warn_damage(store.damage)
        if page.statistics_version != (statistics.version if statistics else 0):
            # Fitted by another process meanwhile.
            statistics = store.statistics() if camera_statistics else None
            scale = scale_of(statistics)
    if identities and wanted.name not in truth:
        log.print(
            f"{identities} does not name {wanted.name!r}, so matches cannot be marked",
            markup=False,
            soft_wrap=True,
        )
    if statistics and not statistics.knows(query_camera):
        hint_camera(query_camera)
    answers = [one._replace(meaning=scale.of(one.match)) for one in judge(page, wanted.name, truth)]
    if html:
        crops = [(crop.path.name, picture) for crop, picture in zip(wanted.crops, images, strict=True)]
        write_sheet(html, wanted.name, crops, answers, group, camera_statistics=statistics is not None)
        log.print(f"wrote {html}", markup=False, soft_wrap=True)
    if as_json:
        images_of = [str(crop.path) for crop in wanted.crops]
        asked = {"name": wanted.name, "images": images_of, "camera": query_camera, "person": number}
        compared = statistics.version if statistics else None
        about = {"schema": SCHEMA, "query": asked, "group": group, "base_rate": scale.base_rate}
        about["camera_statistics"] = compared
        about["out_of_order"] = is_out_of_order(answers)
        print_json({**about, "verdict": verdict(answers), "matches": as_list(answers), "after": page.after})
    elif answers:
        print_table(answers, group, how_to_go_on(page.after, top_k, going_on=after is not None))
    else:
        click.echo(f"no {'further ' if after else ''}record passes the filters")


def how_to_go_on(cursor: str | None, top_k: int, *, going_on: bool) -> str:
    """What to add to the command to see what follows. A cursor is long, so who does not use one is not shown it."""
    if cursor is None:
        return ""
    return (
        f"--after {cursor}"
        if going_on
        else f"--top-k {2 * top_k}; or page by page, by the cursor that --json ends with"
    )


def hint_camera(camera: str | None) -> None:
    """Say what a search with camera statistics lacks."""
    if camera is None:
        why, remedy = "the query's camera is not known", "name it with --query-camera NAME for better matches"
    else:
        why = f"camera {camera!r} had no records when the camera statistics were fitted"
        remedy = "`reid gallery cameras GALLERY refresh` fits them again, if it has some now"
    log.print(f"{why}: compared with the mean of all cameras; {remedy}", markup=False, soft_wrap=True)


def refuse_unknown(what: str, asked: Sequence[str], known: Collection[str], gallery: str) -> None:
    for name in asked:
        if name not in known:
            some = ", ".join(list(known)[:20]) or "none, as it has none"
            raise InputError(f"{gallery}: no {what} {name!r} in it{did_you_mean(name, known)}: expected one of {some}")


def find_query(path: Path, tracklet: str | None) -> Query:
    """The crops that ``path`` and ``tracklet`` name; raises :class:`InputError` where that is not clear."""
    from reid_toolkit.datasets import open_dataset
    from reid_toolkit.datasets.folder import find_images
    from reid_toolkit.datasets.manifest import NAME

    if not path.exists():
        raise InputError(f"{path}: no such file or folder: expected an image, a folder of crops, or a dataset")
    if tracklet is not None:
        dataset = open_dataset(path, split="query")
        for one in dataset.tracklets:
            if one.name == tracklet:
                return Query(one.name, one.crops, dataset.root.resolve())
        raise InputError(
            f"{path}: no tracklet {tracklet!r}{did_you_mean(tracklet, [one.name for one in dataset.tracklets])}: "
            f"expected one of its {len(dataset.tracklets)}, such as {dataset.tracklets[0].name!r}"
        )
    if path.is_file():
        _, (crop,) = known([path]) or (None, (Crop(path.resolve(), "", path.stem),))
        return Query(path.stem, (crop,))
    images = [] if (path / NAME).exists() else [image for image in find_images(path) if image.parent == path]
    if not images:
        raise InputError(
            f"{path}: not a folder of crops of one person: expected images in it, or --tracklet ID to choose "
            "one of a dataset"
        )
    name = path.resolve().name
    found = known(images)
    if found:
        dataset, crops = found
        whole = next((one for one in dataset.tracklets if set(one.crops) == set(crops)), None)
        return Query(whole.name, whole.crops, dataset.root) if whole else Query(name, crops)
    return Query(name, tuple(Crop(image.resolve(), "", name) for image in images))


def known(images: Sequence[Path]) -> "tuple[Dataset, tuple[Crop, ...]] | None":
    """The dataset of ours that pictures lie in, and what it says of them, such as their camera; None where they lie in
    none, or it does not have them all in one camera."""
    from reid_toolkit.datasets.manifest import NAME, read_manifest
    from reid_toolkit.errors import DatasetError

    paths = [image.resolve() for image in images]
    root = next((folder for folder in paths[0].parents if (folder / NAME).is_file()), None)
    if root is None:
        return None
    try:
        dataset = read_manifest(root)
    except DatasetError:  # of another program, or damaged: the pictures are a query all the same
        return None
    of = {crop.path: crop for crop in dataset.crops}
    if not all(path in of for path in paths):
        return None
    crops = tuple(of[path] for path in paths)
    return (dataset, crops) if len({crop.camera for crop in crops}) == 1 else None


def enrolled_as(query: Query, cameras: Iterable[str]) -> list[Record]:
    """The records under which a dataset's tracklet itself may be enrolled in ``cameras``, whole or crop by crop."""
    sources = [query.dataset, *(crop.path.resolve() for crop in query.crops)]
    return [Record(query.name, camera, source=str(source)) for camera in cameras for source in sources]


def open_embedder(store: "GalleryStore", gallery: str, model: Path | None) -> "Embedder":
    """The model given, or the one the gallery remembers; raises :class:`GalleryError` if it is another."""
    from reid_toolkit.runtime import Embedder

    if not len(store):
        raise GalleryError(f"{gallery}: the gallery is empty: enroll something first")
    path = model or store.model_file
    if path is None:
        raise GalleryError(f"{gallery}: does not know the file of its model: give it with --model")
    if model is None and not path.is_file():
        raise GalleryError(f"{gallery}: its model {path} is not there any more: give it with --model")
    embedder = Embedder(path)
    store.expect(embedder.dimension, embedder.fingerprint)
    return embedder
