"""``reid export``: a trained run as one ONNX file, in float32 or INT8; and INT8 of such a file."""

from pathlib import Path
from typing import Any

import click

from reid_toolkit.cli.console import late_progress_bar, log, print_json, warn, warn_bad
from reid_toolkit.cli.options import FILE, FOLDER, RUN_OR_MODEL, Number, json_output
from reid_toolkit.cli.paths import OUTPUT


@click.command()
@click.argument("run", type=RUN_OR_MODEL, metavar="RUN_OR_MODEL")
@click.option("--out", type=OUTPUT, required=True, help="The .onnx file to write.")
@click.option("--dataset", type=FOLDER, help="Its crops check the file against torch.  [default: --int8-dataset]")
@click.option("--stage", default="best", show_default=True, help="best, initial, last, or a stage's number.")
@click.option("--evaluate", "rank", is_flag=True, help="Also rank the dataset with each form of the model.")
@click.option("--identities", type=FILE, help="CSV tracklet,identity for --evaluate; instead of the dataset's own.")
@click.option("--int8", is_flag=True, help="Write it in INT8.")
@click.option("--int8-dataset", type=FOLDER, help="Its crops set INT8's ranges.  [default: --dataset]")
@click.option("--calibrate", type=FOLDER, hidden=True, help="The old name of --int8-dataset.")
@click.option("--target", help="x86 (with VNNI), x86-avx2 (without) or arm.  [default: this machine's]")
@click.option(
    "--max-loss",
    type=Number(0),
    help="What INT8 may lose: of mAP with --evaluate (0.01 is one point), else of the crops' mean squared distance. "
    "Layers stay in float until it holds.  [default: 0.01]",
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
    int8_dataset: Path | None,
    calibrate: Path | None,
    target: str | None,
    max_loss: float | None,
    as_json: bool,
) -> None:
    """Write the model of a run as one ONNX file: uint8 crops in, unit descriptors out.

    With --int8, a float file of `reid export` or `reid adopt` is taken in place of a run. The file is written only
    after its output was checked: a float file against torch, on crops of the dataset at batch 1, 2 and 17; an INT8
    file against --max-loss.
    """
    if calibrate:
        warn("--calibrate is now called --int8-dataset; the old name will be removed in the next release")
    int8_dataset = int8_dataset or calibrate
    refuse_contradictions(run, stage, int8, bool(int8_dataset or target or max_loss is not None))
    dataset = dataset or int8_dataset
    if not dataset:
        raise click.UsageError("--dataset is missing: its crops are needed to check the file against torch")
    if identities and not rank:
        raise click.UsageError("--identities goes with --evaluate")
    from reid_toolkit.export.pipeline import Int8, export_model, open_score
    from reid_toolkit.export.quantize import MAX_LOSS

    bad: list[str] = []
    with late_progress_bar("try layers", "layers") as on_progress:
        report = export_model(
            run, out, dataset, stage=stage,
            int8=Int8(int8_dataset, target, MAX_LOSS if max_loss is None else max_loss) if int8 else None,
            score=open_score(dataset, identities) if rank else None, bad=bad, on_progress=on_progress,
        )  # fmt: skip
    warn_bad(list(dict.fromkeys(bad)))
    if as_json:
        print_json(report)
        return
    log.print("\n".join(describe(report)), markup=False, soft_wrap=True)


def refuse_contradictions(run: Path, stage: str, int8: bool, int8_options: bool) -> None:
    """Wrong usage, told before anything is loaded."""
    if run.is_file() and run.suffix.lower() != ".onnx":
        raise click.UsageError(f"{str(run)!r} is a file: expected a folder (are the arguments in the right order?)")
    if run.is_file() and not int8:
        raise click.UsageError(f"{run} is a model already: --int8 makes a smaller one of it")
    if run.is_file() and stage != "best":
        raise click.UsageError("--stage goes with a run")
    if int8_options and not int8:
        raise click.UsageError("--int8-dataset, --target and --max-loss go with --int8")


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
