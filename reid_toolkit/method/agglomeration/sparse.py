"""Merging below a threshold: only pairs that are near enough are kept, and no cheaper one can be missing."""

import heapq

import torch

from reid_toolkit.method.agglomeration.candidates import Edges, reach
from reid_toolkit.method.agglomeration.cannot_link import Bans
from reid_toolkit.method.agglomeration.clusters import History, Members
from reid_toolkit.method.agglomeration.cost import Criterion, Dispersion
from reid_toolkit.method.agglomeration.linkage import Links


class Graph:
    """Clusters and the links of all pairs whose floor is within reach of the threshold.

    d_qs after a merge is a mean (or the minimum) of d_as and d_bs, and sizes only grow; so the floor of
    (q, s) is at least the lower of those of (a, s) and (b, s), and where neither was kept, (q, s) need not
    be. Where one was, the other is computed now. The cost of a pair is at least its floor, hence no pair that
    costs no more than the threshold is ever missing (docs/method.md).
    """

    def __init__(
        self,
        edges: Edges,
        links: Links,
        dispersion: Dispersion,
        criterion: Criterion,
        bans: Bans,
        threshold: float,
    ) -> None:
        self.links, self.sums, self.dispersion, self.criterion = links, links.sums(), dispersion, criterion
        self.bans, self.threshold = bans, threshold
        self.members = Members(links.clusters)
        self.sizes = dispersion.sizes.tolist()
        self.within = dispersion.values.tolist()
        self.version: dict[int, int] = {}
        self.near: dict[int, dict[int, int]] = {}
        self.heap: list[tuple[float, int, int, int, int]] = []
        for a, b, link in zip(*(x.tolist() for x in edges), strict=True):
            self.keep(a, b, link)

    def keep(self, a: int, b: int, link: int) -> None:
        """Remember the link of a pair if it is within reach, and its cost if that is under the threshold."""
        a, b = min(a, b), max(a, b)
        size_a, size_b = self.sizes[a], self.sizes[b]
        between = self.criterion.between(float(link), size_a, size_b)
        if self.criterion.floor(between, size_a, size_b) > reach(self.threshold):
            return
        self.near.setdefault(a, {})[b] = link
        self.near.setdefault(b, {})[a] = link
        cost = self.criterion.cost(between, self.within[a], self.within[b], size_a, size_b)
        if cost <= self.threshold:
            entry = (cost, a, b, self.version.get(a, 0), self.version.get(b, 0))
            heapq.heappush(self.heap, entry)

    def run(self, merges: int) -> History:
        """Merge up to ``merges`` times, while the cheapest pair costs no more than the threshold."""
        history: History = []
        while self.heap and len(history) < merges:
            cost, a, b, *versions = heapq.heappop(self.heap)
            if versions == [self.version.get(a, 0), self.version.get(b, 0)]:
                self.merge(a, b)
                history.append((a, b, cost))
        return history

    def merge(self, a: int, b: int) -> None:
        """Make ``a`` stand for a ∪ b; entries of the heap that speak of the old two are now out of date."""
        near_a, near_b = self.near.pop(a), self.near.pop(b)
        link = near_a.pop(b)
        del near_b[a]
        for old, near in ((a, near_a), (b, near_b)):
            for s in near:
                del self.near[s][old]
        self.bans.merge(a, b)
        others = [s for s in dict.fromkeys([*near_a, *near_b]) if s not in self.bans.of(a)]
        if not self.links.minimum:
            self.complete(a, near_a, others)
            self.complete(b, near_b, others)
        self.disperse(a, b, link)
        self.members.merge(a, b)
        for s in others:
            if self.links.minimum:
                merged = min(near[s] for near in (near_a, near_b) if s in near)
            else:
                merged = near_a[s] + near_b[s]
            self.keep(a, s, merged)

    def complete(self, cluster: int, near: dict[int, int], others: list[int]) -> None:
        """Compute the links of ``cluster`` with those ``others`` that were out of reach."""
        missing = [s for s in others if s not in near]
        if not missing:
            return
        groups = [self.members.of(s) for s in missing]
        sizes = torch.tensor([len(group) for group in groups], device=groups[0].device)
        owners = torch.repeat_interleave(torch.arange(len(groups), device=sizes.device), sizes)
        found = self.links.fan(self.members.of(cluster), torch.cat(groups), owners, len(groups))
        near.update(zip(missing, found.tolist(), strict=True))

    def disperse(self, a: int, b: int, link: int) -> None:
        """Eq. 7, and the sizes."""
        between = None
        if self.criterion.trade_off:
            between = (
                self.sums.between(self.members.of(a), self.members.of(b))
                if self.links.minimum
                else torch.tensor(link, device=self.dispersion.totals.device)
            )
        self.dispersion.merge(a, b, between)
        self.sizes[a] += self.sizes[b]
        self.within[a] = float(self.dispersion.values[a])
        self.version[a] = self.version.get(a, 0) + 1
        self.version[b] = -1
