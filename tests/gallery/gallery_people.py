"""People without pictures: clustered descriptors and their records."""

import numpy as np

from reid_toolkit.records import Record

D = 16
N = 400


def make_people(seed: int = 0, count: int = N) -> tuple[np.ndarray, list[Record]]:
    """``count`` / 4 people of four tracklets each, one in each of four cameras."""
    rng = np.random.default_rng(seed)
    vectors = np.repeat(rng.normal(size=(count // 4, D)), 4, axis=0) + 0.2 * rng.normal(size=(count, D))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    tags = ((), ("hat",), ("bag", "hat"))
    return vectors, [
        Record(f"t{i}", "abcd"[i % 4], float(i), float(i), f"/s/{i % 7}", tags=tags[i % 3]) for i in range(count)
    ]
