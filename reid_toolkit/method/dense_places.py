"""Neighbours beyond the lists of the nearest, for samples that have very many alike.

A sample that has hundreds of near duplicates, such as a poster that a camera sees all day, shares few neighbours with
each of them if everybody's list is short. So neighbours that are surely alike are taken beyond the end of a list.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from reid_toolkit.method.cells import Pairs, least, make_cells, near_pairs, pairs_within, sampled, take, visits_needed

MOST = (60, 200)
"""So many neighbours a sample has at most in this way, in its own group and in all others."""
ROWS = 1024
"""Samples whose pairs are searched for at a time. There are very many pairs in a dense place."""


def beyond_lists(
    points: Tensor,
    near: tuple[NDArray[np.int64], NDArray[np.int64]],
    groups: NDArray[np.int64],
    kinds: NDArray[np.int64],
    limits: NDArray[np.float64],
    cells_from: int,
) -> sparse.csr_array | None:
    """Mark pairs of ``points`` (N, D) that are within ``limits`` of each other although a list is too short for them.

    Args:
        points: the samples.
        near: lists of the nearest samples of the own group, and of all others, (N, k), with -1 for samples that are
            farther than ``limits``. A sample with a full list is in a dense place.
        groups: (N,) the group of each sample.
        kinds: (N,) rows of ``limits``.
        limits: (C, C) the distance for two kinds under which samples are surely alike.
        cells_from: from so many samples in dense places on, they are compared in cells (``method/cells.py``).

    Returns (N, N) with stored entries for the pairs in both directions. None if no list is full.
    """
    squares, found = limits**2, []
    for which, lists in enumerate(near):
        full = lists[:, -1] >= 0
        dense = np.flatnonzero(full)
        if not len(dense):
            continue
        row, place = np.nonzero(lists >= 0)
        other = lists[row, place]
        found.append((row[full[other]], other[full[other]]))
        for pairs in among(points, dense, float(squares.max()), cells_from):
            same = groups[pairs.row] == groups[pairs.other]
            alike = (pairs.distance <= squares[kinds[pairs.row], kinds[pairs.other]]) & (same == (which == 0))
            pairs = least(take(pairs, alike), MOST, groups)
            found.append((pairs.row, pairs.other))
    if not found:
        return None
    row, other = (np.concatenate(ends) for ends in zip(*found, strict=True))
    one_way = sparse.csr_array((np.ones(len(row)), (row, other)), shape=(len(points), len(points)))
    return sparse.csr_array(one_way + one_way.T)


def among(points: Tensor, dense: NDArray[np.int64], most: float, cells_from: int) -> Iterator[Pairs]:
    """Yield the pairs of samples ``dense`` whose squared distance is at most ``most``; all pairs of a row at once."""
    there = points[torch.from_numpy(dense).to(points.device)]
    norms = there.square().sum(dim=1)
    if len(dense) < cells_from:
        for rows in np.array_split(np.arange(len(dense)), -(-len(dense) // ROWS)):
            part = torch.from_numpy(rows).to(points.device)
            yield pairs_within(dense[rows], there[part], norms[part], dense, there, norms, most)
        return
    # In a large gallery most samples may be in dense places, and comparing all of them would take hours.
    cells = make_cells(there)
    visits = visits_needed(there, cells, sampled(there, most))
    for top in range(0, len(dense), ROWS):
        pairs = near_pairs(there, norms, cells, cells.order[top : top + ROWS], visits, most)
        yield Pairs(dense[pairs.row], dense[pairs.other], pairs.distance)
