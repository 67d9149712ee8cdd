"""Merges below a threshold with the near pairs only, without missing a cheaper pair."""

import heapq

import torch

from reid_toolkit.method.agglomeration.candidates import Edges, with_margin
from reid_toolkit.method.agglomeration.cannot_link import CannotLink
from reid_toolkit.method.agglomeration.clusters import History, Members
from reid_toolkit.method.agglomeration.cost import Criterion, Dispersion
from reid_toolkit.method.agglomeration.linkage import ClusterLinkage


class Graph:
    """The clusters, and the links of all pairs whose lower bound is within the threshold.

    After a merge, d_qs is a mean (or the minimum) of d_as and d_bs, and sizes only grow. So the lower bound of (q, s)
    is at least the smaller of those of (a, s) and (b, s). If neither of these was kept, (q, s) need not be kept; if one
    was, the other is computed now. The cost of a pair is at least its lower bound, so no pair that costs at most the
    threshold is ever missing (docs/method.md).
    """

    def __init__(
        self,
        edges: Edges,
        linkage: ClusterLinkage,
        dispersion: Dispersion,
        criterion: Criterion,
        cannot_link: CannotLink,
        threshold: float,
    ) -> None:
        """``edges`` are all such pairs at the start. All tensors are in the machine's memory."""
        self.linkage, self.sums, self.dispersion, self.criterion = linkage, linkage.sums(), dispersion, criterion
        self.cannot_link, self.threshold = cannot_link, threshold
        self.members = Members(linkage.clusters)
        self.sizes = dispersion.sizes.tolist()
        self.within = dispersion.values.tolist()
        self.version: dict[int, int] = {}
        self.near: dict[int, dict[int, int]] = {}
        self.heap: list[tuple[float, int, int, int, int]] = []
        for a, b, link in zip(*(x.tolist() for x in edges), strict=True):
            self.keep(a, b, link)

    def keep(self, a: int, b: int, link: int) -> None:
        """Store a pair's link if its lower bound is within the threshold, and its cost if the cost is too."""
        a, b = min(a, b), max(a, b)
        size_a, size_b = self.sizes[a], self.sizes[b]
        between = self.criterion.between(float(link), size_a, size_b)
        if self.criterion.lower_bound(between, size_a, size_b) > with_margin(self.threshold):
            return
        self.near.setdefault(a, {})[b] = link
        self.near.setdefault(b, {})[a] = link
        cost = self.criterion.cost(between, self.within[a], self.within[b], size_a, size_b)
        if cost <= self.threshold:
            entry = (cost, a, b, self.version.get(a, 0), self.version.get(b, 0))
            heapq.heappush(self.heap, entry)

    def run(self, merges: int) -> History:
        """Merge up to ``merges`` times, while the cheapest pair costs at most the threshold."""
        history: History = []
        while self.heap and len(history) < merges:
            cost, a, b, *versions = heapq.heappop(self.heap)
            if versions == [self.version.get(a, 0), self.version.get(b, 0)]:
                self.merge(a, b)
                history.append((a, b, cost))
        return history

    def merge(self, a: int, b: int) -> None:
        """Merge: ``a`` now means a ∪ b. The heap's entries for the two old clusters are out of date from now on."""
        near_a, near_b = self.near.pop(a), self.near.pop(b)
        link = near_a.pop(b)
        del near_b[a]
        for old, near in ((a, near_a), (b, near_b)):
            for s in near:
                del self.near[s][old]
        self.cannot_link.merge(a, b)
        others = [s for s in dict.fromkeys([*near_a, *near_b]) if s not in self.cannot_link.of(a)]
        if not self.linkage.minimum:
            self.complete(a, near_a, others)
            self.complete(b, near_b, others)
        self.disperse(a, b, link)
        self.members.merge(a, b)
        for s in others:
            if self.linkage.minimum:
                merged = min(near[s] for near in (near_a, near_b) if s in near)
            else:
                merged = near_a[s] + near_b[s]
            self.keep(a, s, merged)

    def complete(self, cluster: int, near: dict[int, int], others: list[int]) -> None:
        """Add the missing links of ``cluster`` with those of ``others`` to ``near``."""
        missing = [s for s in others if s not in near]
        if not missing:
            return
        groups = [self.members.of(s) for s in missing]
        sizes = torch.tensor([len(group) for group in groups], device=groups[0].device)
        owners = torch.repeat_interleave(torch.arange(len(groups), device=sizes.device), sizes)
        links = self.linkage.to_groups(self.members.of(cluster), torch.cat(groups), owners, len(groups))
        near.update(zip(missing, links.tolist(), strict=True))

    def disperse(self, a: int, b: int, link: int) -> None:
        """Apply Eq. 7 and update the sizes. ``members`` must still hold a and b separately."""
        between = None
        if self.criterion.trade_off:
            between = (
                self.sums.between(self.members.of(a), self.members.of(b))
                if self.linkage.minimum
                else torch.tensor(link, device=self.dispersion.totals.device)
            )
        self.dispersion.merge(a, b, between)
        self.sizes[a] += self.sizes[b]
        self.within[a] = float(self.dispersion.values[a])
        self.version[a] = self.version.get(a, 0) + 1
        self.version[b] = -1
