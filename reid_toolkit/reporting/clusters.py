"""Shows clusters: the largest, the most dispersed, and a sample of all descriptors on a plane."""

from collections import Counter
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_toolkit.errors import InputError, MissingDependencyError
from reid_toolkit.evaluation.clustering import NOBODY
from reid_toolkit.evaluation.html_report import card
from reid_toolkit.html_page import Card, Mark, Section
from reid_toolkit.reporting.charts import scatter
from reid_toolkit.reporting.study import Study

CLUSTERS = 6
"""How many of the largest clusters, and of the most dispersed, are shown."""
MEMBERS = 14
"""How many crops of a cluster are shown."""
SAMPLE = 1000
"""Points on the plane. t-SNE of a thousand points takes some seconds."""
ROWS_AT_ONCE = 512
"""Rows whose distances to all others are in memory at once: 100 MB for a cluster of 50,000."""
COLOURED = 24
"""How many clusters have their own colour on the plane: the largest ones."""


def cluster_sections(study: Study, descriptors: Tensor, labels: NDArray[np.int64]) -> list[Section]:
    """Make contact sheets of the largest and the most dispersed clusters; none if nothing is merged yet."""
    counts = np.bincount(labels)
    merged = np.flatnonzero(counts > 1)
    spread = {int(c): dispersion(descriptors[torch.from_numpy(labels == c)]) for c in merged}
    largest = sorted(spread, key=lambda c: (-counts[c], c))[:CLUSTERS]
    widest = sorted(spread, key=lambda c: (-spread[c], c))[:CLUSTERS]
    sections = []
    for title, chosen in (("largest", largest), ("most dispersed", widest)):
        for place, cluster in enumerate(chosen, start=1):
            members = np.flatnonzero(labels == cluster)
            heading = f"{title} {place}: cluster {cluster}, {len(members)} samples, dispersion {spread[cluster]:.3f}"
            sections.append(sheet(study, descriptors, members, heading.capitalize()))
    return sections


def dispersion(rows: Tensor) -> float:
    """Compute Eq. 3 as the mean: the average distance between all pairs of the (n, D) rows."""
    total = 0.0
    for block in rows.split(ROWS_AT_ONCE):
        distances = torch.cdist(block, rows, compute_mode="donot_use_mm_for_euclid_dist")
        total += float(distances.sum(dtype=torch.float64))
    return total / len(rows) ** 2


def sheet(study: Study, descriptors: Tensor, members: NDArray[np.intp], heading: str) -> Section:
    """Show one cluster. Crops farthest from its middle come first, because mistakes are there."""
    rows = descriptors[torch.from_numpy(members)]
    away = (rows - rows.mean(dim=0)).norm(dim=1).numpy()
    shown = members[np.argsort(-away, kind="stable")][:MEMBERS]
    tracklets, identities = study.samples.tracklets, study.identities
    cameras = Counter(tracklets[i].camera for i in members)
    text = f"Cameras: {listed(sorted(cameras.items()))}."
    people = Counter(str(identities[i]) for i in members if identities[i] not in NOBODY)
    most = people.most_common(1)[0][0] if people else None
    if people:
        text += f" Identities: {listed(people.most_common())}."
    text += " Crops farthest from its middle" + (" only:" if len(shown) < len(members) else " first:")

    def one(i: np.intp) -> Card:
        mark: Mark | None = None
        if identities[i] not in NOBODY:
            mark = "right" if identities[i] == most else "wrong"
        return card(tracklets[i], (tracklets[i].name,), mark)

    return Section(heading, text, rows=(tuple(map(one, shown)),))


def listed(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counts)


def plane_section(study: Study, descriptors: NDArray[np.float32], labels: NDArray[np.int64]) -> Section:
    """Draw a sample of the descriptors by t-SNE. Raises as :func:`reid_toolkit.reporting.clusters.lay_out`."""
    chosen = np.unique(np.linspace(0, len(labels) - 1, SAMPLE).round().astype(int))
    places = lay_out(descriptors[chosen])
    counts = np.bincount(labels)
    colour = {int(c): i for i, c in enumerate(np.argsort(-counts, kind="stable")[:COLOURED]) if counts[c] > 1}
    tracklets = [study.samples.tracklets[i] for i in chosen]
    names = [f"{t.name} · {t.camera} · cluster {labels[i]}" for i, t in zip(chosen, tracklets, strict=True)]
    groups = [colour.get(int(labels[i]), -1) for i in chosen]
    text = (
        f"{len(chosen)} of {len(labels)} samples by t-SNE, the {len(colour)} largest clusters in colour. t-SNE keeps "
        "neighbours together. Distances between far groups, and the apparent size of a group, have no meaning."
    )
    points = [(float(x), float(y)) for x, y in places]
    return Section("Descriptors on a plane", text, drawings=(scatter("t-SNE", points, names, groups),))


def lay_out(descriptors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute positions (N, 2) of descriptors (N, D) by t-SNE, the same each time.

    t-SNE keeps neighbours together. Distances between far groups, and the apparent size of a group, have no meaning.

    Raises :class:`MissingDependencyError` without scikit-learn, and :class:`InputError` if there are fewer than three
    descriptors or all are equal.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise MissingDependencyError(
            "t-SNE needs scikit-learn, which is not installed: in reid's checkout, pip install '.[train]'",
            name="sklearn",
        ) from error
    if len(descriptors) < 3:
        raise InputError(f"{len(descriptors)} samples: expected at least 3 to lay out")
    if not np.ptp(descriptors, axis=0).any():  # t-SNE would divide by their spread, and crash
        raise InputError("all descriptors are equal: there is nothing to lay out")
    near = min(30.0, (len(descriptors) - 1) / 3)
    places: NDArray[np.float32] = TSNE(perplexity=near, init="pca", random_state=0).fit_transform(descriptors)
    return places
