"""``reid adopt``: convert another project's embedder into one ONNX file that reid uses."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reid_toolkit.cli.console import late_progress_bar, log, print_json, warn, warn_bad
from reid_toolkit.cli.options import FILE, FOLDER, Number, Size, json_output
from reid_toolkit.cli.paths import OUTPUT

if TYPE_CHECKING:
    from reid_toolkit.adopt.adoption import Adopted
    from reid_toolkit.adopt.choosing import Trial
    from reid_toolkit.adopt.contract import Contract

LEAST_RECALL = 0.3
"""Warn if a model finds the second half of fewer tracklets than this. Networks that were not trained on people find
about a fifth."""
CROPS = 34
"""Crops of the comparison with the original: two batches of the largest size, 17."""


@click.command()
@click.argument("file", type=FILE)
@click.option("--out", type=OUTPUT, required=True, help="The .onnx file to write.")
@click.option(
    "--dataset",
    type=FOLDER,
    help="Tracklets of your cameras. The right preset is found on them if the file does not name it, and the new file "
    "is compared with the original on their crops. [default: compare on drawn people, without looking for a preset]",
)
@click.option(
    "--preset",
    metavar="NAME",
    help="How the model wants its pixels prepared: imagenet, raw-bgr, half, tao, clip or inside. "
    "[default: recognised, or found on --dataset]",
)
@click.option(
    "--mean", type=Number(0), nargs=3, metavar="A B C", help="Instead of --preset: subtract these after --scale."
)
@click.option(
    "--std",
    type=Number(0, min_open=True),
    nargs=3,
    metavar="A B C",
    help="Instead of --preset: divide by these after --mean.",
)
@click.option(
    "--order", type=click.Choice(["rgb", "bgr"]), help="Instead of --preset: the order of channels. [default: rgb]"
)
@click.option("--scale", type=Number(0, min_open=True), help="Instead of --preset: divide pixels (0-255) by this.")
@click.option("--size", type=Size(), help="Input height and width, if the file accepts any size, e.g. 256x128.")
@click.option("--output", metavar="TENSOR", help="The output, or a tensor inside the network, that is the descriptor.")
@click.option("--license", "licence", default="", metavar="NAME", help="Stored in the new file, e.g. Apache-2.0.")
@click.option("--anyway", is_flag=True, help="Adopt a file even if it looks like a classifier or a face network.")
@json_output
def command(
    file: Path,
    out: Path,
    dataset: Path | None,
    preset: str | None,
    mean: tuple[float, float, float] | None,
    std: tuple[float, float, float] | None,
    order: str | None,
    scale: float | None,
    size: tuple[int, int] | None,
    output: str | None,
    licence: str,
    anyway: bool,
    as_json: bool,
) -> None:
    """Convert another project's re-ID model into a file that every reid command accepts.

    FILE is ONNX, OpenVINO's .xml, or a checkpoint of torchreid's OSNet or fast-reid's SBS-S50; or the name of a model
    to download, such as osnet_x1_0_msmt17. How the model wants its pixels prepared is recognised, or found on the
    tracklets of --dataset, without labels. The new file is written only after it has given the same descriptors as
    the original, at batch sizes 1, 2 and 17.
    """
    own = contract_of(mean, std, order, scale)
    if preset is not None and own is not None:
        raise click.UsageError("give either --preset or --mean, --std, --order and --scale, not both")
    from reid_toolkit.adopt.adoption import Settings, adopt
    from reid_toolkit.adopt.contract import preset as check_preset
    from reid_toolkit.datasets import open_dataset, without_identities
    from reid_toolkit.datasets.dataset import read_crops, spread_over_cameras
    from reid_toolkit.demo.crops import draw_crops
    from reid_toolkit.errors import InputError

    if preset is not None:
        check_preset(preset)
    bad: list[str] = []
    held = None
    if dataset is None:
        crops = draw_crops(CROPS)
    else:
        held = without_identities(open_dataset(dataset))
        crops = [image for _, image in read_crops(spread_over_cameras(held.crops)[:CROPS], bad)]
        if not crops:
            raise InputError(f"{dataset}: none of {CROPS} crops can be read; the first: {bad[0]}")
    path, source = fetched(file, out)
    settings = Settings(preset, own, size, output, licence, anyway, source)
    with late_progress_bar("try presets", "presets") as on_progress:
        adopted = adopt(path, out, crops, held, settings, bad, on_progress)
    warn_bad(list(dict.fromkeys(bad)))
    if adopted.one_by_one:
        warn(f"{file}: its batch size is fixed: {out} runs the pictures one by one, which is slower in large batches")
    if adopted.choice and max(trial.recall for trial in adopted.choice.trials) < LEAST_RECALL:
        warn(f"{file}: finds few people again with any preset: check that it is a network for re-identification")
    if as_json:
        print_json(report(adopted, file, out, len(crops)))
        return
    log.print("\n".join(describe(adopted, file, out, drawn=dataset is None)), markup=False, soft_wrap=True)


def fetched(file: Path, out: Path) -> tuple[Path, str]:
    """The file to adopt, and the page that it was downloaded from; an empty page if it is a file of the user."""
    from reid_toolkit.adopt.adoption import refuse_overwriting
    from reid_toolkit.adopt.pretrained import fetch, find, is_name
    from reid_toolkit.catalogue.entries import read_catalogue
    from reid_toolkit.errors import InputError

    if not is_name(file):
        return file, ""
    if str(file) in [entry.name for entry in read_catalogue()]:
        raise InputError(f"{file}: is a model of `reid models`: `reid models get {file}` downloads it, ready for use")
    refuse_overwriting(file, out)
    weights = find(str(file))
    log.print(f"{weights.name}: {weights.page}, unless it was downloaded before", markup=False, soft_wrap=True)
    return fetch(weights), weights.page


def contract_of(
    mean: tuple[float, float, float] | None,
    std: tuple[float, float, float] | None,
    order: str | None,
    scale: float | None,
) -> "Contract | None":
    """The preparation of pixels that the options give. None if none of these options was given."""
    from reid_toolkit.adopt.contract import Contract

    if all(value is None for value in (mean, std, order, scale)):
        return None
    if scale is None and (mean is not None or std is not None):
        raise click.UsageError("--mean and --std need --scale: 255 if they are fractions, 1 if they are grey levels")
    return Contract(order or "rgb", scale or 1.0, mean or (0.0, 0.0, 0.0), std or (1.0, 1.0, 1.0))


def report(adopted: "Adopted", file: Path, out: Path, crops: int) -> dict[str, Any]:
    """All results, for --json."""
    from dataclasses import asdict

    network = adopted.network
    return {
        "file": str(file), "model": str(out), "preset": adopted.preset, "preset_by": adopted.why,
        "contract": str(adopted.contract), "height": network.height, "width": network.width,
        "dimension": network.dimension, "output": network.output, "one_by_one": adopted.one_by_one,
        "trials": [asdict(trial) for trial in adopted.choice.trials] if adopted.choice else None,
        "crops": crops, "batches": adopted.parity.batches, "max_difference": adopted.parity.max_difference,
        "min_cosine": adopted.parity.min_cosine, "bytes": out.stat().st_size,
    }  # fmt: skip


def describe(adopted: "Adopted", file: Path, out: Path, *, drawn: bool) -> list[str]:
    """The results as lines of text."""
    lines = []
    if adopted.choice is not None:
        lines += table(adopted.choice.trials, adopted.choice.tracklets)
    network, parity = adopted.network, adopted.parity
    lines += [
        f"{file}: preset {adopted.preset} ({adopted.contract}): {adopted.why}",
        f"{out}: {out.stat().st_size / 1e6:.1f} MB, {network.height} x {network.width}, {network.dimension} numbers a "
        f"person; it differs from the original by at most {parity.max_difference:.1e} on {parity.crops} "
        f"{'drawn people' if drawn else 'crops'} at batch 1, 2 and 17",
    ]
    return lines


def table(trials: "tuple[Trial, ...]", tracklets: int) -> list[str]:
    """The results of each preset, as lines of text."""
    lines = [f"{'preset':10}  found  separation  batch norm off by   on {tracklets} tracklets, without labels"]
    for trial in trials:
        off = "-" if trial.mismatch is None else f"{trial.mismatch:.2f}"
        same = f"   the same to this network as {trial.same_as}" if trial.same_as else ""
        lines.append(f"{trial.preset:10}  {100 * trial.recall:4.0f}%  {trial.separation:10.2f}  {off:>17}{same}")
    return lines
