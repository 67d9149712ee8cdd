"""Plots descriptors and clusters of one stage on a plane, by t-SNE (the paper's Fig. 6).

    python tools/plot_clusters.py RUN DATASET --identities who.csv --stage 7 --png clusters.png

A point is a tracklet. Points of one cluster have one colour; clusters of one are grey. Known identities are written
beside their points, and a black ring marks a tracklet that is not of its cluster's most frequent identity. t-SNE keeps
neighbours together: distances between far groups, and the apparent size of a group, have no meaning.
"""

from argparse import Namespace
from collections import Counter

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray
from study import DEVICE, arguments, run, write_png

from reid_toolkit.evaluation.clustering import NOBODY
from reid_toolkit.reporting.clusters import lay_out
from reid_toolkit.reporting.study import Stage, open_study


def main(options: Namespace) -> None:
    study = open_study(options.run, options.dataset, options.identities)
    number = study.folder.model()["stage"] if options.stage is None else options.stage
    stage = Stage(study, number, DEVICE)
    labels = stage.checkpoint.labels.numpy()
    places = lay_out(stage.embedded(study.samples).descriptors)
    figure = draw(places, labels, study.identities)
    figure.suptitle(f"stage {number}: {len(places)} samples, {labels.max() + 1} clusters")
    write_png(options.png, figure)


def draw(places: NDArray[np.float32], labels: NDArray[np.int64], identities: list[str | None]) -> Figure:
    figure = Figure(figsize=(7, 6.5), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    sizes = np.bincount(labels)
    axes.scatter(*places[sizes[labels] == 1].T, s=22, color="lightgrey")
    large = np.flatnonzero(sizes > 1)
    colours = colormaps["hsv"](np.arange(len(large)) / max(1, len(large)))
    for cluster, colour in zip(large, colours, strict=True):
        members = np.flatnonzero(labels == cluster)
        axes.scatter(*places[members].T, s=34, color=colour)
        known = [i for i in members if identities[i] not in NOBODY]
        if known:
            most = Counter(identities[i] for i in known).most_common(1)[0][0]
            wrong = [i for i in known if identities[i] != most]
            axes.scatter(*places[wrong].T, s=60, facecolors="none", edgecolors="black")
    for (x, y), identity in zip(places, identities, strict=True):
        if identity not in NOBODY:
            axes.annotate(str(identity), (x, y), xytext=(3, 3), textcoords="offset points", fontsize=6)
    return figure


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--stage", type=int, help="by default the stage that the run selected")
    run(main, parser)
