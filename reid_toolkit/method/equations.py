"""Eq. 2-8 of Ding et al., "Dispersion based Clustering for Unsupervised Person Re-identification", in order.

A training step calls Eq. 2, and merging calls Eq. 5 and the printed Eq. 7. Only tests call Eq. 3, 4, 6, the exact
Eq. 7 and Eq. 8.

Each function is one formula, written as in the paper, and the tests compare the fast code with it. Merging computes
Eq. 3, 4, 6 and the exact Eq. 7 as running sums of whole numbers instead of means, so that the order of summation
cannot change a result (``agglomeration/distances.py``). docs/method.md argues for these readings of the paper.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import log_softmax, nll_loss

Value = TypeVar("Value", float, Tensor, NDArray[np.float64])
"""A number, or a tensor or an array of numbers taken element by element."""


def repelled_log_probabilities(features: Tensor, table: Tensor, temperature: float) -> Tensor:
    """Eq. 2: log p(y | x, V) = V_y·v/τ - log Σ_j exp(V_j·v/τ), the sum over the C current clusters.

    ``features`` v is (B, D) and ``table`` V is (C, D), both with L2-normalised rows; returns (B, C).
    """
    return log_softmax(features @ table.T / temperature, dim=1)  # (B, D) @ (D, C) -> (B, C)


def repelled_loss(
    features: Tensor, labels: Tensor, table: Tensor, temperature: float, weights: Tensor | None = None
) -> Tensor:
    """The mean of -log p(y | x, V) of Eq. 2 over a batch; ``labels`` (B,) int64 in 0..C-1; a scalar.

    ``weights`` (B,) multiply each sample's term; not in the paper.
    """
    log_probabilities = repelled_log_probabilities(features, table, temperature)
    if weights is None:
        return nll_loss(log_probabilities, labels)
    return (nll_loss(log_probabilities, labels, reduction="none") * weights).mean()


def sample_distances(a: Tensor, b: Tensor, metric: str = "euclidean") -> Tensor:
    """dist(a_i, b_j) = ‖a_i - b_j‖, or its square for "squared_euclidean"; (n, D), (m, D) -> (n, m).

    The distances are computed from differences. This stays exact for points that nearly coincide, but uses n·m·D
    memory.
    """
    squared = (a[:, None] - b[None]).square().sum(dim=2)
    return squared if metric == "squared_euclidean" else squared.sqrt()


def within_dispersion(samples: Tensor, reading: str = "mean", metric: str = "euclidean") -> Tensor:
    """Eq. 3, the dispersion d_a of one cluster; ``samples`` (n, D), a scalar.

    "mean": (1/n²) Σ_{i,j} dist(i, j), the average pairwise distance that the text defines (our default).
    "printed": (1/n) Σ_{i,j} dist(i, j), as the formula stands.
    """
    n = len(samples)
    return sample_distances(samples, samples, metric).sum() / (n * n if reading == "mean" else n)


def between_dispersion(a: Tensor, b: Tensor, metric: str = "euclidean") -> Tensor:
    """Eq. 4: d_ab = (1/(n_a n_b)) Σ_{i∈a, j∈b} dist(i, j); ``a`` (n_a, D), ``b`` (n_b, D), a scalar."""
    return sample_distances(a, b, metric).mean()


def merging_cost(between: Value, within_a: Value, within_b: Value, trade_off: float) -> Value:
    """Eq. 5: D_ab = d_ab + λ (d_a + d_b), with λ the ``trade_off``."""
    return between + trade_off * (within_a + within_b)


def merged_between(between_as: Value, between_bs: Value, size_a: Value, size_b: Value) -> Value:
    """Eq. 6: d_qs = (n_a d_as + n_b d_bs) / (n_a + n_b) for q = a ∪ b; exact for Eq. 4."""
    return (size_a * between_as + size_b * between_bs) / (size_a + size_b)


def merged_within(within_a: Value, within_b: Value, between: Value, size_a: Value, size_b: Value) -> Value:
    """Eq. 7 made exact for Eq. 3's "mean": d_q = (n_a² d_a + n_b² d_b + 2 n_a n_b d_ab) / (n_a + n_b)²."""
    total = size_a * size_a * within_a + size_b * size_b * within_b + 2.0 * size_a * size_b * between
    return total / ((size_a + size_b) * (size_a + size_b))


def merged_within_printed(within_a: Value, within_b: Value, between: Value, size_a: Value, size_b: Value) -> Value:
    """Eq. 7 as printed: d_q = (n_a d_a + n_b d_b + n_a n_b d_ab) / (n_a + n_b + n_a n_b)."""
    total = size_a * within_a + size_b * within_b + size_a * size_b * between
    return total / (size_a + size_b + size_a * size_b)


def labels_of_clusters(clusters: Sequence[Sequence[int]]) -> Tensor:
    """Eq. 8: y_i = j for every x_i in cluster j; the clusters cover 0..N-1 once; returns (N,) int64."""
    labels = torch.empty(sum(map(len, clusters)), dtype=torch.int64)
    for j, members in enumerate(clusters):
        labels[list(members)] = j
    return labels
