"""What a stage's descriptors and clusters say of themselves, without a label: the figures that selection goes by."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reid_toolkit.evaluation.ranking import rank
from reid_toolkit.training.features import Features

BLOCK = 1 << 22
"""Distances held at a time, 16 MiB of them and a few copies, however many samples there are."""


@dataclass(frozen=True)
class StageFigures:
    """Of one stage, by its own descriptors. Names and order as in metrics.jsonl; distances are Euclidean, 0-2."""

    self_retrieval: float | None
    """mAP of the first half of each tracklet's frames finding its second half among all, 0-1; None when fewer than
    two tracklets have two frames."""
    self_retrieval_rank_1: float | None
    """Rank-1 of the same, 0-1."""
    within: float | None
    """Mean dispersion d_a (Eq. 3 as the mean) of the clusters of two samples or more; None where there is none."""
    between: float | None
    """Mean dispersion d_ab (Eq. 4) over all pairs of clusters; None where there is one cluster."""
    stability: float | None
    """Of the samples that merging put together by the descriptors of the stages before: the share whose nearest
    sample, by those of this stage, is in the same cluster, 0-1; None where every cluster is one sample."""
    across_cameras: float | None
    """How far the nearest sample in another camera is, as a share of how far those of other cameras are on average;
    the mean over samples, 0-1, low where people find a match elsewhere. None with one camera."""


def stage_figures(
    features: Features, labels: Tensor, cameras: Sequence[str], device: torch.device | None = None
) -> StageFigures:
    """Measure a stage; ``labels`` (N,) are the clusters it learned, 0..C-1, ``cameras`` each sample's.

    All distances are computed once, a block of rows at a time on ``device``: O(N² D) time, O(BLOCK + N D) memory.
    """
    device = device or torch.device("cpu")
    descriptors, labels = features.descriptors.to(device), labels.to(device)
    camera = torch.from_numpy(np.unique(np.asarray(cameras), return_inverse=True)[1]).to(device)
    sizes = torch.bincount(labels)
    share = 1 / sizes[labels]  # of each sample in its cluster
    within = between = 0.0
    stays, nearness = [], []
    for rows in torch.arange(len(labels), device=device).split(max(1, BLOCK // len(labels))):
        distances = torch.cdist(descriptors[rows], descriptors)  # (B, N)
        itself = torch.arange(len(rows), device=device), rows
        distances[itself] = 0  # but for rounding
        own = labels[rows, None] == labels
        weighted = distances * share[rows, None] * share  # summed over two clusters, or one: Eq. 4, or 3
        within += float((weighted * own).sum())
        between += float((weighted * ~own).sum())
        other = camera[rows, None] != camera
        nearest = distances.masked_fill(~other, torch.inf).min(dim=1).values
        nearness.append(nearest / ((distances * other).sum(dim=1) / other.sum(dim=1)))  # NaN: nobody is elsewhere
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
    """mAP and rank-1 (0-1) of first halves finding their second halves; None when fewer than two tracklets have two
    frames."""
    whole = features.halves.norm(dim=2).min(dim=0).values > 0.5
    if int(whole.sum()) < 2:
        return None, None
    query, gallery = features.halves[0][whole], features.halves[1][whole]
    names = np.arange(1, len(query) + 1)
    # Different "cameras", since the protocol drops answers of the query's own.
    found = rank(torch.cdist(query, gallery).numpy(), names, names, names * 0, names * 0 + 1)
    return found.mean_ap, found.rank(1)
