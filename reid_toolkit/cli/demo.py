"""``reid demo``: the whole path, by the commands a user would type, on footage that it draws itself."""

import shlex
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

PLAIN, WITH = "descriptors as they are:", "with camera statistics:"


@click.command()
@click.option("--out", type=FOLDER, default="reid-demo", show_default=True, help="Where all of it goes.")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Draws other people, and trains from other weights.",
)
@json_output
def command(out: Path, seed: int, as_json: bool) -> None:
    """Draw three cameras' footage of synthetic people, then find them again across cameras.

    Needs no network, no weights and no GPU. Run again on the same --out it goes on where it was stopped.
    """
    # The commands print their results; of those, --json leaves stdout to the summary alone.
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        summary = walk(out, seed)
    if as_json:
        print_json(summary)
        return
    for when, how in product(("before", "after"), (PLAIN, WITH)):
        scores = summary[when if how == WITH else f"{when}_plain"]
        log.print(
            f"{when:>6} training, {how:25} rank-1 {100 * scores['rank-1']:5.1f}%  mAP {100 * scores['mAP']:5.1f}%"
        )
    log.print(f"{summary['seconds']:.0f} s in all. Open the report: {rich_escape(summary['report'])}", soft_wrap=True)


def walk(out: Path, seed: int) -> dict[str, Any]:
    """Every step of the demo, in ``out``; returns what --json prints."""
    from reid_toolkit.cli.evaluate import PLAIN as PLAIN_NAME
    from reid_toolkit.datasets.manifest import read_manifest
    from reid_toolkit.demo.footage import TRUTH, draw_footage
    from reid_toolkit.demo.truth import label_tracklets, read_truth, write_identities
    from reid_toolkit.files import write_atomic

    began = time.monotonic()
    footage, people, run, gallery = (out / name for name in ("footage", "people", "run", "gallery"))
    before, after = out / "untrained.onnx", out / "model.onnx"
    identities, report = out / "identities.csv", out / "report.html"
    stamp = out / "seed.txt"
    if stamp.exists() and stamp.read_text() != str(seed):
        raise InputError(
            f"{out}: holds a demo of seed {stamp.read_text()}, not {seed}: choose another --out or remove it"
        )
    write_atomic(stamp, str(seed))
    if not (footage / TRUTH).exists():  # written last, so the videos are whole where it is
        say(f"draw footage of synthetic people into {footage}")
        with progress_bar("draw", "frames") as on_progress:
            draw_footage(footage, seed=seed, on_progress=on_progress)

    type_command("ingest", *sorted(footage.glob("*.avi")), "--out", people)
    dataset = read_manifest(people)
    say(f"who is who, from the drawing, for the evaluation only: {identities}")
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
        "--identities", identities, "--html", out / "search.html",
    )  # fmt: skip
    results = type_command(
        "evaluate", after, people, "--identities", identities, "--baseline", before, "--html", report
    )

    return {
        "seed": seed,
        "people": len({name for name in truth.values() if int(name) > 0}),
        "tracklets": len(dataset.tracklets),
        "crops": len(dataset.crops),
        # An evaluation has camera statistics, as a search has, unless there is too little for some.
        "before": results[before.name],
        "after": results[after.name],
        "before_plain": results.get(PLAIN_NAME.format(before.name), results[before.name]),
        "after_plain": results.get(PLAIN_NAME.format(after.name), results[after.name]),
        "seconds": round(time.monotonic() - began, 1),
        "report": str(report.resolve()),
    }


def say(comment: str) -> None:
    log.print(f"[dim]# {rich_escape(comment)}[/]", soft_wrap=True)


def type_command(name: str, *arguments: object) -> Any:
    """Print a command as a user would type it, and run it in this process."""
    words = [name, *map(str, arguments)]
    log.print(f"[bold]$ {rich_escape(shlex.join(['reid', *words]))}[/]", soft_wrap=True)
    return reid.main(args=words, prog_name="reid", standalone_mode=False)
