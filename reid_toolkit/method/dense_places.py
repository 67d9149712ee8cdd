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

from reid_toolkit.method.cells import Pairs, agreed, pairs_within, take

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
    found: Pairs | None = None,
) -> sparse.csr_array | None:
    """Mark pairs of ``points`` (N, D) that are within ``limits`` of each other although a list is too short for them.

    Args:
        points: the samples.
        near: lists of the nearest samples of the own group, and of all others, (N, k), with -1 for samples that are
            farther than ``limits``. A sample with a full list is in a dense place.
        groups: (N,) the group of each sample.
        kinds: (N,) rows of ``limits``.
        limits: (C, C) the distance for two kinds under which samples are surely alike.
        found: of each sample, the :data:`MOST` within ``limits`` that :func:`cells.agreed` keeps, if they are known.
            Otherwise all samples in dense places are compared with each other.

    Returns (N, N) with stored entries for the pairs: those of the lists in both directions, the others from each sample
    that keeps them. None if no list is full.
    """
    listed, beyond = [], []
    for which, lists in enumerate(near):
        full = lists[:, -1] >= 0
        if not full.any():
            continue
        row, place = np.nonzero(lists >= 0)
        other = lists[row, place]
        listed.append((row[full[other]], other[full[other]]))
        for pairs in [found] if found is not None else among(points, np.flatnonzero(full), groups, kinds, limits):
            same = groups[pairs.row] == groups[pairs.other]
            pairs = take(pairs, full[pairs.row] & full[pairs.other] & (same == (which == 0)))
            beyond.append((pairs.row, pairs.other))
    if not listed:
        return None
    near_ones, all_alike = (
        sparse.csr_array((np.ones(len(row)), (row, other)), shape=(len(points), len(points)))
        for row, other in ((np.concatenate(ends) for ends in zip(*parts, strict=True)) for parts in (listed, beyond))
    )
    # A sample that all the others keep does not have all of them: it keeps what they keep.
    return sparse.csr_array(near_ones + near_ones.T + all_alike)


def among(
    points: Tensor,
    dense: NDArray[np.int64],
    groups: NDArray[np.int64],
    kinds: NDArray[np.int64],
    limits: NDArray[np.float64],
) -> Iterator[Pairs]:
    """Yield the pairs of samples ``dense`` that are within ``limits``, of each sample those that ``agreed`` keeps."""
    there, squares = points[torch.from_numpy(dense).to(points.device)], limits**2
    norms, most = there.square().sum(dim=1), float(squares.max())
    for rows in np.array_split(np.arange(len(dense)), -(-len(dense) // ROWS)):
        part = torch.from_numpy(rows).to(points.device)
        pairs = pairs_within(dense[rows], there[part], norms[part], dense, there, norms, most)
        alike = pairs.distance <= squares[kinds[pairs.row], kinds[pairs.other]]
        yield agreed(take(pairs, alike), MOST, groups)
