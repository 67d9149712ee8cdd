"""Clusters under constraints: samples seen at the same time in one camera are never merged, and corrections are
obeyed."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from reid_toolkit.config import MergingRecipe
from reid_toolkit.datasets.dataset import times
from reid_toolkit.datasets.known_pairs import KnownPairs
from reid_toolkit.method.constraints import cannot_link_pairs
from reid_toolkit.method.merging import Merging, merge_clusters, merge_neighbours
from reid_toolkit.method.must_links import between_groups, numbered, tied
from reid_toolkit.training.samples import Samples, machine_memory


@dataclass(frozen=True)
class Constraints:
    """What is known about samples before anything is learned."""

    ties: NDArray[np.int64]
    """(N,), 0..C-1: equal for samples that a user says show one person."""
    apart: NDArray[np.int64] | None
    """(M, 2): samples of different people. None if times are not to be looked at and no user said anything."""

    @classmethod
    def of(cls, samples: Samples, known: KnownPairs, *, seen_at_once: bool) -> "Constraints":
        """What a user says (``known``), and what times say if ``seen_at_once``. A user's word counts more than times.

        Raises:
            InputError: so many tracklets overlap in time that their times must be wrong.
        """
        same, different = known.places(samples.tracklets)
        ties = tied(len(samples), same)
        apart = cannot_link(samples) if seen_at_once else None
        if len(known):
            by_time = np.empty((0, 2), np.int64) if apart is None else between_groups(apart, ties)
            apart = np.unique(np.concatenate([by_time, different]), axis=0)
        return cls(ties, apart)


def cannot_link(samples: Samples) -> NDArray[np.int64]:
    """Return pairs of samples (M, 2) seen at the same time in one camera. Tracklets without times are in no pair."""
    return cannot_link_pairs(*times(samples.tracklets))


def can_merge(labels: NDArray[np.int64], pairs: NDArray[np.int64] | None) -> bool:
    """Whether there are still two clusters that ``pairs`` allows to merge; ``labels`` (N,) are 0..C-1."""
    count = int(labels.max()) + 1
    possible = count * (count - 1) // 2
    if pairs is None or len(pairs) < possible:
        return possible > 0
    low, high = np.sort(labels[pairs], axis=1).T
    return len(np.unique(low * count + high)) < possible


def merge_allowed(
    descriptors: Tensor,
    labels: Tensor,
    merges: int,
    pairs: NDArray[np.int64] | None,
    recipe: MergingRecipe,
    device: torch.device,
) -> tuple[Merging, dict[str, Any]]:
    """Make one stage's merges under ``pairs`` (M, 2). Also returns figures of the same stage without them:

    merges_forbidden: how many of its merges would join at least one pair. violations_without: the share of ``pairs``
    that would be in one cluster after it, 0-1.

    Every such pair is a mistake that can be seen without a label. If there are no mistakes, both stages are the same,
    because the cheapest merge of all is then the cheapest allowed merge. So a second merging is needed only if the
    pairs change something. Both figures are left out if there are no pairs.
    """
    merge = partial(
        merge_clusters, descriptors, labels, merges, trade_off=recipe.trade_off, within=recipe.within,
        linkage=recipe.linkage, metric=recipe.metric, size_weight=recipe.size_weight, device=device,
        # From the container's memory limit, which the method package does not look for.
        max_memory=None if device.type == "cuda" else machine_memory() // 4,
    )  # fmt: skip
    free = merge()
    if pairs is None or not len(pairs):
        return free, {}
    together = in_one_cluster(free.labels.numpy(), pairs)
    forbidden = len(np.unique(joining_merges(free, labels.numpy(), pairs[together])))
    stopped = {"merges_forbidden": forbidden, "violations_without": float(together.mean())}
    return merge(cannot_link=pairs) if forbidden else free, stopped


def divided(labels: Tensor, similarity: sparse.csr_array, pairs: NDArray[np.int64] | None) -> Tensor:
    """Divide the clusters (N,) that contain some of the cannot-link ``pairs`` (M, 2), and leave the others.

    The samples of such a cluster are merged anew by their ``similarity`` (N, N), under the pairs, until no merge is
    allowed.
    """
    if pairs is None or not in_one_cluster(labels.numpy(), pairs).any():
        return labels
    found = labels.numpy().copy()
    within = pairs[in_one_cluster(found, pairs)]
    for cluster in np.unique(found[within[:, 0]]):
        rows = np.flatnonzero(labels.numpy() == cluster)
        own = np.searchsorted(rows, within[labels.numpy()[within[:, 0]] == cluster])
        singles = np.arange(len(rows))
        if can_merge(singles, own):
            part = similarity[rows][:, rows]
            singles = merge_neighbours(part, singles, merges=len(rows) - 1, cannot_link=own).labels
        found[rows] = found.max() + 1 + singles
    return torch.from_numpy(numbered(found))


def in_one_cluster(labels: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark the pairs (M, 2) of samples that share a cluster in ``labels`` (N,): (M,)."""
    return labels[pairs[:, 0]] == labels[pairs[:, 1]]


def joining_merges(merging: Merging, labels: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each pair (M, 2) the merge, by its place in the history, that first joined it: (M,).

    ``labels`` (N,) are those before the stage. Every pair must be apart in them and joined after it.
    """
    _, first, owner = np.unique(labels, return_index=True, return_inverse=True)
    ends = first[owner][pairs]  # (M, 2): each sample's cluster, named by its smallest member as in the history
    gone = np.full(len(labels), len(merging.history))
    into = np.arange(len(labels))
    for place, (a, b, _) in enumerate(merging.history):
        gone[b], into[b] = place, a
    joined = np.full(len(pairs), -1)
    apart = np.arange(len(pairs))
    while len(apart):
        # Follow the one of a pair's two clusters that is merged first.
        side = gone[ends[apart]].argmin(axis=1)
        cluster = ends[apart, side]
        joined[apart], ends[apart, side] = gone[cluster], into[cluster]
        apart = apart[ends[apart, 0] != ends[apart, 1]]
    return joined
