"""Merges by sparse similarities: merging two clusters adds two sparse rows, and no matrix of all pairs exists."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from reid_toolkit.method.equations import merged_within_printed, merging_cost

CHUNK = 1 << 19
"""Stored pairs whose costs are computed at a time, before the first merge."""


@dataclass(frozen=True)
class Criterion:
    """How sums of similarities become the cost of Eq. 5, with distance = 1 - similarity."""

    trade_off: float
    """λ of Eq. 5."""
    printed: bool
    """Eq. 3 and 7 as printed, instead of the average pairwise distance and its exact update."""
    unit: float
    """The whole number that stands for a similarity of 1, a power of two."""

    def between(self, total: NDArray[np.int64], sizes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Eq. 4: d_ab = 1 - S_ab / (n_a n_b); ``sizes`` are the products n_a n_b."""
        return 1.0 - total * self.unit / sizes

    def within(self, total: NDArray[np.int64], size: NDArray[np.float64]) -> NDArray[np.float64]:
        """Eq. 3: d_a = 1 - S_aa / n_a², over ordered pairs; times n_a for the printed reading."""
        mean = 1.0 - total * self.unit / (size * size)
        return mean * size if self.printed else mean

    def cost(
        self, between: NDArray[np.float64], within: NDArray[np.float64], others: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Eq. 5 of one cluster with others. The result is the same from either cluster of a pair."""
        return merging_cost(between, within, others, self.trade_off) if self.trade_off else between


class SimilarClusters:
    """Clusters that merge, cheapest pair first.

    Each cluster has an *offer*: its cheapest partner when its row was last read. A row is read when its cluster is
    made. It is read again when the partner of its offer was merged away and the old offer, now only a lower bound,
    comes first in the heap. No pair is missed: of every two clusters, the later one was made while the other existed,
    so its offer costs no more than that pair. This works even if costs shrink from merge to merge.

    A cluster is named by the position of its smallest member among the initial clusters. Rows name clusters as they
    were when the row was last read; ``parent`` leads from such a name to the present cluster. So a merge changes two
    rows and none of their neighbours'. Sums of similarities are whole numbers, so no order of summation changes them.
    """

    def __init__(
        self,
        sums: sparse.csr_array,
        own: NDArray[np.int64],
        sizes: NDArray[np.int64],
        forbidden: NDArray[np.int64],
        criterion: Criterion,
        marks: NDArray[np.int64] | None = None,
    ) -> None:
        """``sums`` (C, C) int64: S_ab of clusters a, b, with sorted rows and 0 on the diagonal; ``own`` (C,): S_aa;
        ``forbidden`` (M, 2): pairs of clusters that may not merge; ``marks`` (C,): clusters with two marks, neither of
        them negative, may not merge."""
        self.sums, self.own, self.criterion = sums, own.copy(), criterion
        self.marks = None if marks is None else marks.copy()
        self.sizes = sizes.astype(np.float64)
        self.within = criterion.within(self.own, self.sizes)
        count = len(own)
        self.parent = np.arange(count, dtype=sums.indices.dtype)  # the type of the rows' names, to save memory
        self.rows: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        """Rows of clusters that merged or were read again; the other rows are in ``sums``."""
        self.banned: dict[int, NDArray[np.int64]] = {}
        both = np.concatenate([forbidden, forbidden[:, ::-1]])
        both = both[np.argsort(both[:, 0], kind="stable")]
        for cluster, partners in zip(*split_by_first(both), strict=True):
            self.banned[int(cluster)] = partners
        self.partner, self.link, self.lowest = self.first_offers(both)
        self.version = [0] * count
        self.watchers: dict[int, list[int]] = {}
        """For each cluster, the clusters whose offer it is or was."""
        self.heap: list[tuple[float, int, int, int, int]] = []
        """(cost, a, b, the offering cluster, its version). a and b are -1 if the row must be read again."""
        for cluster in np.flatnonzero(self.lowest < np.inf).tolist():
            self.heap.append(self.offer(cluster))
        heapq.heapify(self.heap)

    def first_offers(self, banned: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
        """Return each cluster's cheapest partner, their similarity, and the cost (infinite if there is no partner)."""
        count, starts = len(self.own), self.sums.indptr
        partner, link = np.full(count, -1), np.zeros(count, np.int64)
        lowest = np.full(count, np.inf)
        for top, bottom in row_ranges(starts):
            names, totals = (x[starts[top] : starts[bottom]] for x in (self.sums.indices, self.sums.data))
            lengths = np.diff(starts[top : bottom + 1])
            row = np.repeat(np.arange(top, bottom), lengths)
            between = self.criterion.between(totals, self.sizes[row] * self.sizes[names])
            cost = self.criterion.cost(between, self.within[row], self.within[names])
            cost[names == row] = np.inf
            if self.marks is not None:
                cost[unlike(self.marks[row], self.marks[names])] = np.inf
            if len(banned):
                cost[np.isin(row * count + names, banned[:, 0] * count + banned[:, 1])] = np.inf
            filled = np.flatnonzero(lengths)
            if len(filled):
                first = (starts[top:bottom] - starts[top])[filled]
                least = np.minimum.reduceat(cost, first)
                # Of equal costs take the first, which has the smallest name.
                place = np.flatnonzero(cost == np.repeat(least, lengths[filled]))
                place = place[np.unique(row[place], return_index=True)[1]]
                lowest[top + filled] = least
                partner[top + filled], link[top + filled] = names[place], totals[place]
        return partner, link, lowest

    def offer(self, cluster: int) -> tuple[float, int, int, int, int]:
        """Return the heap's entry for a cluster's cheapest partner."""
        partner = int(self.partner[cluster])
        self.watchers.setdefault(partner, []).append(cluster)
        a, b = min(cluster, partner), max(cluster, partner)
        return float(self.lowest[cluster]), a, b, cluster, self.version[cluster]

    def now(self, names: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the present clusters that contain ``names``."""
        roots = self.parent[names]
        while True:
            above = self.parent[roots]
            if (above == roots).all():
                break
            roots = above
        self.parent[names] = roots
        return roots

    def raw(self, cluster: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return a row with the names under which it was stored, without the cluster itself."""
        if cluster in self.rows:
            return self.rows[cluster]
        span = slice(self.sums.indptr[cluster], self.sums.indptr[cluster + 1])
        names, totals = self.sums.indices[span], self.sums.data[span]
        other = names != cluster
        return names[other], totals[other]

    def row(self, cluster: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the present clusters that are similar to ``cluster``, ascending, and the sums of similarities."""
        names, totals = self.raw(cluster)
        roots = self.now(names)
        if (roots != names).any() or (roots[1:] <= roots[:-1]).any():
            order = roots.argsort(kind="stable")
            roots, totals = roots[order], totals[order]
            new = np.ones(len(roots), bool)
            new[1:] = roots[1:] != roots[:-1]
            totals = np.add.reduceat(totals, new.nonzero()[0])
            roots = roots[new]
            other = roots != cluster
            roots, totals = roots[other], totals[other]
            self.rows[cluster] = roots, totals
        return roots, totals

    def read(self, cluster: int) -> None:
        """Find a cluster's cheapest partner and put it into the heap."""
        names, totals = self.row(cluster)
        if cluster in self.banned:
            allowed = np.isin(names, self.forbidden_to(cluster), invert=True)
            names, totals = names[allowed], totals[allowed]
        if self.marks is not None:
            allowed = ~unlike(self.marks[cluster], self.marks[names])
            names, totals = names[allowed], totals[allowed]
        self.version[cluster] += 1
        if not len(names):
            self.lowest[cluster] = np.inf
            return
        between = self.criterion.between(totals, self.sizes[cluster] * self.sizes[names])
        cost = self.criterion.cost(between, self.within[cluster : cluster + 1], self.within[names])
        least = int(cost.argmin())
        self.partner[cluster], self.link[cluster], self.lowest[cluster] = names[least], totals[least], cost[least]
        heapq.heappush(self.heap, self.offer(cluster))

    def forbidden_to(self, cluster: int) -> NDArray[np.int64]:
        """Return the clusters that ``cluster`` may not merge with."""
        if cluster not in self.banned:
            return np.empty(0, np.int64)
        self.banned[cluster] = np.unique(self.now(self.banned[cluster]))
        return self.banned[cluster]

    def run(self, until: float | None, merges: int) -> list[tuple[int, int, float]]:
        """Merge up to ``merges`` times; if ``until`` is given, only while a merge costs no more.

        Returns (a, b, cost) of each merge. Without ``until`` merging continues past cost 1, where pairs without any
        similarity follow, until nothing may merge; each such merge reads every cluster.
        """
        history: list[tuple[int, int, float]] = []
        limit = np.inf if until is None else until
        while len(history) < merges:
            cost, a, b, link = self.cheapest()
            if until is None and cost >= 1:
                apart = self.cheapest_without_similarity()
                if apart is not None and apart < (cost, a, b):
                    (cost, a, b), link = apart, 0
            if cost > limit or a < 0:
                break
            self.merge(a, b, link)
            history.append((a, b, cost))
        return history

    def cheapest(self) -> tuple[float, int, int, int]:
        """Return (cost, a, b, S_ab) of the cheapest pair with a similarity, without removing it. a is -1 if there is
        none."""
        while self.heap:
            cost, a, b, cluster, version = self.heap[0]
            if version == self.version[cluster] and a >= 0:
                return cost, a, b, int(self.link[cluster])
            heapq.heappop(self.heap)
            if version == self.version[cluster]:
                self.read(cluster)
        return np.inf, -1, -1, 0

    def merge(self, a: int, b: int, link: int) -> None:
        """Merge: ``a`` now means a ∪ b. ``link`` is S_ab."""
        size_a, size_b = float(self.sizes[a]), float(self.sizes[b])
        between = 1.0 - link * self.criterion.unit / (size_a * size_b)
        self.sizes[a] += size_b
        self.own[a] += self.own[b] + 2 * link
        if self.criterion.printed:
            within = merged_within_printed(float(self.within[a]), float(self.within[b]), between, size_a, size_b)
            self.within[a] = within
        else:
            self.within[a] = 1.0 - self.own[a] * self.criterion.unit / (self.sizes[a] * self.sizes[a])
        parts = zip(self.raw(a), self.raw(b), strict=True)
        names, totals = (np.concatenate(part) for part in parts)
        self.rows[a] = names, totals
        self.rows.pop(b, None)
        self.parent[b] = a
        if self.marks is not None:
            self.marks[a] = max(self.marks[a], self.marks[b])
        if a in self.banned or b in self.banned:
            self.banned[a] = np.concatenate([self.forbidden_to(a), self.forbidden_to(b)])
            self.banned.pop(b, None)
        for gone in (a, b):
            self.version[gone] += 1
            for watcher in self.watchers.pop(gone, ()):
                # Its offer no longer exists. The offer's cost is a lower bound until the row is read again.
                if watcher not in (a, b) and self.parent[watcher] == watcher and self.partner[watcher] == gone:
                    self.version[watcher] += 1
                    stale = float(self.lowest[watcher]), -1, -1, watcher, self.version[watcher]
                    heapq.heappush(self.heap, stale)
        self.read(a)

    def cheapest_without_similarity(self) -> tuple[float, int, int] | None:
        """Return (cost, a, b) of the cheapest pair of clusters without similarity that may merge; O(C) reads of rows.

        Such a pair costs 1 + λ (d_a + d_b), so a cluster's cheapest partner is the allowed cluster with the least d.
        """
        alive = np.flatnonzero(self.parent == np.arange(len(self.parent)))
        alive = alive[np.lexsort((alive, self.within[alive]))]
        within = self.within[alive]
        least = np.inf
        ends: list[int] = []
        for cluster in alive.tolist():
            cost = 1.0 + self.criterion.trade_off * (self.within[cluster] + within)
            if cost[0] > least:
                break
            allowed = np.flatnonzero(self.may_merge(cluster, alive))
            if len(allowed) and cost[allowed[0]] <= least:
                ends = ends if cost[allowed[0]] == least else []
                least = float(cost[allowed[0]])
                ends.append(cluster)
        if not ends:
            return None
        a = min(ends)
        cost = 1.0 + self.criterion.trade_off * (self.within[a] + within)
        return least, a, int(alive[self.may_merge(a, alive) & (cost == least)].min())

    def may_merge(self, cluster: int, others: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Mark those of ``others`` that share no similarity with ``cluster``, are not itself, and may merge with it."""
        never = np.concatenate([self.row(cluster)[0], self.forbidden_to(cluster), [cluster]])
        allowed = np.isin(others, never, invert=True)
        return allowed if self.marks is None else allowed & ~unlike(self.marks[cluster], self.marks[others])


def unlike(some: NDArray[np.int64] | np.int64, others: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Where two marks differ, and neither of them is negative."""
    found: NDArray[np.bool_] = (some != others) & (some >= 0) & (others >= 0)
    return found


def summed(similarity: sparse.csr_array, labels: NDArray[np.int64]) -> tuple[sparse.csr_array, NDArray[np.int64]]:
    """Sum ``similarity`` (N, N) int64 over the clusters ``labels`` (N,), 0..C-1. Returns the sums with 0 on the
    diagonal, and the diagonal.

    If each sample is its own cluster, the first is ``similarity`` itself, changed in place, because a copy would be
    the largest part of the memory that merging needs."""
    count = int(labels.max()) + 1
    if count < len(labels):
        members = sparse.csr_array((np.ones(len(labels), np.int64), (labels, np.arange(len(labels)))))
        similarity = sparse.csr_array(members @ similarity @ members.T)
        similarity.sort_indices()
    own = similarity.diagonal()
    similarity.data[diagonal_places(similarity)] = 0
    return similarity, own


def diagonal_places(stored: sparse.csr_array) -> NDArray[np.int64]:
    """Return the positions of the diagonal's entries in ``stored.data``."""
    places = []
    for top, bottom in row_ranges(stored.indptr):
        first, end = int(stored.indptr[top]), int(stored.indptr[bottom])
        row = np.repeat(np.arange(top, bottom), np.diff(stored.indptr[top : bottom + 1]))
        places.append(first + np.flatnonzero(stored.indices[first:end] == row))
    return np.concatenate(places)


def row_ranges(starts: NDArray[np.integer]) -> Iterator[tuple[int, int]]:
    """Yield ranges (top, bottom) of rows with at most :data:`CHUNK` stored entries, or of one row."""
    top, count = 0, len(starts) - 1
    while top < count:
        bottom = int(np.searchsorted(starts, int(starts[top]) + CHUNK, side="right")) - 1
        bottom = min(max(bottom, top + 1), count)
        yield top, bottom
        top = bottom


def split_by_first(pairs: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Return the distinct first numbers of ``pairs`` (M, 2), which are sorted by them, and each one's second
    numbers."""
    names, starts = np.unique(pairs[:, 0], return_index=True)
    return names, np.split(pairs[:, 1], starts[1:]) if len(names) else []
