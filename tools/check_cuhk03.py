"""A check on real pictures of weights, resize, export, runtime and ranking together, against a known figure.

    python tools/check_cuhk03.py --pictures labeled/val --weights resnet50.pth --out cuhk03_untrained.json

``--pictures`` is a folder of CUHK03 crops named IIII_KK.jpg (identity; 00-04 camera A, 05-09 camera B). ``--weights``
is an ImageNet ResNet-50 state dict of He et al. 2015 (stride on the first 1x1 convolution). Nothing is trained: the
network is exported as loaded and evaluated like any other model, all crops of one camera against all of the other.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from cuhk03 import link_pictures
from machine import origin, save

from reid_toolkit.config import NetworkRecipe, Recipe
from reid_toolkit.datasets.dataset import read_crops
from reid_toolkit.export.onnx import export
from reid_toolkit.export.parity import BATCHES
from reid_toolkit.training.network import build_network
from reid_toolkit.training.run_folder import RunFolder, save_tensors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.pictures.parent) as folder:
        dataset = link_pictures(arguments.pictures, Path(folder) / "pictures")
        recipe = Recipe(network=NetworkRecipe(weights=str(arguments.weights), stride_in_1x1=True))
        run = RunFolder(Path(folder) / "run")
        run.start(recipe, dataset.fingerprint)
        network = build_network(recipe.network, recipe.seed)
        save_tensors(run.checkpoints / "initial.safetensors", network.state_dict(), {"stage": "initial"})
        model = Path(folder) / "model.onnx"
        samples = [image for _, image in read_crops(dataset.crops[: max(BATCHES)])]
        parity = export(run.path, model, samples, stage="initial")
        line = [
            sys.executable,
            "-m",
            "reid_toolkit",
            "evaluate",
            str(model),
            str(dataset.root),
            "--no-camera-statistics",
            "--json",
        ]
        found = json.loads(subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout)[model.name]
    result = {
        "crops": len(dataset.crops),
        "parity_max_difference": parity.max_difference,
        "pairs": found["pairs"],
    }
    save(arguments.out, origin() | result)
    for pair in found["pairs"]:
        print(f"{pair['query']} → {pair['gallery']}: rank-1 {pair['rank-1']:.1%}, mAP {pair['mAP']:.1%}")


if __name__ == "__main__":
    main()
