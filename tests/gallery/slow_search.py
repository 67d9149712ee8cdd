"""The obvious search, to compare with."""

import numpy as np

from reid_toolkit.gallery import Filter
from reid_toolkit.records import Record


def half(vectors: np.ndarray) -> np.ndarray:
    return vectors.astype(np.float16).astype(np.float64)


def passes(record: Record, given: Filter) -> bool:
    timed = record.start is not None and record.end is not None
    return (
        (given.cameras is None or record.camera in given.cameras)
        and (given.since is None or (timed and record.end >= given.since))
        and (given.until is None or (timed and record.start <= given.until))
        and (
            given.sources is None or any(record.source == s or record.source.startswith(s + "/") for s in given.sources)
        )
        and set(given.tags) <= set(record.tags)
        and record not in given.exclude
    )


def slow_search(vectors: np.ndarray, records: list[Record], query: np.ndarray, k: int, given: Filter) -> list[Record]:
    """All distances to what passes, sorted; ties by order."""
    wide = half(vectors)
    found = [
        (round(float(np.linalg.norm(wide[at] - query)), 6), at) for at, row in enumerate(records) if passes(row, given)
    ]
    return [records[at] for _, at in sorted(found)[:k]]
