"""The workload of bench_merging.py: floors, timing, and people in cameras with their neighbours."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from machine import forget_peak, memory
from numpy.typing import NDArray
from torch import Tensor

from reid_toolkit.method.merging import Merging, merge_clusters, merge_neighbours
from reid_toolkit.method.neighbours import as_groups, camera_aware_similarity, nearest, reciprocal_similarity

PERSON, CAMERAS = 20, 6
"""Samples of a person, and number of cameras."""
BIAS, NOISE = 0.7, 0.7
"""How far a camera shifts the people it sees, and a sample deviates from its person, if people are 1 apart in each
direction."""
UNTIL, TRADE_OFF = 0.8, 0.1
"""dbc_cameras' settings."""
DENSE = 8000
"""With more samples, merge_clusters' matrix takes more time than a benchmark should."""
WITHIN, ACROSS = 5, 20
"""Neighbours that camera_aware_similarity searches for."""
HNSW = {"M": 16, "ef_construction": 200}
EF = 100


def people(count: int, dimension: int, device: str = "cpu") -> tuple[Tensor, list[str], Tensor]:
    """Make rows of length 1 (N, D), the camera of each, and the person of each, (N,)."""
    generator = torch.Generator(device).manual_seed(count)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device)

    persons = max(1, count // PERSON)
    person = torch.randint(persons, (count,), generator=generator, device=device)
    camera = torch.randint(CAMERAS, (count,), generator=generator, device=device)
    looks, bias = normal(persons, dimension), BIAS * normal(CAMERAS, dimension)
    features = torch.empty(count, dimension, device=device)
    for part, who, where in zip(features.split(4096), person.split(4096), camera.split(4096), strict=True):
        torch.add(looks[who], bias[where], out=part)
        part += NOISE * normal(*part.shape)
    torch.nn.functional.normalize(features, out=features)
    return features, [f"camera {number}" for number in camera.tolist()], person.cpu()


def measure_people(
    path: str,
    count: int,
    dimension: int,
    device: str,
    repeats: int,
    note: Callable[[dict[str, Any]], None] = lambda row: None,
) -> dict[str, Any]:
    """Measure one row of the table of neighbours in this process. ``note`` gets what is known before the measurement,
    and before the merging."""
    features, cameras, person = people(count, dimension, device)
    row = {"data": "people", "path": path, "samples": count, "dimension": dimension, "repeats": repeats}
    floor = floor_seconds(features)  # also warms up
    if path == "hnswlib":
        return row | approximate(features, cameras) | {"floor_seconds": floor}

    def similar(rows: int) -> Any:
        if path == "camera_aware":
            return camera_aware_similarity(features[:rows], cameras[:rows], within=WITHIN, across=ACROSS)
        return reciprocal_similarity(features[:rows])

    def merged() -> Merging:
        return merge_neighbours(similarity, labels, until=UNTIL, trade_off=TRADE_OFF)

    similar(64)  # loads libraries that the first use loads
    note(row)
    similarity, row["neighbours"] = timed(lambda: similar(count), features, repeats)
    row["neighbours"]["ratio_to_products"] = row["neighbours"]["seconds"] / floor
    row["stored_per_sample"] = similarity.nnz / count
    row["similarity_megabytes"] = sum(part.nbytes for part in (similarity.data, similarity.indices)) / 1e6
    note(row)
    labels = np.arange(count)
    found, row["merging"] = timed(merged, features, repeats)
    row["merging"] |= {"merges": len(found.history), "clusters": int(found.labels.max()) + 1}
    row["merging"]["precision"], row["merging"]["recall"] = pairs(found.labels, person.numpy())
    if count <= DENSE:
        room = 16 * count * count + (1 << 30)  # so that it takes the matrix of all pairs
        _, dense = timed(lambda: merge_clusters(features, labels, len(found.history), max_memory=room), features, 1)
        row["merge_clusters"] = dense
        row["merging"]["ratio_to_merge_clusters"] = row["merging"]["seconds"] / dense["seconds"]
    row["seconds"] = row["neighbours"]["seconds"] + row["merging"]["seconds"]
    return row | {"floor_seconds": floor, "ratio": row["seconds"] / floor}


def approximate(features: Tensor, cameras: list[str]) -> dict[str, Any]:
    """Compare hnswlib's neighbours with the exact ones: seconds to build and to search, and the recall of the lists."""
    import hnswlib

    points, groups = features.cpu().numpy(), as_groups(cameras, features)

    def index(rows: NDArray[np.int64]) -> Any:
        made = hnswlib.Index("l2", points.shape[1])
        made.init_index(len(rows), random_seed=0, **HNSW)
        made.set_num_threads(torch.get_num_threads())
        made.add_items(points[rows], rows)
        made.set_ef(EF)
        return made

    def blind() -> tuple[NDArray[np.int64], ...]:
        found, _ = index(np.arange(len(points))).knn_query(points, ACROSS + 1)
        return (found.astype(np.int64),)

    def aware() -> tuple[NDArray[np.int64], ...]:
        """Use an index per camera. Its own samples ask it for few neighbours, all others for many; the nearest are
        kept."""
        members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
        own = np.empty((len(points), WITHIN + 1), np.int64)
        other = np.empty((len(points), 0), np.int64)
        far = np.empty((len(points), 0), np.float32)
        for inside in members:
            asked = index(inside)
            own[inside] = asked.knn_query(points[inside], WITHIN + 1)[0]
            outside = np.setdiff1d(np.arange(len(points)), inside)
            seen = np.full((len(points), ACROSS), -1)
            apart = np.full((len(points), ACROSS), np.inf, np.float32)
            seen[outside], apart[outside] = asked.knn_query(points[outside], ACROSS)
            other, far = np.concatenate([other, seen], axis=1), np.concatenate([far, apart], axis=1)
            nearer = far.argsort(axis=1)[:, :ACROSS]
            other, far = np.take_along_axis(other, nearer, 1), np.take_along_axis(far, nearer, 1)
        return own, other

    row: dict[str, Any] = {"settings": HNSW | {"ef": EF}}
    for name, guess, exact in (
        ("all", blind, lambda: nearest(features, (ACROSS,))),
        ("cameras", aware, lambda: nearest(features, (WITHIN, ACROSS), groups)),
    ):
        truth, by_all = timed(exact, features, 1)
        found, by_index = timed(guess, features, 1)
        row[name] = {
            "exact": by_all, "hnswlib": by_index, "ratio": by_index["seconds"] / by_all["seconds"],
            "recall": [recall(*lists) for lists in zip(found, truth, strict=True)],
        }  # fmt: skip
    return row | {"seconds": row["cameras"]["hnswlib"]["seconds"], "ratio": row["cameras"]["ratio"]}


def recall(found: NDArray[np.int64], truth: NDArray[np.int64]) -> float:
    """Return the share of ``truth`` (N, k), without -1, that ``found`` (N, n) has in the same row."""
    hits = sum(int(np.isin(right[right >= 0], guess).sum()) for guess, right in zip(found, truth, strict=True))
    return hits / max(1, int((truth >= 0).sum()))


def pairs(labels: NDArray[np.int64], person: NDArray[np.int64]) -> tuple[float, float]:
    """Return precision and recall of the pairs of samples that ``labels`` put together."""

    def together(names: NDArray[np.int64]) -> float:
        sizes = np.unique(names, return_counts=True)[1].astype(np.float64)
        return float((sizes * (sizes - 1)).sum())

    right = together(labels * (int(person.max()) + 1) + person)
    return right / max(1.0, together(labels)), right / max(1.0, together(person))


def timed(run: Callable[[], Any], features: Tensor, repeats: int) -> tuple[Any, dict[str, float]]:
    """Return the result of ``run``, with its median seconds and its peak memory above what was there before."""
    result, seconds = None, []
    before = forget_peak()
    held = torch.cuda.memory_allocated() if features.is_cuda else 0
    if features.is_cuda:
        torch.cuda.reset_peak_memory_stats()
    for _ in range(repeats):
        result = None
        start = time.perf_counter()
        result = run()
        synchronise(features)
        seconds.append(time.perf_counter() - start)
    found = {"seconds": float(np.median(seconds)), "spread": max(seconds) - min(seconds)}
    found["peak_megabytes"] = (memory("VmHWM") - before) / 1e6
    if features.is_cuda:
        found["peak_gpu_megabytes"] = (torch.cuda.max_memory_allocated() - held) / 1e6
    return result, found


def floor_seconds(features: Tensor) -> float:
    """Time one pass of bare float32 products; if all rows would take minutes, over a part of them, scaled up."""
    rows = features[: min(len(features), 16384)]
    synchronise(features)
    start = time.perf_counter()
    for block in rows.split(2048):
        _ = block @ features.T if len(features) <= 32768 else [block @ part.T for part in features.split(32768)]
    synchronise(features)
    return (time.perf_counter() - start) * len(features) / len(rows)


def synchronise(features: Tensor) -> None:
    if features.is_cuda:
        torch.cuda.synchronize()
