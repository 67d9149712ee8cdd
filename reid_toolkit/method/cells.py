"""Finds near neighbours without comparing all pairs, for many samples: samples are compared cell by cell.

The space is divided into cells by k-means (an inverted file: Sivic and Zisserman, ICCV 2003). A sample is compared with
the samples of the cells whose centres are nearest to it. How many cells that takes is measured: a few samples are
compared with all others, and so many cells are visited that nearly all of their neighbours are in them. Most neighbours
that one of two samples misses are found by the other one.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

RECALL = 0.99
"""So many of the neighbours of a sample of rows must be in cells that are visited."""
SAMPLE = 500
"""Rows whose neighbours are searched for exactly, to find out how many cells must be visited."""
CELLS = 2.0
"""Cells, as a multiple of the square root of the number of samples."""
LEARN, ROUNDS = 32, 6
"""Samples for each cell, and rounds, of k-means."""
SLAB = 1 << 13
"""Samples whose neighbours are searched for at a time."""
TOO_MANY = 5_000
"""Of so many others, a sample keeps the nearest. If all of them kept the same ones, all pairs would be similar, and the
similarities of all pairs would have to be stored."""
STEP = 4096
"""Rows of a block of distances to all centres."""


class Cells(NamedTuple):
    """Samples (N, D) in K cells."""

    centres: Tensor
    """(K, D)."""
    home: NDArray[np.int64]
    """(N,) the cell of each sample."""
    order: NDArray[np.int64]
    """(N,) the samples by cell."""
    starts: NDArray[np.int64]
    """(K + 1,) where each cell begins in ``order``."""


class Pairs(NamedTuple):
    """Near samples: of each pair the row, the other sample, and their squared distance."""

    row: NDArray[np.int64]
    other: NDArray[np.int64]
    distance: NDArray[np.float32]


def nearest_within(
    points: Tensor,
    numbers: tuple[int, int],
    groups: NDArray[np.int64],
    kinds: NDArray[np.int64],
    limits: NDArray[np.float64],
    alike: NDArray[np.float64] | None = None,
    most_alike: tuple[int, int] = (0, 0),
) -> tuple[NDArray[np.int64], NDArray[np.int64], Pairs]:
    """Find about the nearest other samples of each of ``points`` (N, D), if they are near enough.

    Args:
        points: the samples.
        numbers: how many samples of the own group, and how many of all others, are listed for each.
        groups: (N,) the group of each sample.
        kinds: (N,) rows of ``limits``.
        limits: (C, C) the largest Euclidean distance for two kinds.
        alike: (C, C) another such distance. Pairs that are as near are found in the same search.
        most_alike: so many of these pairs of each sample are kept (:func:`agreed`), in its own group and in all others.

    Returns two arrays of indices (N, k), the nearest first, -1 where there are no more; and the pairs under ``alike``.
    Of neighbours, about :data:`RECALL` are found.
    """
    cells, count = make_cells(points), len(points)
    searches = [(limits, numbers, least)] if alike is None else [(limits, numbers, least), (alike, most_alike, agreed)]
    most = max(float(largest.max()) ** 2 for largest, *_ in searches)

    def kept(found: Pairs) -> list[Pairs]:
        """For each search, the pairs that are near enough, and of each row so many of them."""
        parts = []
        for largest, number, some in searches:
            near = found.distance <= largest[kinds[found.row], kinds[found.other]] ** 2
            parts.append(some(take(found, near), number, groups))
        return parts

    visits = max(visits_needed(points, cells, part) for part in kept(sampled(points, most)))
    norms = points.square().sum(dim=1)
    slabs = [
        kept(near_pairs(points, norms, cells, cells.order[top : top + SLAB], visits, most))
        for top in range(0, count, SLAB)
    ]
    one, *beyond = (joined(parts) for parts in zip(*slabs, strict=True))
    del slabs
    both = least(both_ways(one, count), numbers, groups)
    same = groups[both.row] == groups[both.other]
    own, other = (
        as_lists(take(both, kind), count, number) for kind, number in zip((same, ~same), numbers, strict=True)
    )
    if not beyond:
        return own, other, take(both, np.empty(0, np.int64))
    return own, other, agreed(both_ways(beyond[0], count), most_alike, groups)


def make_cells(points: Tensor) -> Cells:
    """Divide the space by k-means over some samples."""
    count = len(points)
    number = max(1, min(count, int(CELLS * count**0.5)))
    chosen = torch.from_numpy(np.random.default_rng(0).permutation(count)[: LEARN * number]).to(points.device)
    sample = points[chosen]
    centres = sample[:number].clone()
    for _ in range(ROUNDS):
        home = nearest_centres(sample, centres, 1)[:, 0]
        sizes = torch.bincount(home, minlength=number)
        means = torch.zeros_like(centres).index_add_(0, home, sample) / sizes.clamp(min=1)[:, None]
        centres = torch.where(sizes[:, None] > 0, means, centres)
    owners = nearest_centres(points, centres, 1)[:, 0].cpu().numpy()
    starts = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=number))])
    return Cells(centres, owners, np.argsort(owners, kind="stable"), starts)


def to_centres(points: Tensor, centres: Tensor) -> Tensor:
    """The squared distance of each point to each centre, without the square of the point, (N, K)."""
    return torch.addmm(centres.square().sum(dim=1), points, centres.T, alpha=-2)


def nearest_centres(points: Tensor, centres: Tensor, number: int) -> Tensor:
    """The ``number`` nearest centres of each point, (N, number), in any order."""
    parts = (to_centres(part, centres).topk(number, dim=1, largest=False, sorted=False) for part in points.split(STEP))
    return torch.cat([part.indices for part in parts])


def sampled(points: Tensor, most: float) -> Pairs:
    """All pairs of some rows whose squared distance is at most ``most``."""
    count, norms = len(points), points.square().sum(dim=1)
    rows = np.sort(np.random.default_rng(1).choice(count, min(SAMPLE, count), replace=False))
    found = []
    for some in np.array_split(rows, -(-len(rows) // 64)):
        part = torch.from_numpy(some).to(points.device)
        found.append(pairs_within(some, points[part], norms[part], np.arange(count), points, norms, most))
    return joined(found)


def visits_needed(points: Tensor, cells: Cells, pairs: Pairs) -> int:
    """How many cells must be visited from each sample, so that :data:`RECALL` of these pairs are found from one end or
    the other."""
    if not len(pairs.row):
        return 1
    home = torch.from_numpy(cells.home)
    row, other = torch.from_numpy(pairs.row), torch.from_numpy(pairs.other)
    needed = [place_of(points, cells.centres, one, home[two]) for one, two in ((row, other), (other, row))]
    return 1 + int(np.quantile(np.minimum(*needed), RECALL, method="higher"))


def place_of(points: Tensor, centres: Tensor, rows: Tensor, cells: Tensor) -> NDArray[np.int64]:
    """How many centres are nearer to each of ``rows`` (P,) than the centre of the cell named in ``cells`` (P,)."""
    parts = []
    for some, wanted in zip(rows.to(points.device).split(STEP), cells.to(points.device).split(STEP), strict=True):
        apart = to_centres(points[some], centres)
        parts.append((apart < apart.gather(1, wanted[:, None])).sum(dim=1).cpu().numpy())
    return np.concatenate(parts)


def near_pairs(points: Tensor, norms: Tensor, cells: Cells, rows: NDArray[np.int64], visits: int, most: float) -> Pairs:
    """The pairs of ``rows`` and samples of their ``visits`` nearest cells, of squared distance ``most`` or less.

    ``norms`` (N,) are the squares of the lengths of ``points``."""
    chosen = points[torch.from_numpy(rows).to(points.device)]
    visited = nearest_centres(chosen, cells.centres, visits).cpu().numpy().ravel()
    by_cell = np.argsort(visited, kind="stable")
    edges = np.searchsorted(visited[by_cell], np.arange(len(cells.centres) + 1))
    own = norms[torch.from_numpy(rows).to(points.device)]
    found = []
    for cell in np.flatnonzero(np.diff(edges)):
        places = by_cell[edges[cell] : edges[cell + 1]] // visits
        members = cells.order[cells.starts[cell] : cells.starts[cell + 1]]
        there = torch.from_numpy(members).to(points.device)
        theirs, their_norms = points[there], norms[there]
        for some in np.array_split(places, -(-len(places) // (4 * STEP))):
            part = torch.from_numpy(some).to(points.device)
            found.append(pairs_within(rows[some], chosen[part], own[part], members, theirs, their_norms, most))
    return joined(found)


def pairs_within(
    rows: NDArray[np.int64],
    queries: Tensor,
    norms: Tensor,
    members: NDArray[np.int64],
    theirs: Tensor,
    their_norms: Tensor,
    most: float,
) -> Pairs:
    """The pairs of ``rows`` and ``members``, given as points and squares of their lengths, that are near enough."""
    apart = torch.addmm(their_norms, queries, theirs.T, alpha=-2)  # less the square of the row's length
    row, other = (apart <= most - norms[:, None]).nonzero(as_tuple=True)
    distance = (apart[row, other] + norms[row]).cpu().numpy()
    pairs = Pairs(rows[row.cpu().numpy()], members[other.cpu().numpy()], distance)
    return take(pairs, pairs.row != pairs.other)


def joined(parts: Iterable[Pairs]) -> Pairs:
    """The pairs of all parts."""
    return Pairs(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def take(pairs: Pairs, which: NDArray) -> Pairs:
    """Some of the pairs."""
    return Pairs(*(part[which] for part in pairs))


def both_ways(pairs: Pairs, count: int) -> Pairs:
    """The pairs of ``count`` samples, each once from both of its ends."""
    both = joined([pairs, Pairs(pairs.other, pairs.row, pairs.distance)])
    return take(both, np.unique(both.row * count + both.other, return_index=True)[1])


def least(pairs: Pairs, numbers: tuple[int, int], groups: NDArray[np.int64]) -> Pairs:
    """Of each row's pairs, the nearest in the own group and in all others, so many as ``numbers`` say, in order."""
    return first_by(pairs.distance, pairs, numbers, groups)


def agreed(pairs: Pairs, numbers: tuple[int, int], groups: NDArray[np.int64]) -> Pairs:
    """As :func:`least`, but of each row's pairs those whose other sample comes first in an order that all rows share.

    So rows with the same others keep the same ones, and the part that two rows share tells how many of all they share
    (bottom-k sketches: Cohen and Kaplan, PODC 2007). Two of a thousand near duplicates share hardly any of the nearest.
    """
    order = np.random.default_rng(2).permutation(len(groups))
    kinds = pairs.row * 2 + (groups[pairs.row] != groups[pairs.other])
    _, place, counts = np.unique(kinds, return_inverse=True, return_counts=True)
    values = np.where(counts[place] < TOO_MANY, order[pairs.other], pairs.distance)
    return first_by(values, pairs, numbers, groups)


def first_by(values: NDArray, pairs: Pairs, numbers: tuple[int, int], groups: NDArray[np.int64]) -> Pairs:
    """Of each row's pairs those with the smallest values, so many as ``numbers`` say for the own group and others."""
    kind = (groups[pairs.row] != groups[pairs.other]).astype(np.int64)
    pairs = take(pairs, order := np.lexsort((pairs.other, values, kind, pairs.row)))
    kind = kind[order]
    return take(pairs, places_of(pairs.row * 2 + kind) < np.array(numbers)[kind])


def places_of(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of each element among the equal ones of ``codes``, which are sorted."""
    first = np.flatnonzero(np.diff(codes, prepend=-1))
    return np.arange(len(codes)) - np.repeat(first, np.diff(first, append=len(codes)))


def as_lists(pairs: Pairs, count: int, number: int) -> NDArray[np.int64]:
    """The others of each row, (count, number), -1 where there are no more. ``pairs`` are sorted by row."""
    lists = np.full((count, number), -1)
    lists[pairs.row, places_of(pairs.row)] = pairs.other
    return lists
