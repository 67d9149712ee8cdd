"""``reid enroll``: store the descriptors of tracklets or crops in a gallery."""

from pathlib import Path

import click

from reid_toolkit.cli import options, paths, pool_options
from reid_toolkit.cli.cameras import describe_fit
from reid_toolkit.cli.console import counted, print_json, progress_bars, warn, warn_bad
from reid_toolkit.errors import InputError


@click.command()
@click.argument("inputs", nargs=-1, required=True, type=paths.PLACE, metavar="DATASET|IMAGE...")
@options.model_option
@options.gallery_option
@click.option(
    "--camera",
    type=options.NAME,
    default="",
    help="Name of the camera, for images and for datasets that name no camera.",
)
@click.option("--crops", is_flag=True, help="Store one record for each crop, not for each tracklet.")
@click.option(
    "--tag",
    "tags",
    type=options.NAME,
    multiple=True,
    metavar="WORD",
    help="A word by which searches can filter; may be given several times.",
)
@options.thumbnails
@options.allow
@options.skip_bad
@options.batch_size
@pool_options.pool
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
    workers: int | None,
    ray: str | None,
    worker_cpus: float | None,
    worker_gpus: float | None,
    wait: float,
    as_json: bool,
) -> None:
    """Store the descriptors of tracklets, crops or images in a gallery. A new gallery is created if needed.

    The descriptor of a tracklet is the normalised mean of its crops' descriptors. What is already enrolled is skipped.
    Camera statistics are fitted again when a camera's records have doubled or halved since the last fit. --workers and
    --ray share the work among processes and machines. Datasets may be in object storage, such as s3://bucket/people.
    """
    from reid_toolkit.gallery import open_gallery
    from reid_toolkit.runtime import Embedder
    from reid_toolkit.search import enroll, units_of

    pool = pool_options.pool_of(workers, ray, worker_cpus, worker_gpus)
    units = [unit for path in inputs for unit in units_of(path, camera, each_crop=crops, tags=tags)]
    embedder = Embedder(model, batch_size=batch_size)
    bad: list[str] | None = [] if skip_bad else None
    bars = {"enroll": "crops" if crops else "tracklets", "camera statistics": "records", "index": "records"}
    with open_gallery(gallery, embedder.dimension, embedder.fingerprint, wait=wait) as store:
        store.remember_model_file(model.resolve())
        with progress_bars(bars) as on_progress:
            done = enroll(
                store, embedder, units, allow=allow, thumbnails=thumbnails, bad=bad, pool=pool, on_progress=on_progress
            )
    if done.not_fitted:
        warn(f"camera statistics were not fitted: {done.not_fitted}")
    if done.too_old:
        warn(f"left out {counted(done.too_old, 'record')} older than the gallery's retention")
    if done.blocked:
        warn(f"left out {counted(done.blocked, 'forgotten record')}: --allow enrolls them again")
    if done.expired:
        warn(f"deleted {counted(done.expired, 'record')} past the gallery's retention")
    warn_bad(bad)
    if bad and not done.count:
        raise InputError("nothing was enrolled: none of the images could be read")
    if as_json:
        print_json({
            "gallery": gallery, "enrolled": done.enrolled, "already": done.already, "bad": len(bad or ()),
            "too_old": done.too_old, "blocked": done.blocked, "expired": done.expired, "count": done.count,
            "camera_statistics": done.statistics_version or None,
        })  # fmt: skip
        return
    click.echo(
        f"{gallery}: {done.enrolled} enrolled, {done.already} were there before, {len(bad or ())} unreadable images "
        f"left out; {counted(done.count, 'record')} now"
    )
    if done.fitted:
        click.echo(describe_fit(gallery, done.statistics_version))
