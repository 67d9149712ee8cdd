"""``reid demo``: all steps from footage to search, with the commands a user would type, on drawn footage."""

import os
import shlex
import socket
import sys
import time
from contextlib import nullcontext, redirect_stdout
from itertools import product
from pathlib import Path
from typing import Any

import click

from reid_toolkit.cli.app import reid
from reid_toolkit.cli.console import log, print_json, progress_bar, rich_escape
from reid_toolkit.cli.options import FOLDER, json_output
from reid_toolkit.errors import InputError

USUAL_PORT = 8000
PLAIN, WITH = "no camera statistics:", "with camera statistics:"


@click.command()
@click.option("--out", type=FOLDER, default="reid-demo", show_default=True, help="The folder for all files.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Another number draws other people and trains from other weights.",
)
@click.option(
    "--serve",
    is_flag=True,
    help="At the end, group the people, and show them on the page of `reid serve` until Ctrl-C.",
)
@json_output
def command(out: Path, seed: int, serve: bool, as_json: bool) -> None:
    """Draw footage of synthetic people in three cameras, then find the people again across cameras.

    Needs no network, no weights and no GPU. If it was stopped, run it again with the same --out to continue.
    """
    if serve:
        # A missing extra is noticed now, and not after minutes of work.
        import reid_toolkit.service.app
        import reid_toolkit.service.server  # noqa: F401

    # The commands print their results to stdout. With --json, stdout carries only the summary.
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        summary = walk(out, seed)
    if as_json:
        print_json(summary)
    else:
        print_summary(summary)
    if serve:
        with redirect_stdout(sys.stderr) if as_json else nullcontext():
            show_people(out / "gallery")


def print_summary(summary: dict[str, Any]) -> None:
    """Say how good the model is, and where the report is."""
    for when, how in product(("before", "after"), (PLAIN, WITH)):
        scores = summary[when if how == WITH else f"{when}_plain"]
        log.print(
            f"{when:>6} training, {how:25} rank-1 {100 * scores['rank-1']:5.1f}%  mAP {100 * scores['mAP']:5.1f}%"
        )
    log.print(f"{summary['seconds']:.0f} s in all. Open the report: {rich_escape(summary['report'])}", soft_wrap=True)


def walk(out: Path, seed: int) -> dict[str, Any]:
    """Run every step of the demo in the folder ``out``. Gives the summary that --json prints."""
    from reid_toolkit.cli.evaluate import PLAIN as PLAIN_NAME
    from reid_toolkit.datasets.manifest import read_manifest
    from reid_toolkit.demo.footage import TRUTH
    from reid_toolkit.demo.truth import label_tracklets, read_truth, write_identities
    from reid_toolkit.files import write_atomic

    began = time.monotonic()
    footage, people, run, gallery = (out / name for name in ("footage", "people", "run", "gallery"))
    before, after = out / "untrained.onnx", out / "model.onnx"
    identities, report = out / "identities.csv", out / "report.html"
    search, stamp = out / "search.html", out / "seed.txt"
    targets = (footage, people, run, gallery, before, after, identities, report, search)
    if not stamp.exists() and any(map(os.path.lexists, targets)):
        raise InputError(f"{out}: holds other files: choose another --out")
    if stamp.exists() and stamp.read_text() != str(seed):
        raise InputError(
            f"{out}: holds a demo of seed {stamp.read_text()}, got --seed {seed}: choose another --out, or remove it"
        )
    write_atomic(stamp, str(seed))
    if not (footage / TRUTH).exists():  # it is written last, so if it exists the videos are complete
        draw(footage, seed)

    type_command("ingest", *sorted(footage.glob("*.avi")), "--out", people)
    dataset = read_manifest(people)
    say(f"write who is who, for the evaluation only: {identities}")
    truth = label_tracklets(dataset, read_truth(footage / TRUTH))
    write_identities(identities, truth)

    resume = ["--resume"] if (run / "run.json").exists() else []
    type_command("train", people, "--recipe", "demo_rounds", "--seed", seed, "--out", run, *resume)
    type_command("export", run, "--stage", "initial", "--dataset", people, "--out", before)
    type_command("export", run, "--dataset", people, "--out", after)
    type_command("enroll", people, "--model", after, "--gallery", gallery)
    wanted = next(t for t in dataset.tracklets if int(truth[t.name]) > 0)
    elsewhere = [word for camera in dataset.cameras if camera != wanted.camera for word in ("--camera", camera)]
    type_command(
        "search", people, "--tracklet", wanted.name, "--gallery", gallery, *elsewhere, "--top-k", 5,
        "--identities", identities, "--html", search,
    )  # fmt: skip
    results = type_command(
        "evaluate", after, people, "--identities", identities, "--baseline", before, "--html", report
    )

    return {
        "seed": seed,
        "people": len({name for name in truth.values() if int(name) > 0}),
        "tracklets": len(dataset.tracklets),
        "crops": len(dataset.crops),
        # Evaluations use camera statistics, as searches do, unless there is too little data for them.
        "before": results[before.name],
        "after": results[after.name],
        "before_plain": results.get(PLAIN_NAME.format(before.name), results[before.name]),
        "after_plain": results.get(PLAIN_NAME.format(after.name), results[after.name]),
        "seconds": round(time.monotonic() - began, 1),
        "report": str(report.resolve()),
    }


def draw(folder: Path, seed: int) -> None:
    """Draw the footage, all cameras at once if there are cores for it."""
    from reid_toolkit.demo.cameras import CAMERAS
    from reid_toolkit.demo.footage import draw_footage
    from reid_toolkit.parallel.processes import Processes
    from reid_toolkit.runtime.session import usable_cores

    say(f"draw footage of synthetic people into {folder}")
    cores = usable_cores()
    pool = Processes(len(CAMERAS), cores) if cores > 1 else None
    with progress_bar("draw", "frames") as on_progress:
        draw_footage(folder, seed=seed, pool=pool, on_progress=on_progress)


def show_people(gallery: Path) -> None:
    """Group the people of the gallery, and serve the page until Ctrl-C."""
    type_command("people", "group", gallery)
    type_command("serve", "--gallery", gallery, "--port", free_port(), "--open")


def free_port() -> int:
    """The usual port of `reid serve`, or another one if a program uses it."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", USUAL_PORT))
        except OSError:
            return 0
    return USUAL_PORT


def say(comment: str) -> None:
    log.print(f"[dim]# {rich_escape(comment)}[/]", soft_wrap=True)


def type_command(name: str, *arguments: object) -> Any:
    """Print a command as a user would type it, run it in this process, and give its result."""
    words = [name, *map(str, arguments)]
    log.print(f"[bold]$ {rich_escape(shlex.join(['reid', *words]))}[/]", soft_wrap=True)
    return reid.main(args=words, prog_name="reid", standalone_mode=False)
