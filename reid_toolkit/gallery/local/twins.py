"""Find rows of descriptors that are equal in every bit: black frames, a logo, a mannequin, a picture enrolled twice.

Many equal rows spoil a graph of nearest neighbours: each has only the others as neighbours, and a search that reaches
them cannot leave them again.
"""

import numpy as np
from numpy.typing import NDArray

CHUNK = 512
"""Number of rows hashed at a time, small enough for the processor's cache."""


class Twins:
    """For each added row, the first row that is equal to it. That row stands for all of them."""

    def __init__(self, dimension: int) -> None:
        even = dimension + dimension % 2
        self._factors = np.random.default_rng(0).integers(1, 2**63, even // 2, dtype=np.uint64) | np.uint64(1)
        self._sorted = np.empty(0, np.uint64)
        self._rows = np.empty(0, np.intp)
        self._recent: dict[int, int] = {}
        """Hash -> row, for rows that were added since the two arrays were sorted."""

    def stand_ins(self, vectors: NDArray[np.float32], first: int) -> NDArray[np.intp]:
        """Add rows (n, D), numbered from ``first`` on. Gives for each the first row with the same hash: itself, or an
        earlier row that is probably equal. The caller must compare them."""
        found, recent = self.hashes(vectors), self._recent
        places = np.searchsorted(self._sorted, found)
        known = places < len(self._sorted)
        known[known] = self._sorted[places[known]] == found[known]
        stands = np.arange(first, first + len(vectors))
        stands[known] = self._rows[places[known]]
        for place in np.flatnonzero(~known).tolist():
            stands[place] = recent.setdefault(int(found[place]), first + place)
        if 10 * len(recent) > len(self._rows):
            hashes = np.concatenate([self._sorted, np.fromiter(recent, np.uint64, len(recent))])
            rows = np.concatenate([self._rows, np.fromiter(recent.values(), np.intp, len(recent))])
            order = np.argsort(hashes, kind="stable")
            self._sorted, self._rows = hashes[order], rows[order]
            recent.clear()
        return stands

    def hashes(self, vectors: NDArray[np.float32]) -> NDArray[np.uint64]:
        """A hash (n,) of the bits of each row (n, D)."""
        result = np.empty(len(vectors), np.uint64)
        for at in range(0, len(vectors), CHUNK):
            part = np.ascontiguousarray(vectors[at : at + CHUNK])
            if part.shape[1] % 2:
                part = np.pad(part, ((0, 0), (0, 1)))
            result[at : at + CHUNK] = np.einsum("ij,j->i", part.view(np.uint64), self._factors)
        return result
