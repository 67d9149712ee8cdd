"""Every backbone exported, in float and in INT8, and how far each is from torch.

    python tools/check_backbones.py --out docs/benchmarks/backbones.json

Random weights, batch norm's statistics set by the crops (noise that was blurred: no picture of anybody), 64x32. Of the
float file it notes what `reid export` proves before it writes one: the largest difference and the least cosine over
batches of 1, 2 and 17. Of the INT8 file, all layers of it in INT8 for this machine, the cosine and the loss on crops
that did not set its ranges. Random networks lose more than trained ones: what is shown is that every graph converts and
runs, not how good it is.
"""

import argparse
import datetime
import json
import os
import platform
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench_embedder import pictures, processor
from embedder_ways import Pixels, settle

from reid_toolkit.config import NetworkRecipe, Recipe
from reid_toolkit.export.onnx import export
from reid_toolkit.export.quantize import quantize
from reid_toolkit.runtime import Embedder
from reid_toolkit.training.network import CLASSIFIERS, build_network
from reid_toolkit.training.run_folder import RunFolder, save_tensors


def check(backbone: str, crops: list[Pixels], folder: Path) -> dict[str, Any]:
    """One backbone; raises as `reid export` does when its file is not what it must be."""
    recipe = Recipe(network=NetworkRecipe(backbone, weights="none", embedding=8, height=64, width=32))
    run, model, small = RunFolder(folder / backbone), folder / "float.onnx", folder / "int8.onnx"
    run.start(recipe, "0" * 16)
    network = build_network(recipe.network, seed=0)
    settle(network, crops, recipe.network)
    save_tensors(run.checkpoints / "initial.safetensors", network.state_dict(), {"stage": "initial"})
    parity = export(run.path, model, crops[:17], stage="initial")
    half = len(crops) // 2
    found = quantize(model, small, crops[:half], crops[half:], max_loss=float("inf"))
    rows = Embedder(small, batch_size=5, providers=["cpu"]).embed(crops[:17])
    assert rows.shape == (17, network.dimension)
    return {
        "backbone": backbone, "dimension": network.dimension, "float": asdict(parity), "int8_target": found.target,
        "int8": {"cosine": found.cosine, "loss": found.descriptor_loss, "layers": found.layers},
        "bytes": {"float": found.float_bytes, "int8": found.bytes},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", choices=list(CLASSIFIERS), default=list(CLASSIFIERS))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    crops = [view.copy() for view in pictures()[1]]
    rows = []
    print("| backbone | D | largest difference | INT8 cosine | MB float | MB INT8 |", "|---" * 6 + "|", sep="\n")
    for backbone in options.backbones:
        with tempfile.TemporaryDirectory() as folder:
            row = check(backbone, crops, Path(folder))
        rows.append(row)
        print(
            f"| {backbone} | {row['dimension']} | {row['float']['max_difference']:.1e} | {row['int8']['cosine']:.3f} | "
            f"{row['bytes']['float'] / 1e6:.1f} | {row['bytes']['int8'] / 1e6:.1f} |",
            flush=True,
        )
    result = {
        "command": "python tools/check_backbones.py " + " ".join(sys.argv[1:]),
        "date": datetime.date.today().isoformat(),
        "machine": f"{processor()}, {len(os.sched_getaffinity(0))} cores, {platform.machine()}",
        "rows": rows,
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
