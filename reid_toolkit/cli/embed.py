"""``reid embed``: write the descriptors of many crops to a file."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from reid_toolkit.cli import options, paths, pool_options
from reid_toolkit.cli.console import print_json, progress_bar, warn, warnings_on_log
from reid_toolkit.errors import InputError
from reid_toolkit.records import Crop


@click.command()
@click.argument("source", metavar="SOURCE")
@options.model_option
@click.option("--out", type=paths.FOLDER_PLACE, required=True, help="The folder for the job's files and its result.")
@click.option(
    "--format", type=click.Choice(["npy", "parquet"]), default="npy", show_default=True, help="Format of the result."
)
@pool_options.pool
@click.option(
    "--shard-size",
    type=click.IntRange(1),
    default=1024,
    show_default=True,
    help="Crops per shard, the unit of work that one worker takes.",
)
@options.batch_size
@options.provider
@options.strict
@options.json_output
def command(
    source: str,
    model: Path,
    out: Path,
    format: str,
    workers: int | None,
    ray: str | None,
    worker_cpus: float | None,
    worker_gpus: float | None,
    shard_size: int,
    batch_size: int,
    providers: tuple[str, ...],
    strict: bool,
    as_json: bool,
) -> None:
    """Embed every crop of SOURCE: a dataset, a folder of images, a text file of paths, or - for paths on stdin.

    SOURCE and OUT may be in object storage, such as s3://bucket/people (docs/scaling.md).

    Run the same command again to continue. --workers and --ray share the work among processes and machines. Crops that
    cannot be read are counted, and listed in OUT/bad.csv.
    """
    from dataclasses import asdict

    from reid_toolkit.runtime.bulk.embedding import embed_crops
    from reid_toolkit.runtime.engine import Engine

    pool = pool_options.pool_of(workers, ray, worker_cpus, worker_gpus)
    crops = crops_of(source)
    engine = Engine(model, batch_size, providers=providers or None, strict=strict)
    began = time.perf_counter()
    with warnings_on_log(), progress_bar("embed", "crops") as on_progress:
        report = embed_crops(
            crops,
            out,
            engine,
            format=format,
            pool=pool,
            shard_size=shard_size,
            on_progress=on_progress,
        )
    seconds = time.perf_counter() - began
    if report.bad:
        warn(f"{report.bad} crops could not be read; {out / 'bad.csv'} lists them; the first: {report.first_bad}")
    if not report.embedded:
        raise InputError(f"{source}: none of its {report.crops} crops could be read: {out / 'bad.csv'} says why")
    if as_json:
        print_json({"out": str(out), **asdict(report), "seconds": round(seconds, 3)})
        return
    click.echo(
        f"{out / report.descriptors}: {report.embedded} descriptors of {report.dimension}, {report.bad} unreadable "
        f"crops left out ({seconds:.1f} s)"
    )


def crops_of(source: str) -> Sequence[Crop]:
    """The crops of a dataset, of a folder of images, or of a list of paths."""
    from reid_toolkit.datasets import open_dataset
    from reid_toolkit.datasets.folder import read_path_list
    from reid_toolkit.datasets.manifest import NAME
    from reid_toolkit.storage import path_of

    if source == "-":
        return read_path_list(sys.stdin.buffer.read(), "stdin")
    path = path_of(source)
    if path.is_dir() or path.name == NAME:
        return open_dataset(path.parent if path.name == NAME else path, split="gallery").crops
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder: expected a dataset, a folder of images, or a list of paths")
    return read_path_list(path.read_bytes(), str(path))
