"""The workload of bench_gallery.py: clustered descriptors, filters of known shares, exact truth, and queries."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHARES = {"all": 1.0, "half": 0.5, "twentieth": 0.05, "two hundredth": 0.005, "ten thousandth": 0.0001}
CLUSTER = 20
SPREAD = 0.5
"""Deviation of a member from its centre; the centres have 1."""
K = 10
SINGLE = 200
BATCH = 1000
CHUNK = 10_000

Floats = NDArray[np.float32]
Search = Callable[[Floats, str], NDArray]
"""(query (D,), name of the share) -> the row numbers of the matches, nearest first."""


def prepare(folder: Path, rows: int, dimension: int) -> None:
    """Write descriptors in random order, cameras, queries and the truth for each share."""
    if (folder / "truth.npz").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(rows)
    centres = chance.standard_normal((-(-rows // CLUSTER), dimension), np.float32)

    def members(clusters: NDArray) -> Floats:
        points = centres[clusters] + np.float32(SPREAD) * chance.standard_normal((len(clusters), dimension), np.float32)
        return points / np.linalg.norm(points, axis=1, keepdims=True)

    vectors = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (rows, dimension))
    clusters = chance.permutation(rows) // CLUSTER
    for at in range(0, rows, CHUNK):
        vectors[at : at + CHUNK] = members(clusters[at : at + CHUNK])
    vectors.flush()
    queries = members(chance.integers(0, len(centres), BATCH))
    np.save(folder / "queries.npy", queries)
    shares = list(SHARES.values())[1:]
    cameras = np.digitize(chance.random(rows), np.cumsum(shares)).astype(np.int8)  # the last number is no filter's
    np.save(folder / "cameras.npy", cameras)
    truth = {name: exact(vectors, queries, np.flatnonzero(mask)) for name, mask in masks(cameras).items()}
    np.savez(folder / "truth.npz", **truth)


def masks(cameras: NDArray) -> dict[str, NDArray[np.bool_]]:
    return {name: np.ones(len(cameras), bool) if not i else cameras == i - 1 for i, name in enumerate(SHARES)}


def exact(vectors: Floats, queries: Floats, among: NDArray) -> NDArray:
    """Return (B, K) row numbers, -1 if there are fewer."""
    found = np.full((len(queries), K), -1)
    scores = np.full((len(queries), K), -np.inf, np.float32)
    for at in range(0, len(among), 50_000):
        rows = among[at : at + 50_000]
        products = np.concatenate([scores, queries @ vectors[rows].T], axis=1)
        names = np.concatenate([found, np.broadcast_to(rows, (len(queries), len(rows)))], axis=1)
        order = np.argsort(-products, axis=1)[:, :K] if len(rows) < K else np.argpartition(-products, K, axis=1)[:, :K]
        scores, found = (np.take_along_axis(values, order, axis=1) for values in (products, names))
    order = np.argsort(-scores, axis=1)
    return np.take_along_axis(found, order, axis=1)


def recall(found: list[NDArray], truth: NDArray) -> tuple[float, float]:
    """Return the shares of the nearest, and of the K nearest, that were found."""
    first = [best[0] == (rows[0] if len(rows) else -1) for rows, best in zip(found, truth, strict=True)]
    hits = sum(len(np.intersect1d(rows[:K], best[best >= 0])) for rows, best in zip(found, truth, strict=True))
    there = int((truth >= 0).sum())
    return float(np.mean(first)), hits / there if there else 1.0


def ask(folder: Path, search: Search) -> dict[str, Any]:
    """Send single queries with each filter. Returns milliseconds, queries per second, recall."""
    queries = np.load(folder / "queries.npy")[:SINGLE]
    truth = np.load(folder / "truth.npz")
    figures = {}
    for name in SHARES:
        for query in queries[:5]:
            search(query, name)
        found, seconds = [], []
        for query in queries:
            start = time.perf_counter()
            found.append(search(query, name))
            seconds.append(time.perf_counter() - start)
        at_1, at_k = recall(found, truth[name][:SINGLE])
        p50, p99 = np.quantile(seconds, [0.5, 0.99]) * 1e3
        figures[name] = {
            "p50_ms": p50, "p99_ms": p99, "queries_per_s": len(seconds) / sum(seconds),
            "recall_at_1": at_1, "recall_at_10": at_k,
        }  # fmt: skip
    return figures
