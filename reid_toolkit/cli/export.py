"""``reid export``: a trained run as one ONNX file, in float32 or INT8; and INT8 of such a file."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reid_toolkit.cli.console import log, print_json, progress_bar, warn_bad
from reid_toolkit.cli.options import FILE, FOLDER, OUTPUT, RUN_OR_MODEL, Number, json_output
from reid_toolkit.errors import InputError
from reid_toolkit.records import Crop

if TYPE_CHECKING:
    from reid_toolkit.datasets.dataset import CropEmbedder
    from reid_toolkit.images import Image

    Score = Callable[[CropEmbedder], dict[str, float]]

CALIBRATION, HELD_OUT = 128, 64
"""Crops that set an INT8 model's ranges, and others that measure its loss."""


@click.command()
@click.argument("run", type=RUN_OR_MODEL, metavar="RUN_OR_MODEL")
@click.option("--out", type=OUTPUT, required=True, help="The .onnx file to write.")
@click.option("--dataset", type=FOLDER, help="Whose crops prove that it equals torch; --calibrate's, if not given.")
@click.option("--stage", default="best", show_default=True, help="best, initial, last, or a stage's number.")
@click.option("--evaluate", "rank", is_flag=True, help="Also rank the dataset with each form of the model.")
@click.option("--identities", type=FILE, help="CSV tracklet,identity for --evaluate; instead of the dataset's own.")
@click.option("--int8", is_flag=True, help="Write it in INT8.")
@click.option("--calibrate", type=FOLDER, help="Whose crops set INT8's ranges; the --dataset's, if not given.")
@click.option("--target", help="x86 (with VNNI), x86-avx2 (without) or arm; this machine's, if not given.")
@click.option(
    "--max-loss",
    type=Number(0),
    help="What INT8 may lose, 0.01 by default: of mAP with --evaluate (0.01 is one point), else of the crops' "
    "mean squared distance. Layers stay in float until it holds.",
)
@json_output
def command(
    run: Path,
    out: Path,
    dataset: Path | None,
    stage: str,
    rank: bool,
    identities: Path | None,
    int8: bool,
    calibrate: Path | None,
    target: str | None,
    max_loss: float | None,
    as_json: bool,
) -> None:
    """Write the model of a run as one ONNX file: uint8 crops in, unit descriptors out.

    With --int8 also of a float file of `reid export` or `reid adopt`. The file appears only once onnxruntime has given
    the same descriptors as torch, on crops of the dataset, one, two and seventeen at a time; with --int8, only once
    what it loses is within --max-loss.
    """
    exported = run.is_file()
    if exported and run.suffix.lower() != ".onnx":
        raise click.UsageError(f"{str(run)!r} is a file: expected a folder (are the arguments in the right order?)")
    if exported and not int8:
        raise click.UsageError(f"{run} is a model already: --int8 makes a smaller one of it")
    if exported and stage != "best":
        raise click.UsageError("--stage goes with a run")
    if not int8 and (calibrate or target or max_loss is not None):
        raise click.UsageError("--calibrate, --target and --max-loss go with --int8")
    dataset = dataset or calibrate
    if not dataset:
        raise click.UsageError("--dataset is missing: whose crops shall prove that the file equals torch?")
    if identities and not rank:
        raise click.UsageError("--identities goes with --evaluate")
    from reid_toolkit.datasets import open_dataset
    from reid_toolkit.export.onnx import export
    from reid_toolkit.export.parity import BATCHES
    from reid_toolkit.export.quantize import MAX_LOSS, quantize
    from reid_toolkit.export.samples import spread_over_cameras
    from reid_toolkit.export.torch_embedder import TorchEmbedder
    from reid_toolkit.runtime import Embedder
    from reid_toolkit.training.run_folder import RunFolder, load_network

    score = open_score(dataset, identities) if rank else None
    bad: list[str] = []
    crops = spread_over_cameras(open_dataset(dataset).crops)
    proof = read_first(crops, max(BATCHES), bad)
    report: dict[str, Any] = {"model": str(out)}
    with tempfile.TemporaryDirectory() as folder:
        model = run if exported else Path(folder) / "float.onnx" if int8 else out
        if not exported:
            parity = export(run, model, proof, stage=stage)
            report |= {
                "stage": stage, "crops": parity.crops, "batches": parity.batches,
                "max_difference": parity.max_difference, "min_cosine": parity.min_cosine,
            }  # fmt: skip
        if score and not exported:
            network, about = load_network(RunFolder(run), stage), Embedder(model, providers=["cpu"]).metadata
            report["torch"] = score(TorchEmbedder(network, about.height, about.width))
        if score:
            report["onnx"] = score(Embedder(model, providers=["cpu"]))
        if int8:
            apart = calibrate and calibrate.resolve() != dataset.resolve()
            others = spread_over_cameras(open_dataset(calibrate).crops) if calibrate and apart else crops
            # Of few crops, some are kept to measure on: a range fits best what it was taken from.
            ranges = read_first(others, CALIBRATION if apart else min(CALIBRATION, 3 * len(crops) // 4), bad)
            used = set(others[: len(ranges)])
            held_out = read_first([crop for crop in crops if crop not in used], HELD_OUT, bad)
            if not ranges or not held_out:
                raise InputError(
                    f"--int8: {len(crops)} crops in {dataset}: expected at least one to take ranges from and another "
                    "one to measure on; give more with --dataset, or others with --calibrate"
                )
            with progress_bar("try layers", "layers") as on_progress:
                quantised = quantize(
                    model, out, ranges, held_out, target=target,
                    max_loss=MAX_LOSS if max_loss is None else max_loss,
                    mean_ap=(lambda embedder: score(embedder)["mAP"]) if score else None, on_progress=on_progress,
                )  # fmt: skip
            report["int8"] = vars(quantised) | {"calibration_crops": len(ranges), "held_out_crops": len(held_out)}
            if score:
                report["int8"] |= score(Embedder(out, providers=["cpu"]))
    report["bytes"] = out.stat().st_size
    warn_bad(list(dict.fromkeys(bad)))
    if as_json:
        print_json(report)
        return
    log.print("\n".join(describe(report)), markup=False, soft_wrap=True)


def describe(report: dict[str, Any]) -> list[str]:
    """What was written, and what was measured, a line each."""
    lines = [f"{report['model']}: {report['bytes'] / 1e6:.1f} MB"]
    if "max_difference" in report:
        lines[0] += (
            f"; the float model differs from torch by at most {report['max_difference']:.1e} on {report['crops']} "
            "crops at batch 1, 2 and 17"
        )
    if "torch" in report:
        a, b = report["torch"], report["onnx"]
        lines.append(
            f"rank-1 {100 * a['rank-1']:.1f}% in torch, {100 * b['rank-1']:.1f}% in onnxruntime; "
            f"mAP {100 * a['mAP']:.2f}%, {100 * b['mAP']:.2f}%"
        )
    if "int8" in report:
        small = report["int8"]
        ratio = small["float_seconds_per_crop"] / small["seconds_per_crop"]
        lines += [
            f"INT8 for {small['target']}: {small['float_bytes'] / 1e6:.1f} MB to {small['bytes'] / 1e6:.1f} MB; "
            f"cosine {small['cosine']:.4f}, descriptor loss {small['descriptor_loss']:.4f} on "
            f"{small['held_out_crops']} crops; {len(small['in_float'])} of {small['layers']} layers in float",
            f"a crop takes {1e3 * small['seconds_per_crop']:.2f} ms on this machine, {ratio:.2f} times as fast as float"
            + ("" if ratio > 1 else ": use the float file here"),
        ]
        if "mAP" in small:
            change = 100 * (small["mAP"] - report["onnx"]["mAP"])
            lines.append(f"in INT8 rank-1 {100 * small['rank-1']:.1f}%, mAP {100 * small['mAP']:.2f}% ({change:+.2f})")
    return lines


def read_first(crops: list[Crop], count: int, bad: list[str]) -> "list[Image]":
    """The first ``count`` of the crops that can be read; messages of the others go to ``bad``."""
    from itertools import islice

    from reid_toolkit.datasets.dataset import read_crops

    return [image for _, image in islice(read_crops(crops, bad), count)]


def open_score(dataset: Path, identities: Path | None) -> "Score":
    """A function from an embedder to its rank-1 and mAP on the dataset, fractions 0-1."""
    from reid_toolkit.evaluation.protocol import evaluate_parts, open_parts

    parts = open_parts(dataset, identities)

    def score(embedder: "CropEmbedder") -> dict[str, float]:
        overall = evaluate_parts(embedder, parts).overall
        return {"rank-1": overall.rank(1), "mAP": overall.mean_ap}

    return score
