"""``reid frigate``: store Frigate's events of people as tracklets in a dataset."""

import os
from pathlib import Path

import click

from reid_toolkit.cli import options
from reid_toolkit.cli.console import counted, print_json, printable, progress_bar, warn

PASSWORD = "REID_FRIGATE_PASSWORD"
"""The environment variable of the password. Other users of the machine can see a command's arguments."""


@click.command()
@click.argument("address", metavar="ADDRESS")
@click.option("--out", type=options.FOLDER, required=True, help="The dataset folder to create or add to.")
@click.option(
    "--camera", "cameras", multiple=True, metavar="NAME", help="Only this camera of Frigate. Repeat it for several."
)
@click.option(
    "--after",
    callback=options.parse_moment,
    metavar="WHEN",
    help="Only events that began since, e.g. 7d or 2026-11-22.",
)
@click.option("--before", callback=options.parse_moment, metavar="WHEN", help="Only events that began before.")
@click.option("--user", help=f"The user to log in as, with the password in {PASSWORD}.")
@click.option(
    "--margin",
    type=options.Number(0, 1),
    default=0.05,
    show_default=True,
    help="Widen boxes on each side by this fraction of their size.",
)
@click.option(
    "--retry",
    type=options.Number(0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to try again if Frigate does not answer.",
)
@options.json_output
def command(
    address: str,
    out: Path,
    cameras: tuple[str, ...],
    after: float | None,
    before: float | None,
    user: str | None,
    margin: float,
    retry: float,
    as_json: bool,
) -> None:
    """Store the people of Frigate's events as tracklets in a dataset: one crop of each event, cut from its snapshot.

    ADDRESS is frigate://HOST[:PORT] (port 5000 if none is given), or http://HOST:PORT or https://HOST:PORT. Events that
    are already in the dataset are not fetched again.
    """
    from dataclasses import asdict

    from reid_toolkit.footage.frigate.client import FrigateClient
    from reid_toolkit.footage.frigate.ingest import ingest_frigate

    password = os.environ.get(PASSWORD) or None
    if user is not None and password is None:
        raise click.UsageError(f"--user needs the password in the environment variable {PASSWORD}")
    client = FrigateClient(address, user, password if user is not None else None, retry_seconds=retry)
    with progress_bar("frigate", "events") as on_progress:
        report = ingest_frigate(
            client, out, cameras=cameras, after=after, before=before, margin=margin, on_progress=on_progress
        )
    for warning in report.warnings:
        warn(warning)
    if as_json:
        print_json(asdict(report))
        return
    parts = [
        f"{counted(report.stored, 'tracklet')} from {counted(report.events, 'event')}",
        f"{report.skipped} were there before",
        f"{report.in_progress} are in progress",
    ]
    click.echo(printable(f"{out}: {'; '.join(parts)}"))
    for name, count in report.cameras.items() if len(report.cameras) > 1 else ():
        click.echo(printable(f"  {name}: {counted(count, 'tracklet')}"))
