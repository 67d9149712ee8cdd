"""Computes how similar the neighbourhoods of samples are: a sparse matrix for ``merging.merge_neighbours``.

Two samples are similar if they have the same neighbours. A sample's neighbours have weights exp(-d), where d is the
squared Euclidean distance. The similarity of two samples is the Jaccard similarity of their weighted neighbourhoods,
Σ min / Σ max (k-reciprocal encoding: Zhong et al., CVPR 2017). It is 0 for samples that share no neighbour, so the
matrix is sparse.

Different people in one camera often look more alike than one person in two cameras. So ``camera_aware_similarity``
ranks the sample's own camera and the other cameras separately, and takes neighbours from both (CA-Jaccard: Chen et al.,
CVPR 2024). ``reciprocal_similarity`` ignores cameras.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from torch import Tensor

from reid_toolkit.errors import InputError
from reid_toolkit.method.cells import nearest_within
from reid_toolkit.method.dense_places import MOST, beyond_lists

CELLS_FROM = 50_000
"""From so many samples on, neighbours under a largest distance are searched for in cells."""

ROWS, COLUMNS = 1024, 16384
"""Size of the largest block of distances: 64 MiB and a few copies, for any number of samples."""

BLOCK, GPU_BLOCK = 1 << 24, 1 << 28
"""Sums over shared neighbours that are kept at a time, on a CPU and on a GPU."""

PART = 1 << 21
"""Additions to these sums that are done at a time."""

STEPS = 1 << 28
"""A weight is a whole number of steps, and the weights of a row sum to about this number. So sums are exact: no order
of summation, number of threads or device changes a similarity, and the matrix is symmetric to the bit."""


def camera_aware_similarity(
    descriptors: Tensor | ArrayLike,
    cameras: Sequence[str | None],
    *,
    within: int = 5,
    across: int = 20,
    averaged: tuple[int, int] = (3, 3),
    farthest: Callable[[str | None, str | None], float] | None = None,
    surely: Callable[[str | None, str | None], float] | None = None,
    cells_from: int | None = None,
    device: torch.device | None = None,
) -> sparse.csr_array:
    """Compute similarity by neighbours within a sample's own camera and in other cameras.

    A sample's neighbours are itself; those of its ``within`` nearest in its own camera that also have it among theirs;
    and in the same way those of its ``across`` nearest in all other cameras. The sample's weights are then averaged
    with those of the samples nearest to it, reciprocal or not: ``averaged[0]`` of its own camera, itself included, and
    ``averaged[1]`` of other cameras.

    Args:
        descriptors: (N, D) float, finite, normally L2-normalised.
        cameras: N names. A sample without a name (None or "") counts as the only one of its camera.
        within, across, averaged: numbers of samples. If there are fewer, all are used. Of equally near samples, those
            with the smallest index are used.
        farthest: gives for the names of two cameras the largest Euclidean distance of neighbours. It is called once
            for each pair of names. Without it, neighbours may be at any distance.
        surely: gives for the names of two cameras a distance under which samples are surely alike. Such samples are
            neighbours beyond ``within`` and ``across`` (``method/dense_places.py``). Without it, none are.
        cells_from: from so many samples on (by default :data:`CELLS_FROM`), and if ``farthest`` is given, neighbours
            are searched for in cells (``method/cells.py``). A few are missed then. Otherwise all pairs are compared.
        device: where to compute; by default where the descriptors are.

    Returns (N, N) float32, symmetric, 0 to 1, the diagonal 1. O(N² D) time without cells; memory for the result and for
    blocks of fixed size. Raises :class:`InputError` for shapes that do not fit, NaN or infinity, and numbers below 1
    (below 0 for ``averaged[1]``).
    """
    check_numbers(within=within, across=across, averaged=averaged[0])
    check_numbers(least=0, averaged=averaged[1])
    points = as_points(descriptors, device)
    groups = as_groups(cameras, points)
    list_sizes = max(within, averaged[0] - 1), max(across, averaged[1])
    count = len(points)
    cells_from = CELLS_FROM if cells_from is None else cells_from
    sure, found = (None if surely is None else limits_of(cameras, surely)), None
    if farthest is not None and count >= cells_from:
        alike = None if sure is None else sure[1]
        own, other, found = nearest_within(points, list_sizes, groups, *limits_of(cameras, farthest), alike, MOST)
    else:
        own, other = nearest(points, list_sizes, groups)
        if farthest is not None:
            own, other = (without_far(points, one, *limits_of(cameras, farthest)) for one in (own, other))
    alone = np.arange(count)[:, None]
    neighbours = reciprocal(own[:, :within]) + reciprocal(other[:, :across]) + sparse.eye_array(count, format="csr")
    if sure is not None:
        lists = without_far(points, own[:, :within], *sure), without_far(points, other[:, :across], *sure)
        beyond = beyond_lists(points, lists, groups, *sure, found)
        neighbours = neighbours if beyond is None else neighbours + beyond
    near = np.concatenate([alone, own[:, : averaged[0] - 1], other[:, : averaged[1]]], axis=1)
    return shared_weights(as_matrix(near), weights(points, neighbours), points.device)


def reciprocal_similarity(
    descriptors: Tensor | ArrayLike,
    *,
    neighbours: int = 20,
    averaged: int = 6,
    device: torch.device | None = None,
) -> sparse.csr_array:
    """Compute similarity by neighbours in any camera: k-reciprocal encoding as published.

    A sample's neighbours are itself and those of its ``neighbours`` nearest (the paper's k1) that also have it among
    theirs. The half neighbourhood (k1 / 2) of each neighbour is added if more than two thirds of it are already in. The
    weights are then averaged over a sample and its ``averaged`` - 1 nearest (the paper's k2).

    Otherwise as :func:`camera_aware_similarity`.
    """
    check_numbers(neighbours=neighbours, averaged=averaged)
    points = as_points(descriptors, device)
    (ranked,) = nearest(points, (max(neighbours, averaged - 1),))
    count = len(points)
    alone = sparse.eye_array(count, format="csr")
    whole = sparse.csr_array(reciprocal(ranked[:, :neighbours]) + alone)
    half = sparse.csr_array(reciprocal(ranked[:, : max(1, round(neighbours / 2))]) + alone)
    common = sparse.coo_array(whole.multiply(whole @ half.T))  # (p, q): the part of q's half that p has
    joins = common.data > 2 / 3 * half.sum(axis=1)[common.col]
    joining = (np.ones(joins.sum()), (common.row[joins], common.col[joins]))
    expanded = whole + sparse.csr_array(joining, shape=whole.shape) @ half
    near = np.concatenate([np.arange(count)[:, None], ranked[:, : averaged - 1]], axis=1)
    return shared_weights(as_matrix(near), weights(points, expanded), points.device)


def nearest(
    points: Tensor, numbers: tuple[int, ...], groups: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], ...]:
    """Find the nearest other samples of each of ``points`` (N, D), the nearest first: (N, k) indices for each k given.

    With ``groups`` (N,) there are two lists: of the sample's own group, and of all others. Missing samples are -1. Of
    equally near samples the smaller index comes first. The search is exact: every distance is computed, a block at a
    time.
    """
    count, device = len(points), points.device
    norms = points.square().sum(dim=1)
    group = None if groups is None else torch.from_numpy(groups).to(device)
    infinite = torch.tensor(torch.inf, device=device)
    rows_done: list[list[Tensor]] = [[] for _ in numbers]
    # One buffer serves all blocks of distances, because writing to new memory is slower than computing.
    room = [torch.empty(min(count, ROWS) * min(count, COLUMNS), device=device) for _ in numbers]
    for top in range(0, count, ROWS):
        bottom = min(top + ROWS, count)
        lists = [Ranking(bottom - top, k, device) for k in numbers]
        for first in range(0, count, COLUMNS):
            end = min(first + COLUMNS, count)
            distances, *others = (part[: (bottom - top) * (end - first)].view(bottom - top, -1) for part in room)
            torch.addmm(norms[first:end], points[top:bottom], points[first:end].T, alpha=-2, out=distances)
            distances.clamp_(min=-1e30).add_(norms[top:bottom, None])
            low, high = max(top, first), min(bottom, end)
            if low < high:
                distances[low - top : high - top, low - first : high - first].diagonal().fill_(torch.inf)
            if group is not None:
                # First the list of the sample's own group, then the list of the other distances.
                same = group[top:bottom, None] == group[first:end]
                lists[0].take(torch.where(same, distances, infinite, out=others[0]), first)
                distances.masked_fill_(same, torch.inf)
            lists[-1].take(distances, first)
        for done, ranking in zip(rows_done, lists, strict=True):
            done.append(ranking.indices.cpu())
    return tuple(torch.cat(done).numpy() for done in rows_done)


def limits_of(
    cameras: Sequence[str | None], farthest: Callable[[str | None, str | None], float]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """A number for each sample's camera, (N,), and the largest distance of neighbours in two cameras, (C, C)."""
    names, number = np.unique([camera or "" for camera in cameras], return_inverse=True)
    return number, np.array([[farthest(a or None, b or None) for b in names.tolist()] for a in names.tolist()])


def without_far(
    points: Tensor, ranked: NDArray[np.int64], number: NDArray[np.int64], limits: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return ``ranked`` (N, k) with -1 for samples that are farther than ``limits`` allow for the two cameras."""
    kept = ranked.copy()
    for rows in np.array_split(np.arange(len(ranked)), max(1, ranked.size * points.shape[1] // (16 * PART))):
        listed = torch.from_numpy(ranked[rows].clip(0)).to(points.device)
        apart = (points[listed] - points[torch.from_numpy(rows).to(points.device), None]).norm(dim=2).cpu().numpy()
        near = (apart <= limits[number[rows, None], number[ranked[rows]]]) & (ranked[rows] >= 0)
        kept[rows] = np.where(near, ranked[rows], -1)
    return kept


class Ranking:
    """The smallest values seen so far in each row, with their columns."""

    def __init__(self, rows: int, number: int, device: torch.device) -> None:
        self.number = number
        self.values = torch.empty(rows, 0, device=device)
        self.indices = torch.empty(rows, 0, dtype=torch.int64, device=device)

    def take(self, values: Tensor, first: int) -> None:
        """Take the next columns, ``values`` (rows, n); the first of them is column ``first``. Infinite values are left
        out. Columns must come in ascending order."""
        columns = least_columns(values, min(self.number, values.shape[1]))
        values = values.gather(1, columns)
        columns = torch.where(values == torch.inf, -1, columns + first)
        values, columns = torch.cat([self.values, values], 1), torch.cat([self.indices, columns], 1)
        order = values.argsort(dim=1, stable=True)[:, : self.number]
        self.values, self.indices = values.gather(1, order), columns.gather(1, order)


def least_columns(values: Tensor, number: int) -> Tensor:
    """Return the columns of the ``number`` smallest values of each row of ``values`` (R, n), the smallest first. Of
    equal values the first is taken; of infinite values, any."""
    least, columns = values.topk(min(number + 1, values.shape[1]), dim=1, largest=False)
    if least.shape[1] > number:
        # topk takes any of the values that equal the last one. Rows with such ties are sorted as a whole.
        tied = (least[:, number - 1] == least[:, number]) & (least[:, number] < torch.inf)
        columns = columns[:, :number]
        if bool(tied.any()):
            columns[tied] = values[tied].argsort(dim=1, stable=True)[:, :number]
    columns = columns.sort(dim=1).values
    return columns.gather(1, values.gather(1, columns).argsort(dim=1, stable=True))


def reciprocal(ranked: NDArray[np.int64]) -> sparse.csr_array:
    """Mark pairs that are in each other's list; ``ranked`` (N, k) is from :func:`nearest`. Returns ones, (N, N)."""
    listed = as_matrix(ranked)
    return sparse.csr_array(listed.multiply(listed.T))


def as_matrix(lists: NDArray[np.int64]) -> sparse.csr_array:
    """Return (N, N) with ones in the columns that ``lists`` (N, k) names; -1 names none."""
    row, place = np.nonzero(lists >= 0)
    return sparse.csr_array((np.ones(len(row)), (row, lists[row, place])), shape=(len(lists), len(lists)))


def weights(points: Tensor, neighbours: sparse.csr_array) -> sparse.csr_array:
    """Return exp(-d) for each sample's stored neighbours, where d is the squared distance. Each row then sums to 1."""
    pairs = sparse.coo_array(neighbours)
    row, column = (torch.from_numpy(part.astype(np.int64)).to(points.device) for part in pairs.coords)
    room = max(1, 4 * PART // points.shape[1])
    parts = [
        (points[a] - points[b]).square().sum(dim=1).cpu().numpy()
        for a, b in zip(row.split(room), column.split(room), strict=True)
    ]
    weight = np.exp(-np.concatenate(parts).astype(np.float64))
    total = np.bincount(pairs.row, weight, minlength=len(points))
    return sparse.csr_array((weight / total[pairs.row], pairs.coords), shape=pairs.shape)


def shared_weights(near: sparse.csr_array, weight: sparse.csr_array, device: torch.device) -> sparse.csr_array:
    """Average the rows of ``weight`` (N, N) over the samples that ``near`` stores for each sample, and compare all
    rows:
    Σ min / Σ max, (N, N) float32."""
    count = near.shape[0]
    rows = sparse.csr_array(near @ weight)
    rows.data = np.rint(rows.data / near.sum(axis=1)[np.repeat(np.arange(count), np.diff(rows.indptr))] * STEPS)
    rows.eliminate_zeros()
    rows = rows.astype(np.int32)
    sums = np.asarray(rows.sum(axis=1, dtype=np.int64))
    parts = []
    for top, row, column, shared in shared_sums(rows, device):
        similarity = shared / (sums[top + row] + sums[column] - shared)
        parts.append((np.bincount(row), column.astype(np.int32), similarity.astype(np.float32)))
    lengths, columns, values = (np.concatenate(part) for part in zip(*parts, strict=True))
    starts = np.concatenate([[0], np.cumsum(lengths)])
    if len(values) < 1 << 31:
        starts = starts.astype(np.int32)  # otherwise columns would become int64 too
    return sparse.csr_array((values, columns, starts), shape=rows.shape)


def shared_sums(
    rows: sparse.csr_array, device: torch.device
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Compute Σ_j min(v_ij, v_kj) of all rows i, k of ``rows`` (N, N) int32 that share a column j.

    Yields blocks of rows: the number of the first row, then i minus that number, k, and the sum, sorted by (i, k).
    Takes Σ_j n_j² steps for n_j entries in column j.
    """
    count = rows.shape[0]
    turned = rows.tocsc()
    turned.sort_indices()
    starts, others, their = (torch.from_numpy(x).to(device) for x in (turned.indptr, turned.indices, turned.data))
    starts = starts.long()
    height = max(1, min(count, (BLOCK if device.type == "cpu" else GPU_BLOCK) // count))
    # A table over (row, k) that is never scanned: the entries added to are noted, and only these are cleared.
    sums, last = torch.zeros(2, height * count, dtype=torch.int32, device=device)
    for top in range(0, count, height):
        bottom = min(top + height, count)
        span = slice(rows.indptr[top], rows.indptr[bottom])
        column = torch.from_numpy(rows.indices[span]).to(device).long()
        own = torch.from_numpy(rows.data[span]).to(device)
        row = torch.from_numpy(np.repeat(np.arange(bottom - top), np.diff(rows.indptr[top : bottom + 1]))).to(device)
        lengths = starts[column + 1] - starts[column]
        part_of = (lengths.cumsum(0) - 1) // PART
        touched = []
        for part in torch.arange(len(column), device=device).split(torch.bincount(part_of).tolist()):
            entry = torch.repeat_interleave(part, lengths[part])
            first = lengths[part].cumsum(0) - lengths[part]
            place = torch.arange(len(entry), device=device)
            met = place - torch.repeat_interleave(first - starts[column[part]], lengths[part])
            cell = row[entry] * count + others[met]
            new = place[sums[cell] == 0]  # weights are above 0
            last[cell[new]] = new.int()
            touched.append(cell[new[last[cell[new]] == new]])
            sums.scatter_add_(0, cell, torch.minimum(own[entry], their[met]))
        cells = torch.cat(touched).sort().values
        shared = sums[cells].long().cpu().numpy()
        sums[cells] = 0
        places = cells.cpu().numpy()
        yield top, places // count, places % count, shared


def as_points(descriptors: Tensor | ArrayLike, device: torch.device | None) -> Tensor:
    """Convert to (N, D) float32 on the device."""
    points = torch.as_tensor(descriptors if isinstance(descriptors, Tensor) else np.asarray(descriptors)).detach()
    if points.ndim != 2 or 0 in points.shape or points.is_complex():
        raise InputError(f"neighbours: descriptors are {points.dtype} {tuple(points.shape)}: expected (N, D) numbers")
    points = points.to(device=device, dtype=torch.float32)
    wrong = (~points.isfinite().all(dim=1)).nonzero()
    if len(wrong):
        raise InputError(f"neighbours: descriptor of sample {int(wrong[0])} is not finite: expected finite numbers")
    return points


def as_groups(cameras: Sequence[str | None], points: Tensor) -> NDArray[np.int64]:
    """Return a number for each sample's camera, (N,). A sample without a camera gets its own number."""
    if len(cameras) != len(points):
        raise InputError(f"neighbours: {len(cameras)} cameras for {len(points)} samples: expected one each")
    names = ["" if camera is None else str(camera) for camera in cameras]
    groups = np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)
    unknown = np.array([not name for name in names])
    groups[unknown] = len(names) + np.arange(unknown.sum())
    return groups


def check_numbers(least: int = 1, **numbers: int) -> None:
    for name, value in numbers.items():
        if not isinstance(value, int | np.integer) or value < least:
            raise InputError(f"neighbours: {name} is {value}: expected a whole number, at least {least}")
