"""Which samples training may never put together, those seen at once in one camera, and what that stops."""

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid_toolkit.config import MergingRecipe
from reid_toolkit.datasets.dataset import times
from reid_toolkit.method.constraints import cannot_link_pairs
from reid_toolkit.method.merging import Merging, merge_clusters
from reid_toolkit.training.samples import Samples, machine_memory


def cannot_link(samples: Samples) -> NDArray[np.int64]:
    """Pairs of samples (M, 2) seen at once in one camera; tracklets without times are in none."""
    return cannot_link_pairs(*times(samples.tracklets))


def can_merge(labels: NDArray[np.int64], pairs: NDArray[np.int64] | None) -> bool:
    """Whether two clusters are left that ``pairs`` does not keep apart; ``labels`` (N,) are 0..C-1."""
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
    """One stage's merges under ``pairs`` (M, 2), and for metrics.jsonl what the same stage would do without them:

    merges_forbidden: how many of its merges would each bring two together who were seen at once.
    violations_without: the share of ``pairs`` that would be in one cluster after it, 0-1.

    Every such pair is a mistake that no label was needed to see. Where there are none, the stage without
    constraints is the stage under them too, since the cheapest merge of all is then the cheapest allowed one: so
    they cost a second merging only where they change something. Both figures are left out where there are no pairs.
    """
    merge = partial(
        merge_clusters, descriptors, labels, merges, trade_off=recipe.trade_off, within=recipe.within,
        linkage=recipe.linkage, metric=recipe.metric, size_weight=recipe.size_weight, device=device,
        # By the container's memory, which the method does not look for.
        max_memory=None if device.type == "cuda" else machine_memory() // 4,
    )  # fmt: skip
    free = merge()
    if pairs is None or not len(pairs):
        return free, {}
    together = in_one_cluster(free.labels.numpy(), pairs)
    forbidden = len(np.unique(joining_merges(free, labels.numpy(), pairs[together])))
    stopped = {"merges_forbidden": forbidden, "violations_without": float(together.mean())}
    return merge(cannot_link=pairs) if forbidden else free, stopped


def in_one_cluster(labels: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the pairs (M, 2) of samples ``labels`` (N,) puts together; (M,)."""
    return labels[pairs[:, 0]] == labels[pairs[:, 1]]


def joining_merges(merging: Merging, labels: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """The merge, by its place in the history, that first put each pair (M, 2) into one cluster; (M,).

    ``labels`` (N,) are those before the stage. Every pair is apart in them, and together after it.
    """
    _, first, owner = np.unique(labels, return_index=True, return_inverse=True)
    ends = first[owner][pairs]  # (M, 2): the cluster of each sample by its smallest member, as the history names it
    gone = np.full(len(labels), len(merging.history))
    into = np.arange(len(labels))
    for place, (a, b, _) in enumerate(merging.history):
        gone[b], into[b] = place, a
    joined = np.full(len(pairs), -1)
    apart = np.arange(len(pairs))
    while len(apart):
        # Of a pair's two clusters, the one that is merged into another first moves on to that one.
        side = gone[ends[apart]].argmin(axis=1)
        cluster = ends[apart, side]
        joined[apart], ends[apart, side] = gone[cluster], into[cluster]
        apart = apart[ends[apart, 0] != ends[apart, 1]]
    return joined
