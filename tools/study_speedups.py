"""Compares speedups and their cost in accuracy: one recipe, and faster variants of it that learn differently.

    python tools/study_speedups.py DATASET --recipe demo --runs runs --identities who.csv --seeds 0 1 2 \\
        --png speedups.png --json speedups.json

Variants: the recipe unchanged; bfloat16; a batch four times as large, with learning rates twice and four times as high;
and, if the backbone is a ResNet with pretrained weights, its layers up to layer2 frozen. Each variant is trained
completely for each seed. Rank-1 and mAP are of the last stage's model; images/s are of training steps, seconds of the
whole run.
"""

from argparse import Namespace
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from study import arguments, measure, print_rows, run, train_run, write_json, write_png

from reid_toolkit.config import Recipe
from reid_toolkit.errors import InputError
from reid_toolkit.recipe_files import load_recipe
from reid_toolkit.reporting.study import open_study
from reid_toolkit.training.schedule import plan


def variants(recipe: Recipe) -> dict[str, Recipe]:
    """Return the variants by the names of their runs' folders."""
    training = recipe.training
    found = {
        "as-is": recipe,
        "bfloat16": replace(recipe, training=replace(training, precision="bfloat16")),
        **{
            f"batch-x4-rate-x{times}": replace(
                recipe,
                training=replace(
                    training,
                    batch_size=4 * training.batch_size,
                    first_learning_rate=times * training.first_learning_rate,
                    later_learning_rate=times * training.later_learning_rate,
                ),
            )
            for times in (2, 4)
        },
    }
    if recipe.network.backbone.startswith("resnet") and recipe.network.weights != "none":
        found["frozen-layer2"] = replace(recipe, network=replace(recipe.network, frozen="layer2"))
    return found


def chosen(recipe: Recipe, names: list[str] | None) -> dict[str, Recipe]:
    found = variants(recipe)
    unknown = set(names or ()) - set(found)
    if unknown:
        raise InputError(f"--variants: no {min(unknown)!r} of this recipe: expected some of {', '.join(found)}")
    return {name: variant for name, variant in found.items() if names is None or name in names}


def main(options: Namespace) -> None:
    recipe = load_recipe(options.recipe)
    rows = []
    for seed in options.seeds:
        for name, variant in chosen(replace(recipe, seed=seed), options.variants).items():
            path = options.runs / f"{name}-{seed}"
            train_run(options.dataset, variant, path)
            study = open_study(path, options.dataset, options.identities)
            stage = study.folder.stages()[-1]
            scores = measure(study, stage)
            metrics = study.folder.load(stage).metrics
            steps = plan(variant, len(study.samples)).steps[: len(metrics)]
            images = sum(steps) * min(variant.training.batch_size, len(study.samples)) * variant.training.frames
            seconds = sum(row["seconds"] for row in metrics)
            rows.append({
                "variant": name, "seed": seed, "images/s": round(images / sum(row["seconds_train"] for row in metrics)),
                "seconds": round(seconds), **{key: scores[key] for key in ("rank-1", "mAP", "f")},
            })  # fmt: skip
    print_rows(rows)
    print()
    means = [mean(name, rows) for name in chosen(recipe, options.variants)]
    print_rows(means)
    write_json(options.json, {"recipe": asdict(recipe), "rows": rows, "means": means})
    write_png(options.png, draw(rows))


def mean(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Average over the seeds. The spread of mAP is its sample standard deviation."""
    own = [row for row in rows if row["variant"] == name]
    speed, scores = ({key: np.mean([row[key] for row in own]) for key in keys} for keys in (SPEED, SCORES))
    spread = float(np.std([row["mAP"] for row in own], ddof=1)) if len(own) > 1 else None
    return {"variant": name, **{k: round(v) for k, v in speed.items()}, **{k: float(v) for k, v in scores.items()},
            "mAP spread": spread}  # fmt: skip


SPEED, SCORES = ("images/s", "seconds"), ("rank-1", "mAP")


def draw(rows: list[dict[str, Any]]) -> Figure:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(row["variant"] for row in rows):
        own = [row for row in rows if row["variant"] == name]
        axes.plot([row["images/s"] for row in own], [100 * row["mAP"] for row in own], "o", label=name)
    axes.set(xlabel="images/s in training steps", ylabel="mAP of the last stage, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


if __name__ == "__main__":
    parser = arguments(__doc__, trains=True)
    parser.add_argument("--json", type=Path, required=True, help="the figures to write")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="each variant is trained with each")
    parser.add_argument("--variants", nargs="+", help="only these; bfloat16 is emulated, slowly, on most CPUs")
    run(main, parser)
