"""Who a training run believes is who."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.datasets.manifest import read_table
from reid_toolkit.errors import DatasetError, RunError
from reid_toolkit.records import Tracklet

NAME = "clusters.csv"


def read_clusters(run: Path, tracklets: Sequence[Tracklet]) -> NDArray[np.int64]:
    """The cluster of each tracklet, (N,), in the stage that ``run`` selected; -1 where it has none.

    Raises :class:`RunError` when the run has no clusters, or those of another dataset.
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
            f"{run}: clusters {len(held)} tracklets, of which {known} are in the dataset: expected the run that was "
            "trained on it"
        )
    return np.array(found, np.int64)
