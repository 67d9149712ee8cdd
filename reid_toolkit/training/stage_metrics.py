"""Figures of a stage's descriptors and clusters that need no label. Selection uses them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reid_toolkit.evaluation.ranking import rank
from reid_toolkit.training.features import Features

BLOCK = 1 << 22
"""Distances kept at a time: 16 MiB of them and a few copies, for any number of samples."""


@dataclass(frozen=True)
class StageFigures:
    """Figures of one stage, by its own descriptors. Names and order as in metrics.jsonl. Distances are Euclidean,
    0-2."""

    self_retrieval: float | None
    """mAP, 0-1, if the first half of each tracklet's frames searches for its second half among all; None if fewer than
    two tracklets have two frames."""
    self_retrieval_rank_1: float | None
    """Rank-1 of the same search, 0-1."""
    within: float | None
    """Mean dispersion d_a (Eq. 3 as the mean) of clusters of two samples or more; None if there is no such cluster."""
    between: float | None
    """Mean dispersion d_ab (Eq. 4) over all pairs of clusters; None if there is only one cluster."""
    stability: float | None
    """Of the samples that earlier stages' descriptors merged, the share whose nearest sample by this stage's
    descriptors is in the same cluster, 0-1; None if every cluster is one sample."""
    across_cameras: float | None
    """Distance to the nearest sample in another camera, divided by the mean distance to the samples of other cameras;
    the mean over samples, 0-1. It is low if people have a match in another camera. None with one camera."""


def stage_figures(
    features: Features, labels: Tensor, cameras: Sequence[str], device: torch.device | None = None
) -> StageFigures:
    """Measure a stage. ``labels`` (N,) are the clusters it learned, 0..C-1; ``cameras`` are the samples' cameras.

    All distances are computed once, a block of rows at a time, on ``device``: O(N² D) time, O(BLOCK + N D) memory.
    """
    device = device or torch.device("cpu")
    descriptors, labels = features.descriptors.to(device), labels.to(device)
    camera = torch.from_numpy(np.unique(np.asarray(cameras), return_inverse=True)[1]).to(device)
    sizes = torch.bincount(labels)
    share = 1 / sizes[labels]  # each sample's share of its cluster
    within = between = 0.0
    stays, nearness = [], []
    for rows in torch.arange(len(labels), device=device).split(max(1, BLOCK // len(labels))):
        distances = torch.cdist(descriptors[rows], descriptors)  # (B, N)
        itself = torch.arange(len(rows), device=device), rows
        distances[itself] = 0  # not exactly 0 before, because of rounding
        own = labels[rows, None] == labels
        weighted = distances * share[rows, None] * share  # summed over one cluster it is Eq. 3, over two it is Eq. 4
        within += float((weighted * own).sum())
        between += float((weighted * ~own).sum())
        other = camera[rows, None] != camera
        nearest = distances.masked_fill(~other, torch.inf).min(dim=1).values
        nearness.append(nearest / ((distances * other).sum(dim=1) / other.sum(dim=1)))  # NaN with one camera
        distances[itself] = torch.inf
        stays.append(labels[distances.argmin(dim=1)] == labels[rows])
    clusters, joined = len(sizes), int((sizes > 1).sum())
    pairs = clusters * (clusters - 1)
    elsewhere = torch.cat(nearness)
    elsewhere = elsewhere[elsewhere.isfinite()]
    return StageFigures(
        *self_retrieval(features),
        within=within / joined if joined else None,
        between=between / pairs if pairs else None,
        stability=float(torch.cat(stays)[share < 1].float().mean()) if joined else None,
        across_cameras=float(elsewhere.mean()) if len(elsewhere) else None,
    )


def self_retrieval(features: Features) -> tuple[float | None, float | None]:
    """Return mAP and rank-1 (0-1) of first halves that search for their second halves; None if fewer than two tracklets
    have two frames."""
    whole = features.halves.norm(dim=2).min(dim=0).values > 0.5
    if int(whole.sum()) < 2:
        return None, None
    query, gallery = features.halves[0][whole], features.halves[1][whole]
    names = np.arange(1, len(query) + 1)
    # Queries and gallery get different "cameras", because the protocol drops answers of the query's own camera.
    ranking = rank(torch.cdist(query, gallery).numpy(), names, names, names * 0, names * 0 + 1)
    return ranking.mean_ap, ranking.rank(1)
