"""The whole of it: from a dataset, and perhaps a run trained on it, to a calibration."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.calibration.calibration import Calibration, calibrate
from reid_toolkit.calibration.clusters import read_clusters
from reid_toolkit.calibration.describe import describe
from reid_toolkit.calibration.evidence import collect
from reid_toolkit.calibration.neighbours import reciprocal_clusters
from reid_toolkit.camera_statistics import CameraStatistics
from reid_toolkit.datasets.clocks import times
from reid_toolkit.datasets.dataset import Dataset
from reid_toolkit.datasets.reading import CropEmbedder
from reid_toolkit.method.constraints import cannot_link_pairs


class KnownEmbedder(CropEmbedder, Protocol):
    """What is needed of :class:`reid_toolkit.runtime.Embedder`."""

    fingerprint: str


def measure(
    embedder: KnownEmbedder,
    dataset: Dataset,
    run: Path | None = None,
    *,
    statistics: CameraStatistics | None = None,
    bad: list[str] | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> Calibration:
    """Embed ``dataset`` and fit what its tracklets tell; no identity is looked at.

    run: a training run on this dataset, whose clusters are evidence across cameras; without one, reciprocal nearest
    neighbours are. statistics: those by which the gallery compares that is to be searched; None for descriptors as they
    are. ``bad`` as for :func:`describe`. Raises :class:`InputError` for too little evidence,
    :class:`DatasetError` for crops that cannot be read, :class:`RunError` for a run that is none or of another dataset.
    """
    labels = read_clusters(run, dataset.tracklets) if run else None  # a wrong run is refused before the long part
    described = describe(embedder, dataset, bad=bad, on_progress=on_progress)
    if statistics:
        described = described.freed(statistics)
    seen_at_once = cannot_link_pairs(*times(described.tracklets))
    cameras = [tracklet.camera for tracklet in described.tracklets]
    if labels is None:
        clusters = reciprocal_clusters(described.whole, cameras, seen_at_once)
    else:
        of = {tracklet.name: label for tracklet, label in zip(dataset.tracklets, labels, strict=True)}
        clusters = np.array([of[tracklet.name] for tracklet in described.tracklets], np.int64)
    return calibrate(
        collect(described.whole, described.halves, cameras, seen_at_once, clusters),
        model=embedder.fingerprint,
        dataset=dataset.fingerprint,
        tracklets=len(described.tracklets),
        links="neighbours" if labels is None else "run",
        per_person=None if labels is None else per_person(clusters),
        statistics=statistics.digest if statistics else None,
    )


def per_person(clusters: NDArray[np.int64]) -> float | None:
    """Tracklets a cluster, on average; None where all are in none (-1)."""
    known = clusters[clusters >= 0]
    return len(known) / len(np.unique(known)) if len(known) else None
