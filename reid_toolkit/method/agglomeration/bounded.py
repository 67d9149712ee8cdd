"""Merges in rounds if the C x C matrix does not fit: only near pairs are kept, under thresholds that rise.

Equal samples are merged first. Their pairs cost nothing, so they come first anyway, and they can be too many to list.
"""

from itertools import count

import torch
from torch import Tensor

from reid_toolkit.method.agglomeration.candidates import Edges, ExactScreen, MeanScreen
from reid_toolkit.method.agglomeration.cannot_link import CannotLink
from reid_toolkit.method.agglomeration.clusters import Clusters, History, follow, survivors
from reid_toolkit.method.agglomeration.cost import Criterion, Dispersion
from reid_toolkit.method.agglomeration.dense import NearestPartners
from reid_toolkit.method.agglomeration.distances import ExactDistances
from reid_toolkit.method.agglomeration.linkage import ClusterLinkage
from reid_toolkit.method.agglomeration.matrix import DenseMatrix, RecomputedRows
from reid_toolkit.method.agglomeration.memory import plan_memory
from reid_toolkit.method.agglomeration.sparse import Graph


def merge_bounded(
    distances: ExactDistances,
    clusters: Clusters,
    forbidden: Tensor,
    merges: int,
    criterion: Criterion,
    max_memory: int | None,
) -> History:
    """Do the same merges as with the matrix. Returns (a, b, cost), where a < b are numbers of ``clusters``.

    A round derives a threshold from bounds of the costs, computes every pair that could matter under it, and merges
    while a pair costs at most the threshold. The next round starts from the clusters that are left, and uses the matrix
    as soon as it fits. The history is shorter than ``merges`` if no pair is left that may merge. ``forbidden`` (M, 2)
    int64 holds sorted pairs (a, b), a < b, of clusters.
    """
    start = clusters
    device, dimension = clusters.labels.device, distances.features.shape[1]
    plan = plan_memory(len(clusters), dimension, device, max_memory)
    done = merge_duplicates(distances, clusters, forbidden, merges, criterion, plan.block_size)
    history = list(done)
    clusters, forbidden = follow(clusters, forbidden, done)
    dispersion = Dispersion(criterion, ClusterLinkage(distances, clusters, criterion.minimum, plan))
    while len(history) < merges:
        plan = plan_memory(len(clusters), dimension, device, max_memory)
        linkage = ClusterLinkage(distances, clusters, criterion.minimum, plan)
        done = merge_round(linkage, forbidden, merges - len(history), criterion, dispersion)
        if not done:
            break
        numbers = torch.searchsorted(start.first, clusters.first).tolist()
        history += [(numbers[a], numbers[b], cost) for a, b, cost in done]
        dispersion.keep(survivors(clusters, done))
        clusters, forbidden = follow(clusters, forbidden, done)
    return history


def merge_round(
    linkage: ClusterLinkage, forbidden: Tensor, merges: int, criterion: Criterion, dispersion: Dispersion
) -> History:
    """Merge up to ``merges`` times, in the fastest way that fits in memory.

    Returns no merge only if no pair may merge. ``dispersion`` is updated.
    """
    if linkage.plan.dense:
        return NearestPartners(DenseMatrix(linkage, forbidden), dispersion, criterion).run(merges)
    near = near_pairs(linkage, forbidden, merges, criterion, dispersion)
    if near is None:  # too many pairs are as near as the nearest; recomputed rows need no memory for pairs
        return NearestPartners(RecomputedRows(linkage, forbidden), dispersion, criterion).run(merges)
    edges, threshold = near
    cannot_link = CannotLink(forbidden, len(linkage.clusters))
    # These merges run on the CPU. Each is of a few samples and decides the next, so a GPU would mostly wait.
    on_cpu = dispersion.cpu()
    cpu_edges = Edges(*(part.cpu() for part in edges))
    history = Graph(cpu_edges, linkage.cpu(), on_cpu, criterion, cannot_link, threshold).run(merges)
    dispersion.take(on_cpu)
    return history


def near_pairs(
    linkage: ClusterLinkage, forbidden: Tensor, merges: int, criterion: Criterion, dispersion: Dispersion
) -> tuple[Edges, float] | None:
    """Return all pairs that matter under a threshold, and the threshold, which allows a good part of ``merges``.

    The costs of each cluster's cheapest merge with a higher number, sorted, show how many merges a threshold allows:
    these pairs form no cycle, so the k cheapest give k merges, except for costs that grow on the way. To allow for
    that, twice as many are taken; fewer, if they bring more pairs than fit. Returns None if even the pairs under the
    lowest threshold do not fit.
    """
    plan = linkage.plan
    kinds: list[type[MeanScreen] | type[ExactScreen]] = [ExactScreen]
    if plan.means and not criterion.minimum:
        kinds.insert(0, MeanScreen)
    for kind in kinds:
        screen = kind(linkage, dispersion, criterion, forbidden)
        lowest = screen.lowest()
        costs = lowest[lowest < torch.inf].sort().values
        if not len(costs):
            none = torch.empty(0, dtype=torch.int64, device=lowest.device)
            return Edges(none, none, none), 0.0
        rank = min(2 * merges + 16, len(costs) - 1)
        # If the bounds from means let too many pairs through, exact links are worth their time.
        least = merges // 16 if kind is MeanScreen else 0
        while True:
            threshold = float(costs[rank])
            edges = screen.edges(threshold, plan.pairs)
            if edges is not None:
                return edges, threshold
            if rank <= least:
                break
            rank = max(least, rank // 4)
    return None


def merge_duplicates(
    distances: ExactDistances,
    clusters: Clusters,
    forbidden: Tensor,
    merges: int,
    criterion: Criterion,
    block_size: int,
) -> History:
    """Do the merges that cost 0, up to ``merges``, in the order of stepwise merging.

    With average linkage and no size term, two clusters have cost 0 only if all their samples are one point, and merging
    them keeps this so. Groups of equal samples therefore do not mix. Within a group, the smallest a takes every b that
    it may, in order, before the next a does. So n equal samples take n merges, although they have n² pairs.
    """
    points = point_of_cluster(distances, clusters, block_size)
    single = points >= 0
    if criterion.size_weight or (criterion.minimum and not criterion.trade_off and not bool(single.all())):
        return []  # other pairs may cost as little then, and merges of different groups alternate
    shared = single & (torch.bincount(points.clamp(min=0))[points.clamp(min=0)] > 1)
    groups: dict[int, list[int]] = {}
    numbers = shared.nonzero().flatten()
    for cluster, point in zip(numbers.tolist(), points[numbers].tolist(), strict=True):
        groups.setdefault(point, []).append(cluster)
    cannot_link = CannotLink(forbidden, len(clusters))
    history = [pair for group in groups.values() for pair in merge_group(group, cannot_link)]
    return sorted(history)[:merges]


def merge_group(group: list[int], cannot_link: CannotLink) -> History:
    """Merge clusters that are at distance 0 from one another. ``group`` is in ascending order."""
    history: History = []
    while group:
        a, *others = group
        group = []
        for b in others:
            if b in cannot_link.of(a):
                group.append(b)
            else:
                cannot_link.merge(a, b)
                history.append((a, b, 0.0))
    return history


def point_of_cluster(distances: ExactDistances, clusters: Clusters, block_size: int) -> Tensor:
    """Number the point that all samples of a cluster share; equal points get equal numbers. Returns (C,) int64.

    The number is -1 for a cluster of several points.
    """
    labels = clusters.labels
    samples = torch.arange(len(labels), device=labels.device)
    for seed in count():
        _, points = hashes(distances, samples, block_size, seed).unique(return_inverse=True)
        first = torch.full_like(samples, len(samples))
        first.scatter_reduce_(0, points, samples, "amin")
        twins = samples[first[points] != samples]
        # Samples with equal hashes are compared. After a collision (one in 10^19 pairs), another hash is tried.
        if all(
            torch.equal(distances.rounded(part), distances.rounded(first[points[part]]))
            for part in twins.split(block_size)
        ):
            break
    start = torch.full_like(clusters.sizes, torch.iinfo(torch.int64).max)
    low = start.scatter_reduce(0, labels, points, "amin")
    high = torch.zeros_like(clusters.sizes).scatter_reduce(0, labels, points, "amax")
    return torch.where(low == high, low, -1)


def hashes(distances: ExactDistances, samples: Tensor, block_size: int, seed: int) -> Tensor:
    """Return a random sum of each rounded sample's coordinates, int64 with wrap-around, (N,)."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randint(-(2**63), 2**63 - 1, (distances.features.shape[1],), generator=generator)
    weights = weights.to(samples.device)
    parts = samples.split(block_size)
    return torch.cat([(distances.rounded(part).long() * weights).sum(dim=1) for part in parts])
