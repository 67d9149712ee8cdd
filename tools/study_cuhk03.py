"""The rows of the paper's Table II on a real two-camera set: trained on its training part, ranked on people held out.

    python tools/study_cuhk03.py --pictures labeled --weights resnet50.pth --runs runs --json cuhk03.json

``--pictures`` holds CUHK03's ``train`` and ``val``, crops named IIII_KK.jpg (identity; 00-04 camera A, 05-09 camera B).
Every training crop is a sample of its own and no identity is given to training. ``--weights`` is an ImageNet ResNet-50
state dict of He et al. 2015 (stride on the first 1x1 convolution). Each crop of a camera of ``val`` is then ranked
against all crops of the other; of each run its last stage and the one it kept, and once the network before training.
Runs that are there go on. The other options make it smaller, to try it.
"""

import argparse
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from check_cuhk03 import link_pictures
from study import DEVICE, print_rows, train_run, write_json
from study import run as run_study

from reid_toolkit.config import Recipe, load_recipe
from reid_toolkit.datasets.dataset import Dataset
from reid_toolkit.datasets.manifest import read_manifest, write_manifest
from reid_toolkit.errors import DatasetError
from reid_toolkit.evaluation.protocol import Embedded, evaluate
from reid_toolkit.training.features import extract
from reid_toolkit.training.run_folder import RunFolder, load_network
from reid_toolkit.training.samples import load_samples

ROWS = ("buc", "buc_size", "dbc_between", "dbc")
"""Table II: BUC without and with its size term, DBC without and with the within-cluster term."""


def without_names(pictures: Path, people: int | None, out: Path) -> Dataset:
    """The training part of ``pictures``, of the first ``people``; its manifest names nobody."""
    if not (out / "manifest.csv").exists():
        full = link_pictures(pictures, out)
        kept = [crop for crop in full.crops if people is None or int(crop.identity or 0) <= people]
        write_manifest(out, [replace(crop, identity=None) for crop in kept])
    return read_manifest(out)


def held_out(run: Path, stage: str, dataset: Dataset) -> Iterator[dict[str, Any]]:
    """One camera against the other, by the run's network at ``stage``; fractions 0-1."""
    folder = RunFolder(run)
    recipe = folder.recipe().network
    samples = load_samples(dataset, recipe.height, recipe.width, device=DEVICE)
    network = load_network(folder, stage).to(DEVICE)
    found = Embedded(samples.tracklets, extract(network, samples, DEVICE).descriptors.numpy())
    for (query, gallery), ranking in evaluate(found, found).pairs.items():
        if ranking:
            yield {"query": query, "gallery": gallery, "rank-1": ranking.rank(1), "mAP": ranking.mean_ap}


def chosen_recipe(name: str, options: argparse.Namespace) -> Recipe:
    recipe = load_recipe(name)
    network = replace(recipe.network, weights=str(options.weights), stride_in_1x1=True)
    training = replace(recipe.training, samples="images", precision=options.precision)
    if options.size:
        network = replace(network, height=options.size[0], width=options.size[1])
    if options.epochs:
        training = replace(training, first_epochs=options.epochs[0], later_epochs=options.epochs[1])
    return replace(recipe, network=network, training=training)


def main(options: argparse.Namespace) -> None:
    for part in ("train", "val"):
        if not (options.pictures / part).is_dir():
            raise DatasetError(f"{options.pictures}: no folder {part}: expected CUHK03's labeled/, with train and val")
    options.runs.mkdir(parents=True, exist_ok=True)
    known = options.runs / "val"
    val = read_manifest(known) if known.exists() else link_pictures(options.pictures / "val", known)
    train = without_names(options.pictures / "train", options.people, options.runs / "train")
    rows: list[dict[str, Any]] = []
    for number, name in enumerate(options.recipes):
        run, recipe = options.runs / Path(name).stem, chosen_recipe(name, options)
        train_run(train.root, recipe, run)
        for stage in ("initial", "last", "best") if number == 0 else ("last", "best"):
            shown = "not trained" if stage == "initial" else name
            rows += [{"recipe": shown, "stage": stage, **pair} for pair in held_out(run, stage, val)]
        write_json(
            options.json,
            {
                "training_crops": len(train.crops),
                "held_out_crops": len(val.crops),
                "recipes": {n: asdict(chosen_recipe(n, options)) for n in options.recipes[: number + 1]},
                "rows": rows,
            },
        )
    print_rows(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True, help="where the runs go; those there go on")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--recipes", nargs="+", default=ROWS, help="shipped recipes' names, or TOML files")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--people", type=int, help="of the training part; all of them by default")
    parser.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--epochs", type=int, nargs=2, metavar=("FIRST", "LATER"))
    run_study(main, parser)
