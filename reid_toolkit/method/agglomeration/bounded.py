"""Merging where the C x C matrix does not fit: near pairs only, under thresholds raised until all is done."""

from itertools import count

import torch
from torch import Tensor

from reid_toolkit.method.agglomeration.candidates import Edges, ExactScreen, MeanScreen
from reid_toolkit.method.agglomeration.cannot_link import Bans
from reid_toolkit.method.agglomeration.clusters import Clusters, History, follow, survivors
from reid_toolkit.method.agglomeration.cost import Criterion, Dispersion
from reid_toolkit.method.agglomeration.dense import Rows
from reid_toolkit.method.agglomeration.distances import ExactDistances
from reid_toolkit.method.agglomeration.linkage import Links
from reid_toolkit.method.agglomeration.matrix import Computed, Stored
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
    """The same merges as with the matrix; returns (a, b, cost) with a < b numbers of ``clusters``.

    Rounds: a threshold is taken from bounds of the costs, every pair that could matter under it is found and
    computed exactly, and merges are done while one costs no more. The next round starts from the clusters
    this one left, and holds the matrix once it fits.
    """
    start = clusters
    device, dimension = clusters.labels.device, distances.features.shape[1]
    plan = plan_memory(len(clusters), dimension, device, max_memory)
    done = merge_duplicates(distances, clusters, forbidden, merges, criterion, plan.block)
    history = list(done)
    clusters, forbidden = follow(clusters, forbidden, done)
    dispersion = Dispersion(criterion, Links(distances, clusters, criterion.minimum, plan))
    while len(history) < merges:
        plan = plan_memory(len(clusters), dimension, device, max_memory)
        links = Links(distances, clusters, criterion.minimum, plan)
        done = merge_round(links, forbidden, merges - len(history), criterion, dispersion)
        if not done:
            break
        names = torch.searchsorted(start.first, clusters.first).tolist()
        history += [(names[a], names[b], cost) for a, b, cost in done]
        dispersion.keep(survivors(clusters, done))
        clusters, forbidden = follow(clusters, forbidden, done)
    return history


def merge_round(links: Links, forbidden: Tensor, merges: int, criterion: Criterion, dispersion: Dispersion) -> History:
    """At least one merge and up to ``merges``, by the cheapest means that memory allows."""
    if links.plan.dense:
        return Rows(Stored(links, forbidden), dispersion, criterion).run(merges)
    found = near_pairs(links, forbidden, merges, criterion, dispersion)
    if found is None:  # too many pairs lie as near as the nearest: only rows one by one need no room for them
        return Rows(Computed(links, forbidden), dispersion, criterion).run(merges)
    edges, threshold = found
    bans = Bans(forbidden, len(links.clusters))
    # Merge after merge is of a few samples, and decides the next one: a GPU would do nothing but be waited for.
    here = dispersion.cpu()
    graph = Graph(Edges(*(part.cpu() for part in edges)), links.cpu(), here, criterion, bans, threshold)
    history = graph.run(merges)
    dispersion.take(here)
    return history


def near_pairs(
    links: Links, forbidden: Tensor, merges: int, criterion: Criterion, dispersion: Dispersion
) -> tuple[Edges, float] | None:
    """A threshold under which a good part of ``merges`` can be done, and all pairs that matter under it.

    Each cluster's cheapest merge with a higher number, sorted, says how many merges a threshold is good for:
    those pairs form no cycle, so but for the costs that grow on the way, the k cheapest give k merges. Twice
    as many are taken, for those that grow; fewer when they bring more pairs than there is room for. None when
    not even the cheapest pair alone can be had in that room.
    """
    plan = links.plan
    kinds: list[type[MeanScreen] | type[ExactScreen]] = [ExactScreen]
    if plan.means and not criterion.minimum:
        kinds.insert(0, MeanScreen)
    for kind in kinds:
        screen = kind(links, dispersion, criterion, forbidden)
        lowest = screen.lowest()
        costs = lowest[lowest < torch.inf].sort().values
        if not len(costs):
            none = torch.empty(0, dtype=torch.int64, device=lowest.device)
            return Edges(none, none, none), 0.0
        rank = min(2 * merges + 16, len(costs) - 1)
        # Where the bounds of the means bring in too many pairs, exact links are worth their price.
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
    block: int,
) -> History:
    """The merges that cost 0, as stepwise merging does them, up to ``merges``.

    Only clusters of one point, all of the same, are at cost 0 to each other (and stay so when they merge), so
    groups of them do not mix; within one, the smallest a takes every b it may, in order, before the next a
    does. n equal samples thus take n merges instead of n² kept pairs.
    """
    points = point_of_cluster(distances, clusters, block)
    single = points >= 0
    if criterion.size_weight or (criterion.minimum and not criterion.trade_off and not bool(single.all())):
        return []  # then other pairs cost as little, and merges of different groups interleave
    shared = single & (torch.bincount(points.clamp(min=0))[points.clamp(min=0)] > 1)
    groups: dict[int, list[int]] = {}
    numbers = shared.nonzero().flatten()
    for cluster, point in zip(numbers.tolist(), points[numbers].tolist(), strict=True):
        groups.setdefault(point, []).append(cluster)
    bans = Bans(forbidden, len(clusters))
    history = [pair for group in groups.values() for pair in merge_group(group, bans)]
    return sorted(history)[:merges]


def merge_group(group: list[int], bans: Bans) -> History:
    """Merge clusters at distance 0 of one another; ``group`` ascending."""
    history: History = []
    while group:
        a, *others = group
        group = []
        for b in others:
            if b in bans.of(a):
                group.append(b)
            else:
                bans.merge(a, b)
                history.append((a, b, 0.0))
    return history


def point_of_cluster(distances: ExactDistances, clusters: Clusters, block: int) -> Tensor:
    """A number for the point all samples of a cluster lie on, equal for equal points, else -1; (C,) int64."""
    labels = clusters.labels
    samples = torch.arange(len(labels), device=labels.device)
    for seed in count():
        _, points = hashes(distances, samples, block, seed).unique(return_inverse=True)
        first = torch.full_like(samples, len(samples))
        first.scatter_reduce_(0, points, samples, "amin")
        twins = samples[first[points] != samples]
        # Equal hashes are checked, sample by sample; a collision (one in 10^19 pairs) takes another hash.
        if all(
            torch.equal(distances.rounded(part), distances.rounded(first[points[part]])) for part in twins.split(block)
        ):
            break
    start = torch.full_like(clusters.sizes, torch.iinfo(torch.int64).max)
    low = start.scatter_reduce(0, labels, points, "amin")
    high = torch.zeros_like(clusters.sizes).scatter_reduce(0, labels, points, "amax")
    return torch.where(low == high, low, -1)


def hashes(distances: ExactDistances, samples: Tensor, block: int, seed: int) -> Tensor:
    """A random sum of each rounded sample's coordinates, int64 with wrap-around; (N,)."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randint(-(2**63), 2**63 - 1, (distances.features.shape[1],), generator=generator)
    weights = weights.to(samples.device)
    return torch.cat([(distances.rounded(part).long() * weights).sum(dim=1) for part in samples.split(block)])
