"""``reid dataset``: show, check, correct and export a dataset."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from reid_toolkit.cli import dataset_export, showing
from reid_toolkit.cli.console import log, print_json, printable
from reid_toolkit.cli.options import FOLDER, json_output
from reid_toolkit.errors import DatasetError

if TYPE_CHECKING:
    from reid_toolkit.footage.changes import Change

MOST_SENTENCES = 20
"""At most so many faults are printed; --json prints all."""


@click.group()
def command() -> None:
    """Show, check, correct and export a dataset folder."""


command.add_command(showing.show)
command.add_command(dataset_export.export)


@command.command()
@click.argument("dataset", type=FOLDER)
@click.argument("tracklets", nargs=-1, required=True, metavar="TRACKLET...")
@json_output
def drop(dataset: Path, tracklets: tuple[str, ...], as_json: bool) -> None:
    """Take TRACKLETs out of DATASET that show nobody, or too little of a person.

    Their crops stay in the folder, but no command reads them any more. `reid dataset undo` brings the tracklets back.
    Galleries into which they were enrolled keep their records: see `reid gallery forget`.
    """
    from reid_toolkit.footage import changes

    tell(changes.drop(dataset, tracklets), dataset, as_json)


@command.command()
@click.argument("dataset", type=FOLDER)
@click.argument("tracklet")
@click.option("--at", type=click.IntRange(0), required=True, metavar="FRAME", help="First frame of the second part.")
@json_output
def split(dataset: Path, tracklet: str, at: int, as_json: bool) -> None:
    """Cut a TRACKLET of DATASET that shows two people in two.

    Its crops from FRAME on become a new tracklet. `reid dataset undo` joins the two again. Galleries into which the
    tracklet was enrolled keep the mean of both people: see `reid gallery forget`, and then `reid enroll --allow`.
    """
    from reid_toolkit.footage import changes

    tell(changes.split(dataset, tracklet, at), dataset, as_json)


@command.command()
@click.argument("dataset", type=FOLDER)
@json_output
def undo(dataset: Path, as_json: bool) -> None:
    """Undo the last `reid dataset drop` or `split` of DATASET. Run again, it undoes the change before."""
    from reid_toolkit.footage import changes

    tell(changes.undo(dataset), dataset, as_json, "undone: ")


def tell(made: "Change", dataset: Path, as_json: bool, before: str = "") -> None:
    """Print a change."""
    if as_json:
        undone = bool(before)
        about = {"kind": made.kind, "tracklets": made.tracklets, "crops": len(made.paths), "undone": undone}
        print_json({"dataset": str(dataset), **about})
        return
    click.echo(printable(f"{dataset}: {before}{made.words}"))


@command.command()
@click.argument("dataset", type=FOLDER)
@click.option("--repair", "mend", is_flag=True, help="Set aside what cannot be read, so that the rest can be used.")
@json_output
def check(dataset: Path, mend: bool, as_json: bool) -> None:
    """Say what cannot be read in DATASET, a folder with a manifest of reid, and why.

    Exit status 1 if something cannot be read. With --repair it is moved into the folder set-aside of DATASET, with a
    copy of the manifest before the repair; nothing is deleted.
    """
    from reid_toolkit.datasets.manifest import NAME, read_manifest
    from reid_toolkit.footage.changes import SET_ASIDE
    from reid_toolkit.footage.repair import inspect, repair

    if not dataset.is_dir():
        raise DatasetError(f"{dataset}: no such folder: expected a dataset from `reid ingest`")
    findings = repair(dataset) if mend else inspect(dataset)
    sentences = findings.sentences()
    if as_json:
        print_json({"dataset": str(dataset), "sound": findings.sound, "repaired": mend, "refused": sentences})
    for sentence in () if as_json else sentences[:MOST_SENTENCES]:
        click.echo(printable(sentence))
    if not as_json and len(sentences) > MOST_SENTENCES:
        click.echo(f"and {len(sentences) - MOST_SENTENCES} more; --json names all")
    if sentences and not mend:
        raise DatasetError(
            f"{dataset}: {len(findings.rows)} rows and {len(findings.recordings)} recordings cannot be read: give "
            "--repair to set them aside"
        )
    if sentences:
        log.print(f"{dataset}: set aside in {dataset / SET_ASIDE}", markup=False, soft_wrap=True)
    if not (dataset / NAME).exists():
        raise DatasetError(f"{dataset}: nothing in it can be read: ingest its recordings again")
    held = read_manifest(dataset)
    if not as_json:
        click.echo(f"{dataset}: {len(held.tracklets)} tracklets, {len(held.crops)} crops can be read")
