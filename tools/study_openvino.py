"""How far OpenVINO's descriptors are from onnxruntime's, on real crops: cosines, and how much distances change.

    python tools/study_openvino.py MODEL... --pictures FOLDER --json docs/benchmarks/openvino.json

Each MODEL is an ONNX file of `reid export` or `reid adopt`. Crops are drawn at random from the pictures in FOLDER, the
same for all models. "float32" is what the provider `openvino` does; "its own" leaves the precision to OpenVINO, which
takes bfloat16 on a processor that multiplies it (AVX-512 BF16, AMX). Needs the extra `openvino`.
"""

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from machine import origin, save
from numpy.typing import NDArray

from reid_toolkit.runtime import Embedder
from reid_toolkit.runtime.openvino import import_openvino
from reid_toolkit.runtime.preprocess import to_batch

KINDS = {".jpg", ".jpeg", ".png", ".bmp"}
BATCH = 25
COLUMNS = ("model", "file", "precision in OpenVINO", "least cosine", "mean cosine", "farthest descriptors",
           "largest change of a distance", "median distance")  # fmt: skip

Rows = NDArray[np.float32]


def crops_in(folder: Path, count: int) -> list[NDArray[np.uint8]]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in KINDS)
    picked = np.random.default_rng(0).choice(len(files), min(count, len(files)), replace=False)
    read = [cv2.imread(str(files[number])) for number in picked]
    return [np.asarray(image, np.uint8) for image in read if image is not None]


def distances(rows: Rows) -> NDArray[np.float64]:
    """Return the distances of all pairs of rows. They are made from differences, because products lose digits."""
    first, second = np.triu_indices(len(rows), 1)
    return np.linalg.norm(rows[first].astype(np.float64) - rows[second], axis=1)


def by_itself(path: Path, crops: list[NDArray[np.uint8]], size: tuple[int, int]) -> Rows:
    """Return what OpenVINO gives in the precision that it takes by itself."""
    model = import_openvino("this study").Core().compile_model(path, "CPU")
    batches = [to_batch(crops[first : first + BATCH], *size) for first in range(0, len(crops), BATCH)]
    rows = np.concatenate([model([batch])[0].copy() for batch in batches])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def compare(path: Path, crops: list[NDArray[np.uint8]]) -> list[dict[str, Any]]:
    plain = Embedder(path, batch_size=BATCH, threads=1, providers=["cpu"])
    expected = plain.embed(crops)
    ours = Embedder(path, batch_size=BATCH, threads=1, providers=["openvino"], strict=True)
    about = plain.metadata
    found = []
    for precision, rows in (
        ("float32", ours.embed(crops)),
        ("its own", by_itself(path, crops, (about.height, about.width))),
    ):
        cosines = (rows.astype(np.float64) * expected).sum(axis=1)
        found.append(
            {
                "model": f"{about.backbone} {about.height}x{about.width}", "source": path.name,
                "file": about.precision, "precision": precision,
                "least_cosine": float(cosines.min()), "mean_cosine": float(cosines.mean()),
                "farthest": float(np.linalg.norm(rows - expected, axis=1).max()),
                "change": float(np.abs(distances(rows) - distances(expected)).max()),
                "median_distance": float(np.median(distances(expected))),
            }
        )  # fmt: skip
    return found


def table(rows: list[dict[str, Any]]) -> str:
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    lines += [
        f"| {row['model']} | {row['file']} | {row['precision']} | {row['least_cosine']:.6f} | "
        f"{row['mean_cosine']:.6f} | {row['farthest']:.2g} | {row['change']:.2g} | {row['median_distance']:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--count", type=int, default=200, help="number of crops")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    crops = crops_in(options.pictures, options.count)
    if len(crops) < 2:
        parser.error(f"{options.pictures}: {len(crops)} pictures there: expected at least 2")
    rows = [row for path in options.models for row in compare(path, crops)]
    print(table(rows))
    if options.json:
        import onnxruntime

        versions = {"onnxruntime": onnxruntime.__version__, "openvino": import_openvino("this").__version__}
        save(options.json, {**origin(), "versions": versions, "crops": len(crops), "rows": rows})


if __name__ == "__main__":
    main()
