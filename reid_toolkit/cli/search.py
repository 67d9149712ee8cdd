"""``reid search``: find the records of a gallery that look like a query, with camera and time."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reid_toolkit.cli import options
from reid_toolkit.cli.console import log, print_json, warn
from reid_toolkit.cli.detecting import choose_person, detect_options, doubt_shapes
from reid_toolkit.cli.paths import PAGE
from reid_toolkit.cli.search_output import show_table, warn_damage, write_sheet
from reid_toolkit.times import read_seconds

if TYPE_CHECKING:
    from reid_toolkit.gallery.pages import Grouping


def parse_time(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """The time of an option in seconds: a number, or the Unix time of ISO 8601 (in the zone that is set, if it has no
    offset)."""
    if value is None:
        return None
    try:
        return read_seconds(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither seconds nor ISO 8601, e.g. 2026-11-22T14:30:00+01:00") from None


@click.command()
@click.argument("query", type=options.ANY_PATH)
@options.gallery_option
@click.option("--model", type=options.MODEL, help="The ONNX model. [default: the model the gallery was enrolled with]")
@click.option(
    "--tracklet", type=options.NAME, metavar="ID", help="Search for this tracklet; QUERY is its dataset folder."
)
@detect_options
@options.query_camera
@options.camera_statistics
@click.option(
    "--camera",
    "cameras",
    type=options.NAME,
    multiple=True,
    help="Search only in this camera; may be given several times.",
)
@click.option("--since", callback=parse_time, metavar="T", help="Only people seen at T or later: ISO 8601 or seconds.")
@click.option("--until", callback=parse_time, metavar="T", help="Only people seen at T or earlier.")
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="PATH",
    callback=options.parse_sources,
    help="Only records from this dataset folder, image, video or stream; may be given several times.",
)
@click.option(
    "--tag",
    "tags",
    type=options.NAME,
    multiple=True,
    metavar="WORD",
    help="Only records enrolled with this tag; if given several times, with all of them.",
)
@click.option(
    "--top-k",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="How many matches; with --group camera, how many from each camera.",
)
@click.option(
    "--group",
    type=click.Choice(["tracklet", "camera"]),
    help="tracklet: one match per tracklet, if crops were enrolled singly. camera: the best matches of each camera.",
)
@click.option(
    "--after", metavar="CURSOR", help="Continue after the last match of the same search: the `after` of its --json."
)
@click.option(
    "--identities", type=options.FILE, help="CSV with columns tracklet,identity: mark matches as right or wrong."
)
@click.option("--html", type=PAGE, help="Write an HTML page with pictures of the query and its matches.")
@options.calibration_options
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
    person_label: int | None,
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
    """Find the enrolled people who look most like QUERY.

    QUERY is an image of one person, a folder of crops of one person, or a dataset folder with --tracklet. The folder of
    a tracklet's crops, inside its dataset, means that tracklet.

    Distances are Euclidean between descriptors, from 0 (the same) to 2. After `reid calibrate`, each match also has
    the probability that it shows the same person.
    """
    if detect and tracklet:
        raise click.UsageError("--detect needs a picture, and --tracklet a dataset: give only one of them")
    if not detect and (person or detector or detector_weights or person_label is not None):
        raise click.UsageError(
            "--person, --detector, --detector-weights and --person-label work only with --detect: give --detect too"
        )
    from reid_toolkit.datasets.manifest import read_identities
    from reid_toolkit.gallery import Filter, open_gallery
    from reid_toolkit.records import Crop
    from reid_toolkit.search import Asked, Query, Search
    from reid_toolkit.search.documents import as_document

    with open_gallery(gallery, create=False) as store:
        search = Search(store, gallery, model, camera_statistics)
        search.check_names([] if query_camera is None else [query_camera])
        search.check_names(cameras, tags)
        truth = read_identities(identities) if identities else {}
        if detect:
            number, one = choose_person(query, detector or "torchvision", detector_weights, person_label, person)
            wanted = Query(f"{query.stem}, person {number}", (Crop(query.resolve(), "", ""),), (one.crop,))
        else:
            number, wanted = None, Query.of(query, tracklet)
            doubt_shapes(query, list(wanted.images))
        result = search.find(
            wanted, top_k, Filter(cameras or None, since, until, sources or None, tags), group=group, after=after,
            query_camera=query_camera, asked=Asked(calibration, people, false_match_rate), truth=truth,
        )  # fmt: skip
        warn_damage(store.damage)
    if identities and wanted.name not in truth:
        log.print(
            f"{identities} has no row for the query {wanted.name!r}, so matches cannot be marked",
            markup=False,
            soft_wrap=True,
        )
    if result.scale.unfit:
        warn(f"no probabilities: {result.scale.unfit}")
    if result.scale.doubt:
        warn(result.scale.doubt)
    if result.statistics and not result.statistics.knows(result.camera):
        hint_camera(result.camera)
    if html:
        write_sheet(html, wanted, result.answers, group, camera_statistics=result.statistics is not None)
        log.print(f"wrote {html}", markup=False, soft_wrap=True)
    if as_json:
        images = [str(crop.path) for crop in wanted.crops]
        asked = {"name": wanted.name, "images": images, "camera": result.camera, "person": number}
        print_json(as_document(result, asked, group))
    elif result.answers:
        show_table(result.answers, group, how_to_go_on(result.page.after, top_k, going_on=after is not None))
    else:
        click.echo(f"no {'further ' if after else ''}record passes the filters")


def how_to_go_on(cursor: str | None, top_k: int, *, going_on: bool) -> str:
    """The option to add to the command for further matches. Cursors are long, so a cursor is shown only if the command
    had one."""
    if cursor is None:
        return ""
    return (
        f"--after {cursor}"
        if going_on
        else f"--top-k {2 * top_k}; or page by page, with --after and the cursor of --json"
    )


def hint_camera(camera: str | None) -> None:
    """Say why a search could not use the statistics of the query's camera, and what to do."""
    if camera is None:
        why, remedy = "the query's camera is not known", "name it with --query-camera NAME for better matches"
    else:
        why = f"camera {camera!r} had no records when the camera statistics were fitted"
        remedy = "`reid gallery cameras GALLERY refresh` fits them again, if it has some now"
    log.print(f"{why}: compared with the mean of all cameras; {remedy}", markup=False, soft_wrap=True)
