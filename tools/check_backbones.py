"""Checks exported backbones, in float and in INT8: how far each is from torch, how large, and how fast.

    python tools/check_backbones.py --weights mobilenet_v2=mobilenet_v2.pth --out docs/benchmarks/backbones.json

Weights are random unless `--weights` names a file; batch norm's statistics come from the crops, which are blurred noise
without people; size 256x128. For the float file it notes what `reid export` checks before it writes a file: the largest
difference and the least cosine over batches of 1, 2 and 17. For the INT8 file, with all layers in INT8 for this
machine, it notes the cosine and the loss on crops that did not set its ranges. Random networks lose more than trained
ones: the check shows that every graph converts and runs, not how good it is. Times are for one thread and batches of
16, taken in turns with the float file of `--reference`. The least of several is given. A busy machine slows all alike,
so compare the ratios.
"""

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench_embedder import pictures
from embedder_ways import Pixels, settle
from machine import origin, save

from reid_toolkit.config import NetworkRecipe, Recipe
from reid_toolkit.export.onnx import export
from reid_toolkit.export.quantize import quantize, seconds_per_crop
from reid_toolkit.runtime import Embedder
from reid_toolkit.training.network import CLASSIFIERS, build_network
from reid_toolkit.training.run_folder import RunFolder, save_tensors

BACKBONES = (
    *(name for name in CLASSIFIERS if not name.startswith("osnet")),
    "osnet_x0_25", "osnet_x1_0", "osnet_ain_x0_25", "osnet_ain_x1_0",
    "timm:repvit_m0_9", "timm:mobilenetv4_conv_small", "timm:efficientvit_b0",
)  # fmt: skip
COLUMNS = (
    "backbone", "D", "million weights", "largest difference", "INT8 cosine", "MB float", "MB INT8", "speed float",
    "speed INT8",
)  # fmt: skip


def make(network: NetworkRecipe, crops: list[Pixels], folder: Path) -> dict[str, Any]:
    """Make both files of one backbone. Raises as `reid export` does if a file is wrong."""
    recipe = Recipe(network=network)
    run, model, small = RunFolder(folder / "run"), folder / "float.onnx", folder / "int8.onnx"
    run.start(recipe, "0" * 16)
    built = build_network(recipe.network, seed=0)
    if network.weights == "none":
        settle(built, crops, recipe.network)
    save_tensors(run.checkpoints / "initial.safetensors", built.state_dict(), {"stage": "initial"})
    parity = export(run.path, model, crops[:17], stage="initial")
    half = len(crops) // 2
    found = quantize(model, small, crops[:half], crops[half:], max_loss=float("inf"))
    rows = Embedder(small, batch_size=5, providers=["cpu"]).embed(crops[:17])
    assert rows.shape == (17, built.dimension)
    return {
        "backbone": network.backbone, "weights": "random" if network.weights == "none" else Path(network.weights).name,
        "dimension": built.dimension, "weights_millions": sum(p.numel() for p in built.backbone.parameters()) / 1e6,
        "float": asdict(parity), "int8_target": found.target,
        "int8": {"cosine": found.cosine, "loss": found.descriptor_loss, "layers": found.layers},
        "bytes": {"float": found.float_bytes, "int8": found.bytes},
    }  # fmt: skip


def time(files: list[Path], crops: list[Pixels], rounds: int) -> dict[str, Any]:
    """Return crops per second of the reference, a float file and an INT8 file, and the ratios of the latter two to
    it."""
    embedders = [Embedder(path, batch_size=16, threads=1, providers=["cpu"]) for path in files]
    for embedder in embedders:
        embedder.embed(crops[:16])
    speeds = [1 / seconds for seconds in seconds_per_crop(embedders, crops[:16], rounds)]
    names = ("reference", "float", "int8")
    return {
        "crops_per_second": dict(zip(names, speeds, strict=True)),
        "ratio": {name: speed / speeds[0] for name, speed in zip(names[1:], speeds[1:], strict=True)},
    }


def line(row: dict[str, Any]) -> str:
    name = f"`{row['backbone']}`" + ("" if row["weights"] == "random" else f" ({row['weights']})")
    return (
        f"| {name} | {row['dimension']} | {row['weights_millions']:.1f} | {row['float']['max_difference']:.1e} | "
        f"{row['int8']['cosine']:.3f} | {row['bytes']['float'] / 1e6:.1f} | {row['bytes']['int8'] / 1e6:.1f} | "
        f"{row['ratio']['float']:.2f} | {row['ratio']['int8']:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES), metavar="NAME")
    parser.add_argument("--reference", default="mobilenet_v2", metavar="NAME")
    parser.add_argument("--weights", nargs="*", default=[], metavar="NAME=FILE", help="of a backbone; others: random")
    parser.add_argument("--size", type=int, nargs=2, default=(256, 128), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--rounds", type=int, default=15, help="rounds of timing")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    weights = dict(pair.split("=", 1) for pair in options.weights)
    crops, (height, width) = [view.copy() for view in pictures()[1]], options.size

    def recipe(name: str) -> NetworkRecipe:
        return NetworkRecipe(name, weights=weights.get(name, "none"), embedding=8, height=height, width=width)

    rows = []
    print(f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", sep="\n")
    with tempfile.TemporaryDirectory() as kept:
        make(recipe(options.reference), crops, Path(kept))
        for backbone in options.backbones:
            with tempfile.TemporaryDirectory() as folder:
                row = make(recipe(backbone), crops, Path(folder))
                files = [Path(kept) / "float.onnx", Path(folder) / "float.onnx", Path(folder) / "int8.onnx"]
                rows.append(row | time(files, crops, options.rounds))
            print(line(rows[-1]), flush=True)
    result = {
        **origin(),
        "size": [height, width],
        "reference": options.reference,
        "rows": rows,
    }
    save(options.out, result)


if __name__ == "__main__":
    main()
