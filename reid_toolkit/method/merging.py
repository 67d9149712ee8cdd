"""Stepwise merging of clusters by dispersion (Algorithm 1, Eq. 3-8): the public functions and their checks."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from torch import Tensor

from reid_toolkit.errors import InputError
from reid_toolkit.method.agglomeration.bounded import merge_bounded
from reid_toolkit.method.agglomeration.clusters import Clusters, History
from reid_toolkit.method.agglomeration.cost import Criterion, Dispersion
from reid_toolkit.method.agglomeration.dense import NearestPartners
from reid_toolkit.method.agglomeration.distances import ExactDistances
from reid_toolkit.method.agglomeration.linkage import ClusterLinkage
from reid_toolkit.method.agglomeration.matrix import DenseMatrix
from reid_toolkit.method.agglomeration.memory import plan_memory
from reid_toolkit.method.agglomeration.similarity import Criterion as SimilarityCriterion
from reid_toolkit.method.agglomeration.similarity import SimilarClusters, diagonal_places, summed
from reid_toolkit.method.devices import with_float64

OPTIONS = {
    "within": ("mean", "printed"),
    "linkage": ("average", "minimum"),
    "metric": ("euclidean", "squared_euclidean"),
}


ROUNDING = 1e-6
"""Tolerance for a similarity: from symmetry, from the range 0 to 1, and from 1 on the diagonal."""


@dataclass(frozen=True)
class Merging:
    """The result of a stage of merging."""

    labels: Any
    """(N,) int64, 0..C-1, clusters numbered by smallest member index. A CPU tensor when the features were a
    tensor, else a numpy array."""
    history: History
    """One (a, b, cost) for each merge, in order. a < b are the smallest member indices of the two clusters."""


def merge_clusters(
    features: Tensor | ArrayLike,
    labels: Tensor | ArrayLike,
    merges: int,
    *,
    trade_off: float = 0.1,
    within: str = "mean",
    linkage: str = "average",
    metric: str = "euclidean",
    size_weight: float = 0.0,
    cannot_link: Tensor | ArrayLike | None = None,
    device: torch.device | str | None = None,
    max_memory: int | None = None,
) -> Merging:
    """Merge the cheapest pair of clusters, ``merges`` times. Each merge chooses among the clusters left by the last.

    The cost is Eq. 5 with a size term, D_ab = d_ab + λ (d_a + d_b) + w (n_a + n_b). Of equal costs, the smallest
    (a, b) is merged. Sums are exact whole numbers (``agglomeration/distances.py``), so results are the same on every
    device, for every ``max_memory``, and in every storage order except for equal costs.

    Args:
        features: (N, D) float, finite; normally L2-normalised descriptors.
        labels: (N,) integers, equal for samples that are in one cluster at the start.
        merges: k, 0 to C-1, where C counts the clusters at the start.
        trade_off: the paper's λ, at least 0.
        within: d_a, "mean" (average pairwise distance, exact update) or "printed" (Eq. 3 and 7 as printed).
        linkage: d_ab, "average" (DBC, Eq. 4) or "minimum". BUC is "minimum" with trade_off 0.
        metric: "euclidean" or "squared_euclidean".
        size_weight: w of BUC's size term, at least 0.
        cannot_link: (M, 2) integers, pairs of samples that must not be in one cluster.
        device: where to compute; by default the features' device. For a device without float64 (MPS) the CPU is used.
        max_memory: bytes to use in addition to the features; by default a quarter of the machine's memory, or half of a
            GPU's free memory. If the matrix does not fit on a GPU, the machine's memory also holds the features.

    The history is shorter than ``merges`` if cannot-link pairs leave nothing to merge; the merges done until then are
    valid. Raises :class:`InputError`, before any work, if an argument is not as described, if cannot-link pairs allow
    no merge at all, or if they separate samples that ``labels`` puts together.
    """
    check_options(within=within, linkage=linkage, metric=metric)
    check_trade_off("trade_off", trade_off)
    check_trade_off("size_weight", size_weight)
    points = as_features(features, device)
    clusters = Clusters(as_labels(labels, points))
    count = len(clusters)
    if not isinstance(merges, int | np.integer) or not 0 <= merges < count:
        raise InputError(f"merging: merges is {merges}: expected 0 to {count - 1} for {count} clusters")
    plan = plan_memory(count, points.shape[1], points.device, max_memory)
    forbidden = forbidden_pairs(cannot_link, clusters, merges)
    distances = ExactDistances(points, metric)
    criterion = Criterion(trade_off, size_weight, within == "printed", linkage == "minimum", distances.unit)

    if plan.dense:
        links = ClusterLinkage(distances, clusters, criterion.minimum, plan)
        partners = NearestPartners(DenseMatrix(links, forbidden), Dispersion(criterion, links), criterion)
        history = partners.run(merges)
    else:
        history = merge_bounded(distances, clusters, forbidden, merges, criterion, max_memory)

    return as_merging(history, clusters, isinstance(features, Tensor))


def merge_neighbours(
    similarity: sparse.sparray | sparse.spmatrix,
    labels: Tensor | ArrayLike,
    *,
    until: float | None = None,
    merges: int | None = None,
    trade_off: float = 0.1,
    within: str = "mean",
    cannot_link: Tensor | ArrayLike | None = None,
    marks: ArrayLike | None = None,
) -> Merging:
    """Merge the cheapest pair of clusters repeatedly. For samples of which most pairs have no similarity at all.

    The distance of two samples is 1 - similarity, and 1 if none is stored. The merges are those of
    :func:`merge_clusters` on that distance: Eq. 5 with average linkage, stepwise, each time over the clusters that the
    last merge left. With S the sums of stored similarities, Eq. 4 is d_ab = 1 - S_ab / (n_a n_b) and Eq. 3 is
    d_a = 1 - S_aa / n_a², so a merge adds two sparse rows (docs/method.md). Sums are of whole numbers, so the order in
    which samples are stored changes nothing, except that of equal costs the smallest (a, b) is merged.

    Args:
        similarity: (N, N) sparse, symmetric, 0 to 1, with 1 on the diagonal, as ``method.neighbours`` makes it.
            Deviations up to 1e-6 count as rounding.
        labels: (N,) integers, equal for samples that are in one cluster at the start.
        until: stop when the least cost exceeds this; at least 0 and under 1. At 1, samples without any similarity would
            merge.
        merges: stop after this many, 0 to C-1, where C counts the clusters at the start. Give this or ``until``, or
            both.
        trade_off: the paper's λ, at least 0.
        within: d_a, "mean" (average pairwise distance, exact update) or "printed" (Eq. 3 and 7 as printed).
        cannot_link: (M, 2) integers, pairs of samples that must not be in one cluster.
        marks: (N,) integers, equal for samples of one known group, -1 for other samples. Two groups never merge. The
            same could be said by a pair of samples for every two groups, but that takes memory for their square.
            Samples that ``labels`` puts together count as one group.

    The history is shorter than ``merges`` if cannot-link pairs leave nothing to merge. Raises :class:`InputError`,
    before any work, if an argument is not as described.
    """
    check_options(within=within)
    check_trade_off("trade_off", trade_off)
    if until is None and merges is None:
        raise InputError("merging: neither until nor merges is given: expected one of them, or both")
    if until is not None and not 0 <= until < 1:
        raise InputError(f"merging: until is {until}: expected at least 0 and under 1, the cost without similarity")
    stored = as_similarity(similarity)
    clusters = Clusters(as_labels(labels, torch.empty(stored.shape[0], 1)).cpu())
    count = len(clusters)
    if merges is None:
        merges = count - 1
    if not isinstance(merges, int | np.integer) or not 0 <= merges < count:
        raise InputError(f"merging: merges is {merges}: expected 0 to {count - 1} for {count} clusters")
    # No sum exceeds the sum of all similarities, so int64 never overflows.
    bits = min(52, 62 - math.ceil(math.log2(max(stored.nnz, 2))))
    sums, own = summed(as_whole_numbers(stored, bits), clusters.labels.numpy())
    forbidden = forbidden_pairs(cannot_link, clusters, merges).numpy()
    criterion = SimilarityCriterion(trade_off, within == "printed", 2.0**-bits)
    marked = None if marks is None else marks_of(marks, clusters)
    similar = SimilarClusters(sums, own, clusters.sizes.numpy(), forbidden, criterion, marked)
    return as_merging(similar.run(until, int(merges)), clusters, isinstance(labels, Tensor))


def marks_of(marks: ArrayLike, clusters: Clusters) -> NDArray[np.int64]:
    """The mark of each cluster, (C,): of its samples' marks, the largest."""
    values = np.asarray(marks)
    if values.shape != (len(clusters.labels),) or not np.issubdtype(values.dtype, np.integer):
        raise InputError(
            f"merging: marks are {values.dtype} {values.shape}: expected ({len(clusters.labels)},) integers"
        )
    found = np.full(len(clusters), -1)
    np.maximum.at(found, clusters.labels.numpy(), values.astype(np.int64))
    return found


def as_merging(history: History, clusters: Clusters, tensor: bool) -> Merging:
    """Make the result: clusters named by their smallest members, labels as a tensor or as a numpy array."""
    final = clusters.owners_after(history)[clusters.labels].cpu()
    first = clusters.first.tolist()
    return Merging(
        labels=final if tensor else final.numpy(), history=[(first[a], first[b], cost) for a, b, cost in history]
    )


def check_trade_off(name: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise InputError(f"merging: {name} is {value}: expected a finite number, at least 0")


def as_similarity(similarity: sparse.sparray | sparse.spmatrix) -> sparse.csr_array:
    """Check and convert to (N, N) CSR with sorted rows: 0 to 1 and symmetric within :data:`ROUNDING`."""
    if not sparse.issparse(similarity) or similarity.ndim != 2 or similarity.shape[0] != similarity.shape[1]:
        kind = getattr(similarity, "shape", type(similarity).__name__)
        raise InputError(f"merging: similarity is {kind}: expected a square (N, N) scipy.sparse array")
    if not similarity.shape[0]:
        raise InputError("merging: similarity is empty: expected at least one sample")
    stored = sparse.csr_array(similarity)
    if not stored.has_canonical_format:
        stored = stored.copy()
        stored.sum_duplicates()
    wrong = np.flatnonzero(~((stored.data >= -ROUNDING) & (stored.data <= 1 + ROUNDING)))
    if len(wrong):
        i = int(np.searchsorted(stored.indptr, wrong[0], side="right")) - 1
        raise InputError(
            f"merging: similarity of samples {i} and {stored.indices[wrong[0]]} is {stored.data[wrong[0]]}: "
            "expected 0 to 1"
        )
    wrong = np.flatnonzero(np.abs(stored.diagonal() - 1) > ROUNDING)
    if len(wrong):
        raise InputError(
            f"merging: similarity of sample {wrong[0]} with itself is {stored.diagonal()[wrong[0]]}: expected 1"
        )
    turned = stored.T.tocsr()
    if all(np.array_equal(getattr(turned, part), getattr(stored, part)) for part in ("indptr", "indices", "data")):
        return stored
    uneven = sparse.coo_array(stored - turned)
    wrong = np.flatnonzero(np.abs(uneven.data) > ROUNDING)
    if len(wrong):
        i, j = (int(part[wrong[0]]) for part in uneven.coords)
        raise InputError(
            f"merging: similarity is not symmetric: {stored[i, j]} for samples {i} and {j}, {stored[j, i]} for {j} "
            f"and {i}: expected equal numbers; (A + A.T) / 2 of a matrix A is symmetric"
        )
    return sparse.csr_array((stored + turned) / 2)


def as_whole_numbers(stored: sparse.csr_array, bits: int) -> sparse.csr_array:
    """Round the similarities to steps of 2^-bits, (N, N) int64: exactly symmetric, 0 to 1, and 1 on the diagonal."""
    data = np.empty(stored.nnz, np.int64)
    for start in range(0, stored.nnz, 1 << 22):
        part = slice(start, start + (1 << 22))
        data[part] = np.rint(np.clip(stored.data[part].astype(np.float64), 0, 1) * 2.0**bits)
    whole = sparse.csr_array((data, stored.indices, stored.indptr), shape=stored.shape)
    data[diagonal_places(whole)] = 1 << bits
    return whole


def check_options(**chosen: str) -> None:
    """Raise :class:`InputError` for a value that :data:`OPTIONS` does not list."""
    for name, value in chosen.items():
        if value not in OPTIONS[name]:
            expected = " or ".join(map(repr, OPTIONS[name]))
            raise InputError(f"merging: {name} is {value!r}: expected {expected}")


def as_tensor(name: str, values: Tensor | ArrayLike) -> Tensor:
    """Convert to a tensor, over the same memory if possible. Raises :class:`InputError` if values are not numbers."""
    if isinstance(values, Tensor):
        return values.detach()
    array = np.ascontiguousarray(values)
    try:
        return torch.from_numpy(array if array.flags.writeable else array.copy())
    except (TypeError, ValueError):
        raise InputError(f"merging: {name} are an array of {array.dtype}: expected numbers") from None


def as_features(features: Tensor | ArrayLike, device: torch.device | str | None) -> Tensor:
    """Convert the features to a (N, D) floating tensor on the device; they are copied only if necessary.

    Raises :class:`InputError` for another shape, complex numbers, or a device that cannot be used.
    """
    points = as_tensor("features", features)
    if points.ndim != 2 or 0 in points.shape:
        raise InputError(f"merging: features have shape {tuple(points.shape)}: expected (N, D), neither of them 0")
    if points.is_complex():
        raise InputError(f"merging: features are {points.dtype}: expected real numbers")
    try:
        chosen = with_float64(points.device if device is None else torch.device(device))
        return points.to(device=chosen, dtype=None if points.is_floating_point() else torch.float64)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"merging: device {device} cannot be used: {reason}; expected e.g. 'cpu'") from None


def as_labels(labels: Tensor | ArrayLike, points: Tensor) -> Tensor:
    """Convert the labels to a (N,) int64 tensor on the device of ``points``. Raises :class:`InputError` otherwise."""
    values = as_tensor("labels", labels)
    if values.shape != points.shape[:1]:
        raise InputError(f"merging: labels have shape {tuple(values.shape)}: expected ({len(points)},), one a sample")
    if values.is_floating_point() or values.is_complex():
        raise InputError(f"merging: labels are {values.dtype}: expected integers")
    return values.to(device=points.device, dtype=torch.int64)


def forbidden_pairs(cannot_link: Tensor | ArrayLike | None, clusters: Clusters, merges: int) -> Tensor:
    """Turn pairs of samples into sorted, distinct pairs (a, b), a < b, of clusters that may not merge; (M, 2) int64.

    Raises :class:`InputError` as :func:`merge_clusters` says.
    """
    device = clusters.labels.device
    pairs = torch.empty(0, 2) if cannot_link is None else as_tensor("cannot_link", cannot_link)
    if not pairs.numel():
        return torch.empty(0, 2, dtype=torch.int64, device=device)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.is_floating_point():
        raise InputError(f"merging: cannot_link is {pairs.dtype} {tuple(pairs.shape)}: expected (M, 2) sample indices")
    pairs = pairs.to(device=device, dtype=torch.int64)
    samples = len(clusters.labels)
    if bool(((pairs < 0) | (pairs >= samples)).any()):
        raise InputError(f"merging: cannot_link names samples outside 0..{samples - 1}: expected sample indices")
    owners = clusters.labels[pairs]
    together = (owners[:, 0] == owners[:, 1]).nonzero()
    if len(together):
        i, j = pairs[int(together[0])].tolist()
        raise InputError(
            f"merging: cannot_link separates samples {i} and {j}, which labels put in one cluster: "
            "expected pairs from different clusters; split the cluster or drop the pair"
        )
    owners = owners.sort(dim=1).values
    count = len(clusters)
    codes = (owners[:, 0] * count + owners[:, 1]).unique()
    if merges and len(codes) == count * (count - 1) // 2:
        raise InputError(
            f"merging: cannot_link separates every two of the {count} clusters, so that none can merge: "
            "expected at least one allowed pair; stop merging here"
        )
    return torch.stack([codes // count, codes % count], dim=1)
