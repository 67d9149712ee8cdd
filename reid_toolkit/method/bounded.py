"""Merging where the C x C matrix does not fit: near pairs only, under thresholds raised until all is done."""

import torch
from torch import Tensor

from reid_toolkit.method.bans import Bans
from reid_toolkit.method.clusters import Clusters, History
from reid_toolkit.method.criterion import Criterion, Dispersion
from reid_toolkit.method.dense import Computed, Rows, Stored
from reid_toolkit.method.duplicates import merge_duplicates
from reid_toolkit.method.exact import ExactDistances
from reid_toolkit.method.graph import Edges, Graph
from reid_toolkit.method.links import Links
from reid_toolkit.method.memory import plan_memory
from reid_toolkit.method.screens import ExactScreen, MeanScreen


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


def follow(clusters: Clusters, forbidden: Tensor, history: History) -> tuple[Clusters, Tensor]:
    """The clusters after ``history``, and the pairs of them that may not merge."""
    if not history:
        return clusters, forbidden
    owners = clusters.owners_after(history)
    return Clusters(owners[clusters.labels]), owners[forbidden].sort(dim=1).values.unique(dim=0)


def survivors(clusters: Clusters, history: History) -> Tensor:
    """The numbers that stand for a cluster after ``history``, ascending."""
    left = torch.ones(len(clusters), dtype=torch.bool, device=clusters.labels.device)
    left[[b for _, b, _ in history]] = False
    return left.nonzero().flatten()


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
