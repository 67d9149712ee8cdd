"""Shows the effect of lambda (the paper's Fig. 4): a run for each value, and scores of its last and its selected model.

    python tools/study_tradeoff.py DATASET --recipe dbc --runs runs --identities who.csv \\
        --png tradeoff.png --json tradeoff.json

The runs stay in their folder. If the study is stopped, the next call goes on after the last finished stage.
"""

from argparse import Namespace
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from study import arguments, measure, print_rows, run, train_run, write_json, write_png

from reid_toolkit.recipe_files import load_recipe
from reid_toolkit.reporting.study import open_study

TRADE_OFFS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8)


def main(options: Namespace) -> None:
    recipe = load_recipe(options.recipe)
    rows = []
    for trade_off in options.trade_offs:
        path = options.runs / f"trade-off-{trade_off:g}"
        train_run(options.dataset, replace(recipe, merging=replace(recipe.merging, trade_off=trade_off)), path)
        study = open_study(path, options.dataset, options.identities)
        for model, stage in (("last", study.folder.stages()[-1]), ("selected", study.folder.model()["stage"])):
            rows.append({"trade_off": f"{trade_off:g}", "model": model, **measure(study, stage)})
    print_rows(rows)
    write_json(options.json, {"recipe": asdict(recipe), "rows": rows})
    write_png(options.png, draw(rows))


def draw(rows: list[dict[str, Any]]) -> Figure:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, score in zip(figure.subplots(1, 2), ("rank-1", "mAP"), strict=True):
        for model, style in (("last", "o-"), ("selected", "s--")):
            chosen = [row for row in rows if row["model"] == model]
            # Evenly spaced, because the values that matter are near 0.
            axes.plot([row["trade_off"] for row in chosen], [100 * row[score] for row in chosen], style, label=model)
        axes.set(xlabel="λ", ylabel=f"{score}, %")
        axes.grid(alpha=0.3)
    axes.legend()
    return figure


if __name__ == "__main__":
    parser = arguments(__doc__, trains=True)
    parser.add_argument("--json", type=Path, required=True, help="the figures to write")
    parser.add_argument("--trade-offs", type=float, nargs="+", default=TRADE_OFFS, help="values of lambda")
    run(main, parser)
