"""``reid dataset``: whether a dataset can be read, and making it readable again."""

from pathlib import Path

import click

from reid_toolkit.cli.options import FOLDER, json_output
from reid_toolkit.cli.root import log, print_json, printable
from reid_toolkit.errors import DatasetError

MOST_SENTENCES = 20
"""Of what is refused; --json names all."""


@click.group()
def command() -> None:
    """Look after a dataset folder."""


@command.command()
@click.argument("dataset", type=FOLDER)
@click.option("--repair", "mend", is_flag=True, help="Set aside what cannot be read, so that the rest can.")
@json_output
def check(dataset: Path, mend: bool, as_json: bool) -> None:
    """Say what of DATASET, a folder with our manifest, its reader refuses, and why.

    Exit status 1 when something is. With --repair it is moved into the folder set-aside of DATASET, with the manifest
    as it was; nothing is deleted.
    """
    from reid_toolkit.datasets.manifest import NAME, read_manifest
    from reid_toolkit.footage.repair import SET_ASIDE, inspect, repair

    if not dataset.is_dir():
        raise DatasetError(f"{dataset}: no such folder: expected a dataset of `reid ingest`")
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
            f"{dataset}: {len(findings.rows)} rows and {len(findings.recordings)} recordings cannot be read: --repair "
            "sets them aside"
        )
    if sentences:
        log.print(f"{dataset}: set aside in {dataset / SET_ASIDE}", markup=False, soft_wrap=True)
    if not (dataset / NAME).exists():
        raise DatasetError(f"{dataset}: nothing in it can be read: ingest its recordings again")
    held = read_manifest(dataset)
    if not as_json:
        click.echo(f"{dataset}: {len(held.tracklets)} tracklets, {len(held.crops)} crops can be read")
