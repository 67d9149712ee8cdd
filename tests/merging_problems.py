"""Samples to merge, and a division of memory in which the matrix of clusters has no place."""

import numpy as np

from reid_toolkit.method.agglomeration.memory import Plan

ROOMY = Plan(dense=False, block_size=64, entries=4096, scanned=1024, pairs=10**6, means=True)


def blobs(n, d, seed=0):
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((n // 8, d))
    x = centres[generator.integers(0, n // 8, n)] + 0.3 * generator.standard_normal((n, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
