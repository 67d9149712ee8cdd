"""``reid models``: models of others under free licences, downloaded by name."""

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
"""For the proof that an adopted model is the same: two batches of the largest size."""


@click.group(cls=rich_click.RichGroup, invoke_without_command=True)
@json_output
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List models of others under free licences. Commands take their names once `reid models get` has them."""
    if context.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError(f"--json belongs behind {context.invoked_subcommand}")
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
        "rank-1 / mAP, per cent: our own, of 100 people of CUHK03 before two cameras (docs/models.md)\n"
        "`reid models show NAME` tells all of one, `reid models get NAME` downloads it",
        markup=False, soft_wrap=True,
    )  # fmt: skip


@command.command()
@click.argument("name")
@json_output
def show(name: str, as_json: bool) -> None:
    """All that is known of the model NAME: its publisher's figures, addresses and digests, too."""
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
    help="A mirror, which has each file as URL/NAME/FILE. [default: $REID_MODELS_MIRROR; else the publisher]",
)
@json_output
def get(name: str, mirror: str | None, as_json: bool) -> None:
    """Download the model NAME, verify it, and make it one that commands take by its name.

    An embedder is adopted, as by `reid adopt`. A download that was cut off goes on where it was when this is run again.
    """
    from reid_toolkit.catalogue.cache import alone, model_file
    from reid_toolkit.catalogue.download import check_mirror, fetch_files
    from reid_toolkit.catalogue.entries import find_entry

    entry = find_entry(name)
    mirror = check_mirror(mirror) if mirror else None
    path, ready = model_file(entry), is_ready(entry)
    if not ready:
        refuse_without_extras(entry)
        with alone(entry, lambda: log.print(f"another process is getting {name}: waiting for it")) as folder:
            if not is_ready(entry):
                with late_progress_bar("download", "kB") as on_progress:
                    fetch_files(
                        entry, folder, mirror,
                        lambda done: on_progress(done // 1000, entry.bytes // 1000),
                        lambda wrong: warn(f"{wrong}: is not the file of the catalogue, so it is fetched anew"),
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
    """Whether the model is here, and whole."""
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
        warn(f"{error}: it is made anew")
        return False
    return True


def refuse_without_extras(entry: "Entry") -> None:
    """Before the download, raise ImportError for what its adoption needs and is not installed."""
    if entry.kind == "embedder":
        from importlib.util import find_spec

        import reid_toolkit.adopt.adoption  # noqa: F401

        if entry.needs_openvino and find_spec("openvino") is None:
            raise ImportError("openvino is not installed", name="openvino")


def adopt_it(entry: "Entry", file: Path, out: Path) -> None:
    """The publisher's file as ours, proven on drawn people."""
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
    """All of it, for --json."""
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
    """Rows of text, each column as wide as it must be."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
