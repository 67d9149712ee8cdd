"""Distances between samples as whole numbers, so that their sums are exact on every device and in every order.

Merging compares sums of very many distances, and equal sums must compare equal. Floating point does not
give that: the last bits of a matrix product depend on block size, thread count and device. Therefore:

- Features are rounded to multiples of a power of two, 2^-25 of the largest norm. This is a little coarser than
  float32. (The float32 identity ‖a‖² + ‖b‖² - 2ab is 1,000 times coarser near zero.)
- Products and squared distances are then whole numbers under 2^53, which float64 holds without rounding in any
  order of summation.
- IEEE 754 rounds square roots correctly. They are rounded up to whole numbers of a finer grid, so that only equal
  points are at distance 0.
- These distances are summed as int64.

Every d_ab, and so every merge, depends on the features alone: not on blocks, threads, device, storage order or
path. docs/method.md bounds the error against real arithmetic.
"""

import math
from copy import copy
from functools import cached_property

import torch
from torch import Tensor

from reid_toolkit.errors import InputError

FEATURE_BITS = 25
"""Norms are at most 2^(25 + 1/4) units: a squared distance is then at most 2^52.5, under float64's 2^53."""

SUM_BITS = 62
"""No sum over ordered pairs of samples passes 2^62, so that int64 never overflows."""


class ExactDistances:
    """Whole-number distances between rows of ``features``; the length of 1 is ``unit``."""

    def __init__(self, features: Tensor, metric: str) -> None:
        """``features`` (N, D) floating; ``metric`` "euclidean" or "squared_euclidean".

        Raises :class:`InputError` when a feature is not finite.
        """
        self.features = features
        self.squared = metric == "squared_euclidean"
        largest = largest_norm(features)
        # The exponent is rounded with a quarter to spare. So in the common case, norms of 1 give or take a rounding
        # error, no norm is at the point where the grid would change.
        exponent = math.floor(math.log2(largest) + 0.75) if largest > 0 else 0
        self.grid = math.ldexp(1.0, exponent - FEATURE_BITS)
        bits = 2 * FEATURE_BITS + 3 if self.squared else FEATURE_BITS + 2
        pairs = 2 * math.ceil(math.log2(max(len(features), 2)))
        self.shift = min(SUM_BITS - pairs - bits, 53 - bits)
        self.unit = math.ldexp(self.grid**2 if self.squared else self.grid, -self.shift)
        parts = torch.arange(len(features), device=features.device).split(4096)
        self.norms = torch.cat([self.rounded(part).square_().sum(dim=1) for part in parts])
        """(N,) whole squared norms, float64."""
        self.last_rows: tuple[Tensor, Tensor] | None = None

    @cached_property
    def host(self) -> "ExactDistances":
        """Return the same distances with the features in the machine's memory, copied there at the first use."""
        copied = copy(self)
        copied.features, copied.norms, copied.last_rows = self.features.cpu(), self.norms.cpu(), None
        return copied

    def rounded(self, rows: Tensor) -> Tensor:
        """Return the samples ``rows`` (n,) as whole numbers of the grid, (n, D) float64."""
        return self.features[rows].double().div_(self.grid).round_()

    def block(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the distances of every sample in ``rows`` (n,) to every sample in ``columns`` (m,); (n, m) int64."""
        if self.last_rows is None or self.last_rows[0] is not rows:  # callers walk along a row of blocks
            self.last_rows = None
            self.last_rows = rows, self.rounded(rows)
        a = self.last_rows[1]
        b = a if columns is rows else self.rounded(columns)
        squared = self.norms[rows, None] + self.norms[columns]
        return self.whole(squared.addmm_(a, b.T, alpha=-2.0))  # (n, D) @ (D, m) -> (n, m), exact

    def paired(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the distance of ``rows[i]`` to ``columns[i]``; (n,), (n,) -> (n,) int64."""
        return self.whole(self.rounded(rows).sub_(self.rounded(columns)).square_().sum(dim=1))

    def whole(self, squared: Tensor) -> Tensor:
        """Convert whole squared distances to whole distances, rounded up. Overwrites ``squared``."""
        distance = squared if self.squared else squared.sqrt_()
        return distance.mul_(math.ldexp(1.0, self.shift)).ceil_().long()


def largest_norm(features: Tensor) -> float:
    """Return the largest row norm of ``features`` (N, D). Raises :class:`InputError` if a value is not finite."""
    largest = 0.0
    for start in range(0, len(features), 4096):
        norms = torch.linalg.vector_norm(features[start : start + 4096], dim=1, dtype=torch.float64)
        bad = (~norms.isfinite()).nonzero()
        if len(bad):
            raise InputError(
                f"merging: features of sample {start + int(bad[0])} are not finite (or overflow): "
                "expected finite numbers"
            )
        largest = max(largest, float(norms.max()))
    return largest
