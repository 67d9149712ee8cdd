"""``reid export``: a trained run as one ONNX file."""

from pathlib import Path

import click

from reid_toolkit.cli.options import FILE, FOLDER, json_output
from reid_toolkit.cli.root import log, print_json


@click.command()
@click.argument("run", type=FOLDER)
@click.option("--out", type=FILE, required=True, help="The .onnx file to write.")
@click.option("--dataset", type=FOLDER, required=True, help="Whose crops prove that it equals torch.")
@click.option("--stage", default="best", show_default=True, help="best, initial, last, or a stage's number.")
@json_output
def command(run: Path, out: Path, dataset: Path, stage: str, as_json: bool) -> None:
    """Write the model of RUN as one ONNX file: uint8 crops in, unit descriptors out.

    The file appears only once onnxruntime has given the same descriptors as torch, on crops of the dataset, one,
    two and seventeen at a time.
    """
    from itertools import islice

    from reid_toolkit.datasets import open_dataset
    from reid_toolkit.datasets.reading import read_crops
    from reid_toolkit.export.onnx import export
    from reid_toolkit.export.parity import BATCHES

    bad: list[str] = []
    crops = [image for _, image in islice(read_crops(open_dataset(dataset).crops, bad), max(BATCHES))]
    parity = export(run, out, crops, stage=stage)
    size = out.stat().st_size
    report = {
        "model": str(out), "stage": stage, "bytes": size, "crops": parity.crops,
        "batches": parity.batches, "max_difference": parity.max_difference, "min_cosine": parity.min_cosine,
    }  # fmt: skip
    if as_json:
        print_json(report)
        return
    log.print(
        f"{out}: {size / 1e6:.1f} MB; differs from torch by at most {parity.max_difference:.1e} on "
        f"{parity.crops} crops at batch 1, 2 and 17",
        markup=False,
        soft_wrap=True,
    )
