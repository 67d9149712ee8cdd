"""``reid export`` as a library: a run or a model's file in, the file for a box out, and what each form of it scores."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from reid_toolkit.datasets import open_dataset
from reid_toolkit.datasets.dataset import CropEmbedder, read_crops, spread_over_cameras
from reid_toolkit.errors import InputError
from reid_toolkit.evaluation.protocol import evaluate_parts, open_parts
from reid_toolkit.export.onnx import export
from reid_toolkit.export.parity import BATCHES
from reid_toolkit.export.quantize import (
    MAX_LOSS,
    Progress,
    checked_target,
    open_float,
    quantize,
    refuse_overwriting,
)
from reid_toolkit.export.torch_embedder import TorchEmbedder
from reid_toolkit.images import Image
from reid_toolkit.records import Crop
from reid_toolkit.runtime import Embedder
from reid_toolkit.training.run_folder import RunFolder, load_network

RANGE_CROPS, HELD_OUT_CROPS = 128, 64
"""Crops that set an INT8 model's ranges, and other crops that measure what it lost."""

Score = Callable[[CropEmbedder], dict[str, float]]
"""From an embedder to its ``rank-1`` and ``mAP`` on a dataset, fractions 0-1."""


@dataclass(frozen=True)
class Int8:
    """How to write INT8."""

    dataset: Path | None = None
    """Its crops set the ranges; None takes those of the dataset that the export is checked on."""
    target: str | None = None
    """One of ``int8.TARGETS``; None takes the one that fits this machine."""
    max_loss: float = MAX_LOSS
    """What INT8 may lose: of mAP (0.01 is one point) with a score, else of ``quantize.descriptor_loss``."""


def export_model(
    source: Path,
    out: Path,
    dataset: Path,
    *,
    stage: str = "best",
    int8: Int8 | None = None,
    score: Score | None = None,
    bad: list[str],
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Write ``out``, checked against ``source`` on crops of ``dataset``, and report what was measured.

    Args:
        source: a run's folder; with ``int8``, also a float file of ``reid export`` or ``reid adopt``.
        out: the ``.onnx`` file to write; it appears only after all checks have passed.
        dataset: its crops prove that the file equals torch, and measure what INT8 loses.
        stage: which model of the run: best, initial, last, or a stage's number.
        int8: None writes a float file.
        score: also ranks with each form of the model.
        bad: messages of crops that cannot be read are appended; those crops are left out.
        on_progress: called with (layers tried, layers) if INT8 loses too much at first.

    Raises:
        InputError: too few readable crops, an unknown target, a file that is in INT8 already, or ``out`` is ``source``
            or has another suffix.
        RunError: the run has no such stage, or is damaged.
        ModelError: the file differs from torch by more than ``parity.TOLERANCE``, or INT8 loses too much.
    """
    refuse_overwriting(source, out)
    if out.suffix.lower() != ".onnx":  # it may be a file of the run, such as its checkpoint
        raise InputError(f"--out {out}: expected the name of an .onnx file to write")
    if int8:  # before the work, which takes minutes
        checked_target(int8.target)
        if source.is_file():
            open_float(source)
        if int8.dataset:
            open_dataset(int8.dataset)
    crops = spread_over_cameras(open_dataset(dataset).crops)
    report: dict[str, Any] = {"model": str(out)}
    with tempfile.TemporaryDirectory() as folder:
        model = source
        if not source.is_file():
            model = Path(folder) / "float.onnx" if int8 else out
            parity = export(source, model, images_of(read_first(crops, max(BATCHES), bad)), stage=stage)
            report |= {
                "stage": stage, "crops": parity.crops, "batches": parity.batches,
                "max_difference": parity.max_difference, "min_cosine": parity.min_cosine,
            }  # fmt: skip
            if score:
                network, about = load_network(RunFolder(source), stage), Embedder(model, providers=["cpu"]).metadata
                report["torch"] = score(TorchEmbedder(network, about.height, about.width))
        if score:
            report["onnx"] = score(Embedder(model, providers=["cpu"]))
        if int8:
            report["int8"] = export_int8(model, out, dataset, crops, int8, score, bad, on_progress)
    return report | {"bytes": out.stat().st_size}


def export_int8(
    model: Path,
    out: Path,
    dataset: Path,
    crops: list[Crop],
    int8: Int8,
    score: Score | None,
    bad: list[str],
    on_progress: Progress | None,
) -> dict[str, Any]:
    """Write ``out``, the float ``model`` in INT8. Its loss is measured on crops that did not set its ranges."""
    if int8.dataset and int8.dataset.resolve() != dataset.resolve():
        ranges = read_first(spread_over_cameras(open_dataset(int8.dataset).crops), RANGE_CROPS, bad)
        used = {crop for crop, _ in ranges}
        held_out = read_first([crop for crop in crops if crop not in used], HELD_OUT_CROPS, bad)
    else:
        readable = read_first(crops, RANGE_CROPS + HELD_OUT_CROPS, bad)
        count = min(RANGE_CROPS, 3 * len(readable) // 4)
        ranges, held_out = readable[:count], readable[count:]
    if not ranges or not held_out:
        raise InputError(
            f"--int8: {len(crops)} crops in {dataset}: expected at least one to take ranges from and another "
            "one to measure on; give more with --dataset, or others with --int8-dataset"
        )
    quantised = quantize(
        model, out, images_of(ranges), images_of(held_out), target=int8.target, max_loss=int8.max_loss,
        mean_ap=(lambda embedder: score(embedder)["mAP"]) if score else None, on_progress=on_progress,
    )  # fmt: skip
    about = vars(quantised) | {"calibration_crops": len(ranges), "held_out_crops": len(held_out)}
    return about | (score(Embedder(out, providers=["cpu"])) if score else {})


def read_first(crops: list[Crop], count: int, bad: list[str]) -> list[tuple[Crop, Image]]:
    """The first ``count`` of the crops that can be read; messages of the others are appended to ``bad``."""
    return list(islice(read_crops(crops, bad), count))


def images_of(read: list[tuple[Crop, Image]]) -> list[Image]:
    """The images of crops that were read."""
    return [image for _, image in read]


def open_score(dataset: Path, identities: Path | None) -> Score:
    """Open the dataset with its identities, or with those of a CSV, so that mistakes in them are reported at once."""
    parts = open_parts(dataset, identities)

    def score(embedder: CropEmbedder) -> dict[str, float]:
        overall = evaluate_parts(embedder, parts).overall
        return {"rank-1": overall.rank(1), "mAP": overall.mean_ap}

    return score
