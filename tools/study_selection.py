"""Compares rules of selection over several runs: how far the stage that a rule keeps falls below the best stage.

    python tools/study_selection.py --run RUN DATASET who.csv --run RUN DATASET who.csv \\
        --png selection.png --json selection.json

Each stage's figures are measured from its checkpoint, so runs of older versions can be judged too: figures without
labels, which the rules use, and rank-1 and mAP against identities, which no rule sees. They are stored in the run's
evaluation.jsonl and read from there when the study is run again. The CSV may be left out if the dataset itself has
identities. ``best`` is an oracle: it needs identities.
"""

import shlex
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from study import DEVICE, print_rows, run, write_json, write_png

from reid_toolkit.errors import InputError
from reid_toolkit.reporting.stage_evaluation import evaluate_stages
from reid_toolkit.reporting.study import open_study
from reid_toolkit.training.selection import RULES, select

SCORES = ("mAP", "rank-1")
SHOWN = (
    "stage", "clusters", *SCORES, "purity", "self_retrieval", "self_retrieval_rank_1", "within", "between", "stability",
    "across_cameras", "violations_without",
)  # fmt: skip


def main(options: Namespace) -> None:
    runs = {}
    for words in options.run:
        if len(words) not in (2, 3):
            raise InputError(f"--run {shlex.join(map(str, words))}: expected RUN DATASET [IDENTITIES]")
        path, dataset, *identities = words
        rows = evaluate_stages(open_study(path, dataset, identities[0] if identities else None), DEVICE)
        runs[str(path)] = rows
        print(path)
        print_rows({key: row[key] for key in SHOWN} for row in rows)
    picks = {name: judge(rows) for name, rows in runs.items()}
    print_rows(summary(picks))
    write_json(options.json, {"runs": runs, "picks": picks, "below_best": summary(picks)})
    write_png(options.png, draw(runs, picks))


def judge(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what each rule keeps, and how far below the best stage it is; fractions 0-1."""
    best = {score: max(row[score] for row in rows) for score in SCORES}
    found = {}
    for rule in RULES:
        kept = next(row for row in rows if row["stage"] == select(rows, rule))
        below = {f"{score} below best": best[score] - kept[score] for score in SCORES}
        found[rule] = {"stage": kept["stage"], **{score: kept[score] for score in SCORES}, **below}
    return found


def summary(picks: dict[str, dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Make a row for each rule: points of mAP below the best stage in each run, their mean and the worst."""
    table = []
    for rule in RULES:
        below = {name: found[rule]["mAP below best"] for name, found in picks.items()}
        values = list(below.values())
        table.append({"rule": rule, **below, "mean": float(np.mean(values)), "worst": max(values)})
    return table


def draw(runs: dict[str, list[dict[str, Any]]], picks: dict[str, dict[str, dict[str, Any]]]) -> Figure:
    """Plot mAP of each stage, with a mark at each rule's choice."""
    columns = min(3, len(runs))
    figure = Figure(figsize=(4.2 * columns, 3.2 * -(-len(runs) // columns) + 0.5), layout="constrained")
    panels = figure.subplots(-(-len(runs) // columns), columns, squeeze=False).ravel()
    for axes, (name, rows) in zip(panels, runs.items(), strict=False):
        axes.plot([row["stage"] for row in rows], [100 * row["mAP"] for row in rows], color="lightgrey", linewidth=3)
        for (rule, kept), mark, size in zip(picks[name].items(), "osv^DP", range(16, 4, -2), strict=True):
            axes.plot(kept["stage"], 100 * kept["mAP"], mark, markersize=size, alpha=0.8, label=rule)
        axes.set(title=name, xlabel="stage", ylabel="mAP, %")
        axes.title.set_fontsize("small")
        axes.grid(alpha=0.3)
    for axes in panels[len(runs) :]:
        axes.set_axis_off()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize="small")
    return figure


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument(
        "--run", type=Path, nargs="+", action="append", required=True, metavar=("RUN DATASET", "IDENTITIES"),
        help="a run, the dataset that it was trained on, and a CSV tracklet,identity; may be repeated",
    )  # fmt: skip
    parser.add_argument("--png", type=Path, required=True, help="the picture to write")
    parser.add_argument("--json", type=Path, required=True, help="the figures to write")
    run(main, parser)
