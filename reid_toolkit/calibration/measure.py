"""Make a calibration from a dataset, and optionally a run that was trained on it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.calibration.calibration import Calibration, calibrate
from reid_toolkit.calibration.cross_camera import read_clusters, reciprocal_clusters
from reid_toolkit.calibration.evidence import collect, people_apart
from reid_toolkit.camera_statistics import CameraStatistics
from reid_toolkit.datasets.dataset import CropEmbedder, Dataset, embed_groups, times
from reid_toolkit.datasets.known_pairs import NO_PAIRS, KnownPairs
from reid_toolkit.errors import DatasetError
from reid_toolkit.method.constraints import cannot_link_pairs
from reid_toolkit.method.must_links import between_groups, tied
from reid_toolkit.records import Tracklet
from reid_toolkit.runtime.tracklets import average


class KnownEmbedder(CropEmbedder, Protocol):
    """The part of :class:`reid_toolkit.runtime.Embedder` that this module needs."""

    fingerprint: str


def measure(
    embedder: KnownEmbedder,
    dataset: Dataset,
    run: Path | None = None,
    *,
    statistics: CameraStatistics | None = None,
    known: KnownPairs = NO_PAIRS,
    bad: list[str] | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> Calibration:
    """Embed ``dataset`` and calibrate with the evidence of its tracklets. Identities are not used.

    Args:
        embedder: the model.
        dataset: footage that the model was not trained on.
        run: a training run on this dataset. Its clusters are the evidence across cameras. None for reciprocal nearest
            neighbours.
        statistics: the camera statistics of the gallery that will be searched. None for searches without them.
        known: pairs of tracklets that a user corrected. They count as evidence, and clusters that contain a pair of two
            people are dropped.
        bad: see :func:`describe`.
        on_progress: called with (done, total) tracklets.

    Raises:
        InputError: there is too little evidence.
        DatasetError: crops cannot be read.
        RunError: ``run`` is not a run, or was trained on another dataset.
    """
    labels = read_clusters(run, dataset.tracklets) if run else None  # a wrong run is refused before the long part
    described = describe(embedder, dataset, bad=bad, on_progress=on_progress)
    if statistics:
        described = described.freed(statistics)
    same, different = known.places(described.tracklets)
    # A user's word counts more than times.
    seen_at_once = between_groups(cannot_link_pairs(*times(described.tracklets)), tied(len(described.tracklets), same))
    cameras = [tracklet.camera for tracklet in described.tracklets]
    if labels is None:
        clusters = reciprocal_clusters(described.whole, cameras, np.concatenate([seen_at_once, different]))
    else:
        of = {tracklet.name: label for tracklet, label in zip(dataset.tracklets, labels, strict=True)}
        clusters = without_wrong(np.array([of[tracklet.name] for tracklet in described.tracklets]), different)
    return calibrate(
        collect(described.whole, described.halves, cameras, seen_at_once, clusters, same, different),
        model=embedder.fingerprint,
        dataset=dataset.fingerprint,
        tracklets=len(described.tracklets),
        links="neighbours" if labels is None else "run",
        per_person=None if labels is None else per_person(clusters),
        statistics=statistics.digest if statistics else None,
        corrections=len(known),
        people_pairs=len(people_apart(len(cameras), seen_at_once, clusters)[1]),
    )


def without_wrong(clusters: NDArray[np.int64], different: NDArray[np.int64]) -> NDArray[np.int64]:
    """Clusters (N,) in which those that contain a pair ``different`` (M, 2) are -1, because they are wrong."""
    first, second = clusters[different].T
    return np.where(np.isin(clusters, first[first == second]), -1, clusters)


def per_person(clusters: NDArray[np.int64]) -> float | None:
    """Tracklets per cluster, on average. None if no tracklet has a cluster (all are -1)."""
    known = clusters[clusters >= 0]
    return len(known) / len(np.unique(known)) if len(known) else None


@dataclass(frozen=True)
class Described:
    """Tracklets and their descriptors. Row i is tracklet i."""

    tracklets: tuple[Tracklet, ...]
    whole: NDArray[np.float32]
    """(N, D), unit rows: the mean of all crops."""
    halves: NDArray[np.float32]
    """(N, 2, D), unit rows: the means of the first and second half of the crops, in time order. NaN for a single
    crop."""

    def freed(self, statistics: CameraStatistics) -> "Described":
        """The descriptors as searches with these camera statistics compare them."""
        cameras = [tracklet.camera for tracklet in self.tracklets]
        first, second = (statistics.apply(self.halves[:, half], cameras) for half in (0, 1))
        return Described(self.tracklets, statistics.apply(self.whole, cameras), np.stack([first, second], axis=1))


def describe(
    embedder: CropEmbedder,
    dataset: Dataset,
    *,
    bad: list[str] | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> Described:
    """Embed every crop once. Unreadable crops are left out, and their messages are appended to ``bad``; if ``bad`` is
    None, they raise an error."""
    kept, whole, halves = [], [], []
    for place, rows in embed_groups(embedder, [tracklet.crops for tracklet in dataset.tracklets], bad):
        parts = rows[: len(rows) // 2], rows[len(rows) // 2 :]
        kept.append(dataset.tracklets[place])
        whole.append(average(rows))
        halves.append([average(part) for part in parts] if len(parts[0]) else [np.full_like(rows[0], np.nan)] * 2)
        if on_progress:
            on_progress(place + 1, len(dataset.tracklets))
    if not kept:
        raise DatasetError(f"{dataset.root}: none of its crops can be read")
    return Described(tuple(kept), np.stack(whole), np.array(halves, np.float32))
