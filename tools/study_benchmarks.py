"""Trains on a public benchmark without labels and ranks as published results do: one row of the table per call.

    python tools/study_benchmarks.py Market-1501-v15.09.15 --row "dbc_cameras, ResNet-50" --runs runs --json market.json

The folder is Market-1501, MSMT17 or MARS as its authors publish it (docs/data.md), with a training part, queries and a
gallery. Training sees the training part, and no identity. After the last round or stage, queries are ranked against the
gallery twice: with plain descriptors, to compare with published figures, and with camera statistics.

Rows are written into the JSON as they are finished. A call after an interruption goes on. The tool needs a GPU.
"""

import argparse
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from study import DEVICE, add_rows, add_trial_options, embedded, in_miniature, known_rows, print_rows, train_run
from study import run as run_study

from reid_toolkit.config import Recipe
from reid_toolkit.datasets import open_dataset
from reid_toolkit.errors import InputError
from reid_toolkit.evaluation.protocol import evaluate, free_of_cameras
from reid_toolkit.recipe_files import load_recipe
from reid_toolkit.training.choosing import for_gpu
from reid_toolkit.training.run_folder import RunFolder

ROWS = {
    "dbc_cameras, ResNet-50": for_gpu(load_recipe("dbc_cameras")),
    "dbc_cameras": load_recipe("dbc_cameras"),
    "cluster_contrast": load_recipe("cluster_contrast"),
    "dbc": load_recipe("dbc"),
    "buc_size": load_recipe("buc_size"),
    "dbc_video": load_recipe("dbc_video"),
}


def recipe_of(options: argparse.Namespace) -> Recipe:
    """Return the row's recipe, with the seed and the weights from the options."""
    if options.row not in ROWS:
        raise InputError(f"--row {options.row!r}: expected one of {', '.join(map(repr, ROWS))}")
    recipe = in_miniature(replace(ROWS[options.row], seed=options.seed), options)
    network = recipe.network
    if options.weights:
        network = replace(network, weights=options.weights)
    if options.backbone:
        network = replace(network, backbone=options.backbone)
    return replace(recipe, network=network)


def ranked(run: Path, root: Path) -> dict[str, Any]:
    """Return rank-1, 5, 10 and mAP of the run's last network, each 0-1, with and without camera statistics."""
    query, gallery = (embedded(RunFolder(run), "last", open_dataset(root, split=part)) for part in ("query", "gallery"))
    found: dict[str, Any] = {"queries": len(query.tracklets), "gallery": len(gallery.tracklets)}
    for name, pair in (("", (query, gallery)), (", camera statistics", free_of_cameras(query, gallery))):
        if pair:
            ranking = evaluate(*pair).overall
            found |= {f"rank-{place}{name}": ranking.rank(place) for place in (1, 5, 10)}
            found[f"mAP{name}"] = ranking.mean_ap
    return found


def main(options: argparse.Namespace) -> None:
    recipe, root = recipe_of(options), options.dataset
    done = {"row": options.row, "dataset": root.name, "seed": options.seed}
    if not any(done.items() <= row.items() for row in known_rows(options.json)):
        run = options.runs / f"{root.name}-{options.row}-{options.seed}".replace(", ", "-")
        options.runs.mkdir(parents=True, exist_ok=True)
        began = time.time()
        train_run(root, recipe, run)
        about = {"this_call_seconds": round(time.time() - began), "device": DEVICE.type, "recipe": asdict(recipe)}
        add_rows(options.json, [done | ranked(run, root) | about], tuple(done))
    names = ("dataset", "row", "seed", "rank-1", "mAP")
    print_rows({key: row.get(key) for key in names} for row in known_rows(options.json))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, metavar="DATASET")
    parser.add_argument("--row", required=True, help="of the table: " + ", ".join(map(repr, ROWS)))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", help="ImageNet weights; by default torchvision's, which are downloaded")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs; unfinished ones go on")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--backbone", help="for trials")
    add_trial_options(parser)
    run_study(main, parser)
