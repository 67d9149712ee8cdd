"""Plots rank-1 and mAP stage by stage, for one run or several (the paper's Fig. 5).

    python tools/plot_stages.py RUN DATASET [RUN ...] --identities who.csv --png stages.png --json stages.json

A ring marks the stage that the run selected, without labels. The upper axis counts the first run's clusters. The dotted
line is where there are fewer clusters than people: from there on, merging must put different people together.
"""

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from study import arguments, measure, print_rows, run, write_json, write_png

from reid_toolkit.reporting.study import open_study


def main(options: Namespace) -> None:
    runs = {}
    for path in (options.run, *options.others):
        study = open_study(path, options.dataset, options.identities)
        rows = [measure(study, stage) for stage in study.folder.stages()]
        runs[str(path)] = {"selected": study.folder.model()["stage"], "stages": rows}
        print(path)
        print_rows(rows)
    write_json(options.json, {"people": study.people, "runs": runs})
    write_png(options.png, draw(runs, study.people))


def draw(runs: dict[str, Any], people: int) -> Figure:
    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, score in zip(figure.subplots(1, 2), ("rank-1", "mAP"), strict=True):
        for name, found in runs.items():
            values = [100 * row[score] for row in found["stages"]]
            (line,) = axes.plot(values, "o-", markersize=3, label=name)
            axes.plot(
                found["selected"], values[found["selected"]], "o", markersize=10, mfc="none", color=line.get_color()
            )
        axes.set(xlabel="stage", ylabel=f"{score}, %")
        axes.grid(alpha=0.3)
        clusters = [row["clusters"] for row in next(iter(runs.values()))["stages"]]
        if len(clusters) > 1 and clusters[-1] <= people <= clusters[0]:
            stages = np.arange(len(clusters))[::-1]
            axes.axvline(np.interp(people, clusters[::-1], stages), color="grey", linestyle=":")
        shown = range(0, len(clusters), 1 + len(clusters) // 10)
        upper = axes.secondary_xaxis("top")
        upper.set_xticks(list(shown), [str(clusters[stage]) for stage in shown])
        upper.set_xlabel("clusters")
    axes.legend(fontsize="small")
    return figure


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("others", nargs="*", type=Path, metavar="RUN", help="more runs, to compare")
    parser.add_argument("--json", type=Path, required=True, help="the figures to write")
    run(main, parser)
