"""Evaluation of a model on a dataset whose identities are known: overall, and for each pair of cameras."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.camera_statistics import fit_camera_statistics
from reid_toolkit.datasets import Split, open_dataset
from reid_toolkit.datasets.dataset import CropEmbedder, Dataset, embed_groups, with_identities
from reid_toolkit.datasets.manifest import read_identities
from reid_toolkit.errors import DatasetError, InputError
from reid_toolkit.evaluation.ranking import Ranking, rank
from reid_toolkit.records import Tracklet
from reid_toolkit.runtime.tracklets import average


@dataclass(frozen=True)
class Embedded:
    """Tracklets and their descriptors, in the same order."""

    tracklets: tuple[Tracklet, ...]
    descriptors: NDArray[np.float32]
    """(N, D), rows of length 1."""

    @property
    def cameras(self) -> list[str]:
        """The camera of each tracklet."""
        return [tracklet.camera for tracklet in self.tracklets]

    def take(self, rows: NDArray[np.intp]) -> "Embedded":
        """Return only these rows, in this order."""
        return Embedded(tuple(self.tracklets[row] for row in rows), self.descriptors[rows])


@dataclass(frozen=True)
class Evaluation:
    """The result for one model on one dataset. Fractions 0-1."""

    overall: Ranking
    pairs: dict[tuple[str, str], Ranking | None]
    """(query camera, gallery camera) -> ranking between these two; None if no person was seen by both."""
    distances: NDArray[np.float32]
    """(Q, G), Euclidean."""
    query: Embedded
    gallery: Embedded


def open_parts(root: Path, identities: Path | None) -> list[Dataset]:
    """Open the datasets to rank: a benchmark's query and gallery splits, or one dataset to rank against itself.

    ``identities`` is a CSV file ``tracklet,identity`` that replaces the dataset's own identities.

    Raises:
        DatasetError: as ``open_dataset`` and ``read_identities`` do.
        InputError: no identities are known.
    """
    splits: list[Split] = ["query", "gallery"]
    parts = [open_dataset(root, split=split) for split in splits]
    if parts[0].tracklets == parts[1].tracklets:
        parts = parts[:1]
    if identities:
        parts = with_identities(parts, read_identities(identities))
    require_identities(parts[0].tracklets)
    return parts


def embed_dataset(
    embedder: CropEmbedder,
    dataset: Dataset,
    *,
    bad: list[str] | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> Embedded:
    """Compute one descriptor per tracklet. Unreadable crops raise an error, or are noted in ``bad`` and left out."""
    kept, rows = [], []
    for place, descriptors in embed_groups(embedder, [tracklet.crops for tracklet in dataset.tracklets], bad):
        kept.append(dataset.tracklets[place])
        rows.append(average(descriptors))
        if on_progress:
            on_progress(place + 1, len(dataset.tracklets))
    if not rows:
        raise DatasetError(f"{dataset.root}: none of its crops can be read")
    return Embedded(tuple(kept), np.stack(rows))


def evaluate_parts(embedder: CropEmbedder, parts: list[Dataset], *, camera_statistics: bool = True) -> Evaluation:
    """Evaluate a model on the datasets from :func:`open_parts`. Raises as :func:`evaluate` and :func:`embed_dataset`.

    camera_statistics: remove the cameras' bias as a gallery's search does, if there are enough tracklets.
    """
    embedded = [embed_dataset(embedder, part) for part in parts]
    query, gallery = embedded[0], embedded[-1]
    freed = free_of_cameras(query, gallery) if camera_statistics else None
    return evaluate(*(freed or (query, gallery)))


def free_of_cameras(query: Embedded, gallery: Embedded) -> tuple[Embedded, Embedded] | None:
    """Remove the cameras' bias from both sides, as search does, with statistics of the gallery alone.

    Reads no identity. If both sides are one object, so are the results. Returns None if there are too few tracklets.
    """
    statistics = fit_camera_statistics(gallery.descriptors, gallery.cameras)
    if statistics is None:
        return None
    freed = [
        Embedded(side.tracklets, statistics.apply(side.descriptors, side.cameras))
        for side in ([gallery] if query is gallery else [query, gallery])
    ]
    return freed[0], freed[-1]


def evaluate(query: Embedded, gallery: Embedded) -> Evaluation:
    """Compute CMC and mAP over all cameras and for each pair of cameras.

    If both arguments are the same object, each tracklet is a query against all others; the protocol drops the query
    itself, because it has the same identity and camera.

    Raises :class:`InputError` if no identities are known or no query has a right answer.
    """
    require_identities(query.tracklets)
    query = query.take(np.flatnonzero([t.identity not in (None, "-1", "0") for t in query.tracklets]))
    gallery = gallery.take(np.flatnonzero([t.identity is not None for t in gallery.tracklets]))
    distances = euclidean(query.descriptors, gallery.descriptors)
    columns = [np.array([t.identity for t in side.tracklets]) for side in (query, gallery)]
    cameras = [np.array([t.camera for t in side.tracklets]) for side in (query, gallery)]
    overall = rank(distances, *columns, *cameras)
    pairs: dict[tuple[str, str], Ranking | None] = {}
    for a in sorted(set(cameras[0])):
        for b in sorted(set(cameras[1]) - {a}):
            rows, places = np.flatnonzero(cameras[0] == a), np.flatnonzero(cameras[1] == b)
            try:
                pairs[str(a), str(b)] = rank(
                    distances[np.ix_(rows, places)], columns[0][rows], columns[1][places],
                    cameras[0][rows], cameras[1][places],
                )  # fmt: skip
            except InputError:
                pairs[str(a), str(b)] = None
    return Evaluation(overall, pairs, distances, query, gallery)


def require_identities(tracklets: Sequence[Tracklet]) -> None:
    """Raise :class:`InputError` if no identity is known. Call it before the dataset is embedded, to fail early."""
    if all(tracklet.identity is None for tracklet in tracklets):
        raise InputError(
            "no identities to evaluate against: expected them in the manifest's identity column, or in a CSV file "
            "tracklet,identity given with --identities"
        )


def euclidean(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the Euclidean distances (Q, G), 0-2, between the rows of length 1 of (Q, D) and (G, D)."""
    return np.sqrt(np.maximum(2 - 2 * (a @ b.T), 0))
