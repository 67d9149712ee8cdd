"""The same person across cameras: from the clusters of a training run, or from reciprocal nearest neighbours."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.datasets.manifest import read_table
from reid_toolkit.errors import DatasetError, RunError
from reid_toolkit.records import Tracklet

ROWS = 1024
"""Number of descriptors that are compared with another camera's at a time."""
NAME = "clusters.csv"


def read_clusters(run: Path, tracklets: Sequence[Tracklet]) -> NDArray[np.int64]:
    """The cluster of each tracklet, (N,), in the stage that ``run`` selected. -1 for none.

    Raises :class:`RunError` if the run has no clusters of two tracklets, or was trained on another dataset.
    """
    path = run / NAME
    if not path.exists():
        raise RunError(f"{path}: no such file: expected the folder of a finished `reid train`")
    try:
        rows = [row for _, row in read_table(path, ("tracklet", "camera", "cluster"))]
        held = {(row["tracklet"], row["camera"]): int(row["cluster"]) for row in rows}
    except (DatasetError, ValueError) as error:
        raise RunError(f"{path}: damaged: {error}") from None
    found = [held.get((one.name, one.camera), -1) for one in tracklets]
    known = len(found) - found.count(-1)
    if known < len(held) or not known:
        raise RunError(
            f"{run}: its clusters hold {len(held)} tracklets, of which {known} are in the dataset: expected the run "
            "that was trained on this dataset"
        )
    if len(set(held.values())) == len(held):
        # Taken as evidence, such clusters would say that nobody ever comes back.
        raise RunError(
            f"{run}: none of its clusters holds two tracklets, as in a run that kept the network before training: "
            "leave --run out, or give a run whose selected stage has clusters"
        )
    return np.array(found, np.int64)


def reciprocal_clusters(
    descriptors: NDArray[np.float32], cameras: Sequence[str], seen_at_once: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Clusters (N,) of tracklets: two tracklets are joined if each is the other's nearest in the other's camera.

    Qin et al., "Hello neighbor" (2011), take such pairs as certain. They are not: a person whom the other camera never
    saw may have a reciprocal neighbour too. If two tracklets of a cluster were seen at once, the cluster is wrong, and
    its tracklets get -1.

    descriptors: (N, D), unit rows; seen_at_once: (M, 2) pairs of tracklets.
    """
    labels = np.arange(len(descriptors))
    camera = np.array(cameras)
    for a, b in combinations(sorted(set(cameras)), 2):
        first, second = np.flatnonzero(camera == a), np.flatnonzero(camera == b)
        there = nearest(descriptors[first], descriptors[second])
        back = nearest(descriptors[second], descriptors[first])
        for i, j in zip(first, there, strict=True):
            if first[back[j]] == i:
                labels[labels == labels[second[j]]] = labels[i]
    wrong = labels[seen_at_once[:, 0]][labels[seen_at_once[:, 0]] == labels[seen_at_once[:, 1]]]
    return np.where(np.isin(labels, wrong), -1, labels)


def nearest(rows: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.int64]:
    """For each of ``rows`` (A, D), the index of the nearest of ``others`` (B, D). All are unit rows."""
    parts = [(rows[at : at + ROWS] @ others.T).argmax(axis=1) for at in range(0, len(rows), ROWS)]
    return np.concatenate(parts).astype(np.int64)
