"""Checks the verdict of `reid train` against identities, on runs with drawn people.

    python tools/study_verdict.py --demos demos --runs runs --json verdict.json

``--demos`` holds folders made by `reid demo --seed N --out demos/N`. On each, the recipe ``demo_rounds`` is trained in
several ways, some of which do harm. The run's own verdict, made without a label, is compared with identities: mAP over
all cameras, with camera statistics, of the network before and after training. A difference of less than two points
counts as none. An unfinished run goes on.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from study import DEVICE, print_rows, train_run, write_json
from study import run as run_study

from reid_toolkit.config import Recipe
from reid_toolkit.datasets.dataset import Dataset
from reid_toolkit.datasets.manifest import read_identities, read_manifest, write_manifest
from reid_toolkit.evaluation.protocol import Embedded, evaluate, free_of_cameras
from reid_toolkit.recipe_files import load_recipe
from reid_toolkit.records import Crop
from reid_toolkit.training.distributed import ALONE
from reid_toolkit.training.rounds import look_at
from reid_toolkit.training.run_folder import RunFolder, load_network
from reid_toolkit.training.samples import load_samples
from reid_toolkit.training.selection import START

CLEAR = 0.02
"""A smaller difference in mAP counts as none."""


def as_it_is(crops: Sequence[Crop]) -> list[Crop]:
    return list(crops)


def few(crops: Sequence[Crop]) -> list[Crop]:
    """Keep the crops of every fifth tracklet."""
    names = sorted({crop.tracklet for crop in crops})[::5]
    return [crop for crop in crops if crop.tracklet in names]


def one_camera(crops: Sequence[Crop]) -> list[Crop]:
    first = min(crop.camera for crop in crops)
    return [crop for crop in crops if crop.camera == first]


def mixed(crops: Sequence[Crop]) -> list[Crop]:
    """Reassign half of each camera's crops to its tracklets at random, like a tracker that confuses people."""
    generator = np.random.default_rng(0)
    result = list(crops)
    for camera in sorted({crop.camera for crop in crops}):
        places = [place for place, crop in enumerate(crops) if crop.camera == camera and generator.random() < 0.5]
        for place, other in zip(places, generator.permutation(places), strict=True):
            names = {"tracklet": crops[other].tracklet, "frame": crops[other].frame, "time": crops[other].time}
            result[place] = replace(crops[place], **names)
    return result


CASES: dict[str, tuple[bool, Callable[[Sequence[Crop]], list[Crop]], dict[str, Any]]] = {
    "from random weights": (False, as_it_is, {}),
    "goes on with small steps": (True, as_it_is, {"learning_rate": 3e-5, "count": 3}),
    "goes on, learning rate x 10": (True, as_it_is, {"learning_rate": 1e-2, "count": 3}),
    "goes on, learning rate x 30": (True, as_it_is, {"learning_rate": 3e-2, "count": 2}),
    "goes on, tracklets mixed": (True, mixed, {"count": 4}),
    "goes on, every fifth tracklet": (True, few, {"count": 4}),
    "goes on, one camera": (True, one_camera, {"count": 4}),
}
"""For each case: whether it starts from the first case's network, how its data are changed, and settings of
[rounds]."""


def part(dataset: Dataset, change: Callable[[Sequence[Crop]], list[Crop]], out: Path) -> Path:
    """Make a dataset folder with changed crops, whose pictures are links. Without a change, return the dataset's
    own."""
    if change is as_it_is:
        return dataset.root
    if not (out / "manifest.csv").exists():
        (out / "crops").mkdir(parents=True, exist_ok=True)
        changed = []
        for number, crop in enumerate(change(dataset.crops)):
            link = out / "crops" / f"{number:06d}{crop.path.suffix}"
            if not link.exists():
                link.hardlink_to(crop.path)
            changed.append(replace(crop, path=link))
        write_manifest(out, changed)
    return out


def true_map(folder: RunFolder, stage: str, recipe: Recipe, dataset: Dataset) -> float:
    """Return mAP over all cameras with camera statistics, by identities, as a fraction."""
    samples = load_samples(dataset, recipe.network.height, recipe.network.width, device=DEVICE)
    features = look_at(load_network(folder, stage).to(DEVICE), samples, recipe, DEVICE, ALONE)
    embedded = Embedded(samples.tracklets, features.descriptors.numpy())
    sides = free_of_cameras(embedded, embedded) or (embedded, embedded)
    return evaluate(*sides).overall.mean_ap


def main(options: argparse.Namespace) -> None:
    rows: list[dict[str, Any]] = []
    for demo in sorted(path for path in options.demos.iterdir() if (path / "people" / "manifest.csv").exists()):
        people = read_manifest(demo / "people")
        known = people.with_identities(read_identities(demo / "identities.csv"))
        start = options.runs / demo.name / "from-random-weights"
        for name, (goes_on, change, settings) in CASES.items():
            run = options.runs / demo.name / name.replace(" ", "-").replace(",", "")
            recipe = load_recipe(options.recipe)
            weights = str(start / "best.safetensors") if goes_on else recipe.network.weights
            recipe = replace(
                recipe, seed=int(demo.name), network=replace(recipe.network, weights=weights),
                rounds=replace(recipe.rounds, **settings),
            )  # fmt: skip
            train_run(part(people, change, run.with_name(run.name + "-data")), recipe, run)
            folder = RunFolder(run)
            verdict = folder.model().get("verdict") or {"word": "unknown", "stage": START, "chance": None}
            before = true_map(folder, "initial", recipe, known)
            after = true_map(folder, "last", recipe, known)
            gain = after - before
            truth = "no different" if abs(gain) < CLEAR else "better" if gain > 0 else "worse"
            rows.append({
                "demo": demo.name, "case": name, "mAP before": before, "mAP after": after, "truth": truth,
                "said": verdict["word"], "kept": "before" if verdict.get("start_kept") else "after",
                "chance": verdict["chance"], "verdict": verdict,
            })  # fmt: skip
            write_json(options.json, {"rows": rows})
    print_rows([{key: value for key, value in row.items() if key != "verdict"} for row in rows])
    right = sum(row["said"] == row["truth"] for row in rows)
    opposite = sum({row["said"], row["truth"]} == {"better", "worse"} for row in rows)
    print(f"{right} of {len(rows)} right, {opposite} the opposite of what is true")
    harmed = [row for row in rows if row["truth"] == "worse"]
    print(f"{len(harmed)} harmed, and {sum(row['kept'] == 'before' for row in harmed)} of them kept the start")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demos", type=Path, required=True, help="a folder of demos, named by their seeds")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs; unfinished ones go on")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--recipe", default="demo_rounds")
    run_study(main, parser)
