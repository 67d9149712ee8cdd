"""Measures what a small network and INT8 cost in accuracy: a trained run and its students, each in float and in INT8.

    reid demo --out demo --seed 0
    reid train demo/people --recipe demo --out demo/run-demo
    python tools/study_distillation.py demo/run-demo demo/people --identities demo/identities.csv --runs students \\
        --json docs/benchmarks/distillation.json

The steps are those of `reid distill` and `reid export --int8 --evaluate`. Rank-1 and mAP are without camera statistics:
over all cameras, and as the mean over pairs of cameras, one ranked against the other. INT8 is for this machine; layers
stay in float if it would lose more than --max-loss. With ``--held-out``, a dataset of other people, rank-1 and mAP are
for those people, and identities do not influence the choice of layers: the loss is of the crops' distances, as in `reid
export --int8` without `--evaluate`. Speed is for crops one after another, in batches of 16, one thread. Unfinished
students go on; finished ones are kept.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from study import DEVICE, write_json

from reid_toolkit.datasets import Dataset, open_dataset
from reid_toolkit.datasets.dataset import spread_over_cameras
from reid_toolkit.evaluation.protocol import evaluate_parts, open_parts
from reid_toolkit.export.onnx import export
from reid_toolkit.export.pipeline import HELD_OUT_CROPS, RANGE_CROPS, read_first
from reid_toolkit.export.quantize import MAX_LOSS, quantize
from reid_toolkit.runtime import Embedder
from reid_toolkit.training.distillation import Student, distill
from reid_toolkit.training.run_folder import RunFolder


def measure(run: Path, name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Make a row for the float file of a run and one for its INT8 file; fractions 0-1."""
    parts = open_parts(options.held_out or options.dataset, options.identities)
    crops = read_first(spread_over_cameras(open_dataset(options.dataset).crops), RANGE_CROPS + HELD_OUT_CROPS, [])
    model, small = options.runs / f"{name}.onnx", options.runs / f"{name}-int8.onnx"
    export(run, model, crops[:17])
    found = quantize(
        model,
        small,
        crops[:RANGE_CROPS],
        crops[RANGE_CROPS:] or crops,
        max_loss=options.max_loss,
        mean_ap=None if options.held_out else lambda embedder: score(embedder, parts)["mAP"],
    )
    float_row = {"form": "float", "bytes": found.float_bytes, "seconds_per_crop": found.float_seconds_per_crop}
    int8_row = {
        "form": f"int8 for {found.target}", "bytes": found.bytes, "seconds_per_crop": found.seconds_per_crop,
        "descriptor_loss": found.descriptor_loss, "layers": found.layers, "in_float": len(found.in_float),
    }  # fmt: skip
    return [
        {"model": name, **row, **score(Embedder(path, providers=["cpu"]), parts)}
        for row, path in ((float_row, model), (int8_row, small))
    ]


def score(embedder: Embedder, parts: list[Dataset]) -> dict[str, float]:
    """Return scores over all cameras, and their mean over pairs of cameras; fractions 0-1."""
    found = evaluate_parts(embedder, parts, camera_statistics=False)  # to measure the network alone
    pairs = [ranking for ranking in found.pairs.values() if ranking]
    return {
        "rank-1": found.overall.rank(1), "mAP": found.overall.mean_ap,
        "pairs_rank-1": float(np.mean([pair.rank(1) for pair in pairs])),
        "pairs_mAP": float(np.mean([pair.mean_ap for pair in pairs])),
    }  # fmt: skip


def is_whole(run: Path, epochs: int) -> bool:
    """Whether a student has learned for all its epochs. Then only its best.safetensors is needed."""
    return (run / "model.json").exists() and int(RunFolder(run).model()["epoch"]) == epochs - 1


def line(row: dict[str, Any]) -> str:
    return (
        f"| {row['model']} | {row['form']} | {100 * row['rank-1']:.1f} | {100 * row['mAP']:.1f} | "
        f"{100 * row['pairs_rank-1']:.1f} | {100 * row['pairs_mAP']:.1f} | "
        f"{row['bytes'] / 1e6:.1f} | {1e3 * row['seconds_per_crop']:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="the teacher, folder of a training run")
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="crops to learn from and to evaluate on")
    parser.add_argument("--identities", type=Path, help="CSV tracklet,identity; instead of the dataset's own")
    parser.add_argument("--held-out", type=Path, metavar="DATASET", help="other people, to evaluate on instead")
    parser.add_argument("--students", nargs="*", default=["mobilenet_v3_small"])
    parser.add_argument("--weights", default="none", help="weights from which students start, as for reid distill")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--max-loss", type=float, default=MAX_LOSS, help="in INT8, a fraction: of mAP, or as above")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the students and their files")
    parser.add_argument("--json", type=Path, required=True, help="the figures to write")
    options = parser.parse_args()
    options.runs.mkdir(parents=True, exist_ok=True)
    print("| network | form | rank-1 | mAP | pairs: rank-1 | mAP | MB | ms a crop |", "|---" * 8 + "|", sep="\n")
    rows = []
    runs = {"teacher": options.run}
    for name in options.students:
        runs[name] = options.runs / name
        student = Student(name, options.weights, options.epochs, learning_rate=options.learning_rate)
        if not is_whole(runs[name], options.epochs):
            resume = (runs[name] / "run.json").exists()
            distill(options.run, open_dataset(options.dataset), student, runs[name], resume=resume, device=DEVICE)
    for name, run in runs.items():
        rows += measure(run, name, options)
        print(*map(line, rows[-2:]), sep="\n", flush=True)
    write_json(options.json, {"rows": rows})


if __name__ == "__main__":
    main()
