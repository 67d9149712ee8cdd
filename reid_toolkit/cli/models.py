"""``reid models``: list and download other projects' models under free licences."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import rich_click

from reid_toolkit.cli.console import late_progress_bar, log, print_json, printable, warn
from reid_toolkit.cli.options import json_output
from reid_toolkit.errors import ModelError

if TYPE_CHECKING:
    from reid_toolkit.catalogue.entries import Entry

CROPS = 34
"""Crops on which an adopted model is compared with the original: two batches of the largest size, 17."""


@click.group(cls=rich_click.RichGroup, invoke_without_command=True)
@json_output
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List models of other projects under free licences.

    After `reid models get NAME`, commands take NAME as a model.
    """
    if context.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError(f"--json must come after {context.invoked_subcommand}")
        return
    from reid_toolkit.catalogue.entries import read_catalogue

    entries = read_catalogue()
    if as_json:
        print_json([facts(entry) for entry in entries])
        return
    embedders = [["embedder", "input", "MB", "rank-1 / mAP", "trained on", "licence", "here"]]
    detectors = [["detector", "input", "MB", "gives", "trained on", "licence", "here"]]
    for entry in entries:
        figures = "not measured" if entry.rank1 is None else f"{entry.rank1:.1f} / {entry.map:.1f}"
        row = [entry.name, f"{entry.height}x{entry.width}", f"{entry.bytes / 1e6:4.1f}"]
        row += [figures if entry.kind == "embedder" else entry.output, entry.trained_on or "not told", entry.licence]
        (embedders if entry.kind == "embedder" else detectors).append([*row, here(entry)])
    click.echo("\n".join([*table(embedders), "", *table(detectors)]))
    log.print(
        "rank-1 / mAP: per cent, measured by us on 100 people of CUHK03 in two cameras (docs/models.md)\n"
        "`reid models show NAME` tells more of a model, `reid models get NAME` downloads it",
        markup=False, soft_wrap=True,
    )  # fmt: skip


@command.command()
@click.argument("name")
@json_output
def show(name: str, as_json: bool) -> None:
    """Show all that is known of the model NAME, with its publisher's figures, addresses and checksums."""
    from reid_toolkit.catalogue.entries import find_entry

    entry = find_entry(name)
    told = facts(entry)
    if as_json:
        print_json(told)
        return
    files, measured = told.pop("files"), told.pop("measured")
    told["here"] = here(entry)
    told["measured"] = measured and f"rank-1 {measured['rank1']}, mAP {measured['map']}: {measured['on']}"
    lines = [(key.replace("_", " "), str(value)) for key, value in told.items() if value is not None]
    for file in files:
        lines += [(key, str(value)) for key, value in file.items()]
    width = max(len(key) for key, _ in lines)
    click.echo("\n".join(f"{key:{width}}  {printable(value)}" for key, value in lines))


@command.command()
@click.argument("name")
@click.option(
    "--from",
    "mirror",
    metavar="URL",
    envvar="REID_MODELS_MIRROR",
    help="Download from a mirror, which has each file at URL/NAME/FILE. [default: $REID_MODELS_MIRROR, or the "
    "publisher]",
)
@json_output
def get(name: str, mirror: str | None, as_json: bool) -> None:
    """Download and verify the model NAME. Commands then take NAME as a model.

    An embedder is also converted, as by `reid adopt`. If a download breaks off, run the command again to continue it.
    """
    from reid_toolkit.catalogue.cache import alone, model_file
    from reid_toolkit.catalogue.download import check_mirror, fetch_files
    from reid_toolkit.catalogue.entries import find_entry

    entry = find_entry(name)
    mirror = check_mirror(mirror) if mirror else None
    path, ready = model_file(entry), is_ready(entry)
    if not ready:
        refuse_without_extras(entry)
        with alone(entry, lambda: log.print(f"another process is downloading {name}: waiting for it")) as folder:
            if not is_ready(entry):
                with late_progress_bar("download", "kB") as on_progress:
                    fetch_files(
                        entry, folder, mirror,
                        lambda done: on_progress(done // 1000, entry.bytes // 1000),
                        lambda wrong: warn(f"{wrong}: is not the file of the catalogue: it is downloaded again"),
                    )  # fmt: skip
                if entry.kind == "embedder":
                    adopt_it(entry, folder / entry.files[0].name, path)
    if as_json:
        print_json({"name": name, "kind": entry.kind, "file": str(path), "already_here": ready})
        return
    option = "--model" if entry.kind == "embedder" else "--detector"
    done = "is here already" if ready else f"{entry.bytes / 1e6:.1f} MB, verified"
    click.echo(printable(f"{path}: {done}; commands take it as {option} {name}"))


def is_ready(entry: "Entry") -> bool:
    """Whether the model has been downloaded and is undamaged."""
    from reid_toolkit.catalogue.cache import folder_of, is_here, model_file
    from reid_toolkit.catalogue.download import verified

    if not is_here(entry):
        return False
    if entry.kind == "detector":
        return all(verified(folder_of(entry) / file.name, file) for file in entry.files)
    from reid_toolkit.runtime import Embedder

    try:
        Embedder(model_file(entry), providers=["cpu"])
    except ModelError as error:
        warn(f"{error}: it is made again")
        return False
    return True


def refuse_without_extras(entry: "Entry") -> None:
    """Raise ImportError before the download if a package that adopting the model needs is not installed."""
    if entry.kind == "embedder":
        from importlib.util import find_spec

        import reid_toolkit.adopt.adoption  # noqa: F401

        if entry.needs_openvino and find_spec("openvino") is None:
            raise ImportError("openvino is not installed", name="openvino")


def adopt_it(entry: "Entry", file: Path, out: Path) -> None:
    """Convert the publisher's file to ``out``, and compare the two on drawn people."""
    from reid_toolkit.adopt.adoption import Settings, adopt
    from reid_toolkit.catalogue.cache import cannot_be_written
    from reid_toolkit.demo.crops import draw_crops

    try:
        adopted = adopt(file, out, draw_crops(CROPS), settings=Settings(entry.preset, licence=entry.licence))
    except OSError as error:
        raise cannot_be_written(out, error) from None
    log.print(
        f"adopted: it differs from the original by at most {adopted.parity.max_difference:.1e} on {CROPS} drawn people",
        markup=False, soft_wrap=True,
    )  # fmt: skip


def here(entry: "Entry") -> str:
    from reid_toolkit.catalogue.cache import is_here

    return "yes" if is_here(entry) else "no"


def facts(entry: "Entry") -> dict[str, Any]:
    """All that is known of a model, for --json."""
    from reid_toolkit.catalogue.cache import folder_of, is_here, model_file

    measured = {"rank1": entry.rank1, "map": entry.map, "on": "CUHK03, 100 held-out people, camera A to B, per cent"}
    return {
        "name": entry.name, "kind": entry.kind, "publisher": entry.publisher, "page": entry.page,
        "licence": entry.licence, "licence_text": entry.licence_text, "trained_on": entry.trained_on or "not told",
        "published": entry.published or "no figures", "measured": measured if entry.rank1 is not None else None,
        "height": entry.height, "width": entry.width, "output": entry.output, "preset": entry.preset,
        "person_label": entry.person_label,
        "needs": "openvino" if entry.needs_openvino else None, "bytes": entry.bytes, "here": is_here(entry),
        "file": str(model_file(entry)), "folder": str(folder_of(entry)),
        "files": [{"address": one.address, "bytes": one.bytes, one.algorithm: one.digest} for one in entry.files],
    }  # fmt: skip


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines of text, each column as wide as its longest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
