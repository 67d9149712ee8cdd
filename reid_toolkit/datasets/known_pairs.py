"""Pairs of a dataset's tracklets of which a user said whether they show one person.

They are no identities: training and calibration may use them, and evaluation never sees them.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid_toolkit.files import parse_json
from reid_toolkit.records import Tracklet

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class KnownPairs:
    """Pairs of names of tracklets. Both kinds are sorted, and so is each pair. They do not contradict each other."""

    same: Pairs = ()
    """Pairs that show one person."""
    different: Pairs = ()
    """Pairs that show two people."""

    def __len__(self) -> int:
        return len(self.same) + len(self.different)

    def among(self, names: set[str]) -> "KnownPairs":
        """The pairs of which both tracklets are among ``names``."""
        same, different = (
            tuple(pair for pair in pairs if names.issuperset(pair)) for pairs in (self.same, self.different)
        )
        return KnownPairs(same, different)

    def places(self, tracklets: Sequence[Tracklet]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the must-links (M, 2) and cannot-links (K, 2) as places in ``tracklets``.

        A tracklet may have become several samples, each with some of its crops: then a must-link ties all of them, and
        a cannot-link keeps all of them apart. Pairs with a tracklet that is not here are left out.
        """
        found: defaultdict[str, list[int]] = defaultdict(list)
        for place, tracklet in enumerate(tracklets):
            found[tracklet.crops[0].tracklet].append(place)
        here = self.among(set(found))
        same = [link for one, other in here.same for link in pairwise([*found[one], *found[other]])]
        different = [link for one, other in here.different for link in product(found[one], found[other])]
        return as_places(same), as_places(different)

    def counts(self) -> dict[str, int]:
        """The number of pairs of each kind, for a file that says what was used."""
        return {"same": len(self.same), "different": len(self.different)}

    def to_json(self) -> str:
        """The pairs as text that :meth:`from_json` reads."""
        return json.dumps({"same": self.same, "different": self.different}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "KnownPairs":
        """Read what :meth:`to_json` wrote. Raises :class:`ValueError` for other text."""
        table: Any = parse_json(text)
        try:
            same, different = (tuple((str(a), str(b)) for a, b in table[kind]) for kind in ("same", "different"))
        except (TypeError, KeyError) as error:
            raise ValueError(f"no pairs of tracklets: {error!r}") from None
        return cls(same, different)

    @property
    def digest(self) -> str:
        """16 hex digits that identify the pairs."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]


NO_PAIRS = KnownPairs()


def as_places(pairs: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Pairs of places as (M, 2) int64, each pair sorted, without repeats."""
    return np.unique(np.sort(np.array(pairs, np.int64).reshape(-1, 2), axis=1), axis=0)
