"""Studies the gain from knowing that people seen together in one camera differ: runs with and without constraints.

    python tools/study_constraints.py DATASET --recipe demo --runs runs --identities who.csv \\
        --png constraints.png --json constraints.json

Each stage's clusters are compared with identities: purity, and precision, recall and F over pairs. ``merges_forbidden``
and ``violations_without`` are from metrics.jsonl: what one stage would have done without the constraints, after earlier
stages that had them. ``violations`` is the share of constraints that the clusters break, including merges of earlier
stages.
"""

from argparse import Namespace
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from study import arguments, measure, print_rows, run, train_run, write_json, write_png

from reid_toolkit.recipe_files import load_recipe
from reid_toolkit.reporting.study import open_study


def main(options: Namespace) -> None:
    recipe = load_recipe(options.recipe)
    rows = []
    for seed in options.seeds:
        for constrained in (True, False):
            path = options.runs / f"{'with' if constrained else 'without'}-{seed}"
            merging = replace(recipe.merging, cannot_link=constrained)
            train_run(options.dataset, replace(recipe, seed=seed, merging=merging), path)
            study = open_study(path, options.dataset, options.identities)
            stages = study.folder.stages()
            for stage, metrics in zip(stages, study.folder.load(stages[-1]).metrics, strict=True):
                reported = {key: metrics[key] for key in ("merges", "merges_forbidden", "violations_without")}
                rows.append({"seed": seed, "constraints": constrained, **measure(study, stage), **reported})
    print_rows(rows)
    write_json(options.json, {"people": study.people, "recipe": asdict(recipe), "rows": rows})
    write_png(options.png, draw(rows))


def draw(rows: list[dict[str, Any]]) -> Figure:
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    panels = figure.subplots(1, 3)
    for constrained, style in ((True, "o-"), (False, "s--")):
        name = "with" if constrained else "without"
        for seed in sorted({row["seed"] for row in rows}):
            chosen = [row for row in rows if (row["seed"], row["constraints"]) == (seed, constrained)]
            for axes, scores in zip(panels, (("purity", "f"), ("mAP",), ("violations",)), strict=True):
                for score, colour in zip(scores, ("C0", "C1"), strict=False):
                    values = [100 * (row[score] or 0) for row in chosen]
                    label = f"{'F over pairs' if score == 'f' else score}, {name}"
                    first = label not in axes.get_legend_handles_labels()[1]
                    axes.plot(values, style, color=colour, markersize=3, label=label if first else None)
    for axes in panels:
        axes.set(xlabel="stage", ylabel="%")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return figure


if __name__ == "__main__":
    parser = arguments(__doc__, trains=True)
    parser.add_argument("--json", type=Path, required=True, help="the figures to write")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="a pair of runs for each")
    run(main, parser)
