"""Measures how the cost of a merging stage grows: time, peak memory and stored pairs, compared with other code.

    python tools/bench_merging.py --out merging.json      the table of docs/benchmarks.md: JSON, and a plot
    python tools/bench_merging.py --device cuda --sizes 16522 100000 --dimension 2048 --paths bounded --out gpu.json
    python tools/bench_merging.py --data people --out people.json       neighbours and merging on them
    python tools/bench_merging.py --million --out million.json          the same of 1,000,000 x 2048 on a GPU

Each measurement runs in its own process, so that its peak memory can be measured. Times are given in seconds and as
ratios to the floor measured in the same process: the bare float32 products of every sample with every other, N x D by
D x N, block by block, without storing them. scipy, scikit-learn and fastcluster build the whole tree; they are included
for scale, and left out if they are not installed. Memory is the peak above the process with the features loaded.

A row has the seconds until its measurement began (start, data, floor). A row that was given up has what was measured
until then, and for how long: "at_least_seconds".

"people" have about 20 samples each, in six cameras that each shift what they see. Their paths are "camera_aware" and
"reciprocal": the similarity and then merge_neighbours on it. They are compared with the products and, if it fits, with
merge_clusters' matrix for as many merges. The path "hnswlib" compares its neighbours with the exact ones. These paths
write no plot.
"""

import argparse
import dataclasses
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import forget_peak, memory, origin, save
from merging_workload import floor_seconds, measure_people, synchronise

from reid_toolkit.method import merging
from reid_toolkit.method.agglomeration import bounded
from reid_toolkit.method.merging import merge_clusters

SIZES = (1000, 2000, 4000, 8000, 16522, 30000, 100000)
DATA = ("clustered", "no structure", "duplicates", "later stage")
NEIGHBOURS = ("camera_aware", "reciprocal", "hnswlib")
REFERENCES = {"scipy": "scipy", "scikit-learn": "sklearn", "fastcluster": "fastcluster"}
"""Other code, and the package to import for it."""
LIMIT = 900_000_000
"""Bytes, in addition to the features, that the bounded path may use."""
LARGEST = {"dense": 16522, "scipy": 8000, "scikit-learn": 8000, "fastcluster": 8000}
"""For larger sets they take more time or memory than a benchmark should."""
PEOPLE = (1000, 4000, 8000, 30000, 100000)
HNSWLIB_FROM = 100000
"""Least number of samples for which hnswlib is tried, because it may be faster there."""


def samples(data: str, count: int, dimension: int, device: str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Make features (N, D) float32 on the sphere, on the device, and labels (N,) to start from. Each kind of device
    draws other numbers.

    "clustered": about 20 samples around each of N/20 centres, with within-distances about half of the others.
    "no structure": uniform on the sphere. "duplicates": N/10 distinct points. "later stage": clustered, and already
    merged to N/4 clusters of one centre each.
    """
    generator = torch.Generator(device).manual_seed(count)
    groups = {"no structure": count, "duplicates": count // 10}.get(data, count // 20)
    owner = torch.randint(groups, (count,), generator=generator, device=device)
    labels = torch.arange(count)
    if data == "later stage":
        owner = owner.sort().values
        labels = owner.cpu() * count + torch.arange(count) // 4
    features = torch.randn(groups, dimension, generator=generator, device=device)
    features = features if groups == count else features[owner]
    if data in ("clustered", "later stage"):
        for part in features.split(4096):
            part += 0.5 * torch.randn(part.shape, generator=generator, device=device)
    return torch.nn.functional.normalize(features, out=features), labels


def measure(
    data: str, path: str, count: int, dimension: int, device: str, repeats: int, asked_at: float
) -> dict[str, Any]:
    """Measure one row of the table in this process. Prints what is known of it when the measurement begins."""

    def note(row: dict[str, Any]) -> None:
        row.setdefault("setup_seconds", time.time() - asked_at)
        print(json.dumps(row), flush=True)

    if data == "people":
        return measure_people(path, count, dimension, device, repeats, note)
    features, labels = samples(data, count, dimension, device)
    merges = max(1, count // 20)
    floor = floor_seconds(features)  # also warms up
    kept: list[int] = []
    if path in REFERENCES:
        run = reference(path, features.cpu().numpy(), merges)
    else:
        choose_path(path, kept)
        limit = LIMIT if path == "bounded" else None

        def run() -> None:
            merge_clusters(features, labels, merges, max_memory=limit)

        merge_clusters(features[:64], labels[:64], 3)  # loads libraries that the first use loads
    row = {"data": data, "path": path, "samples": count, "dimension": dimension, "merges": merges}
    note(row)
    before = forget_peak()
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(repeats):
        kept.clear()
        start = time.perf_counter()
        run()
        synchronise(features)
        seconds.append(time.perf_counter() - start)
    row |= {"seconds": float(np.median(seconds)), "spread": max(seconds) - min(seconds), "repeats": repeats}
    row |= {"floor_seconds": floor, "ratio": float(np.median(seconds)) / floor}
    row |= {"peak_megabytes": (memory("VmHWM") - before) / 1e6, "kept_pairs": sum(kept), "rounds": len(kept)}
    if device != "cpu":
        row["peak_gpu_megabytes"] = (torch.cuda.max_memory_allocated() - features.nbytes) / 1e6
    return row


def choose_path(path: str, kept: list[int]) -> None:
    """Make merge_clusters use a path even if another fits, and note how many pairs each round keeps."""
    plan_memory = merging.plan_memory

    def planned(*arguments: Any) -> Any:
        return dataclasses.replace(plan_memory(*arguments), dense=path == "dense")

    class Counted(bounded.Graph):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            kept.append(sum(map(len, self.near.values())) // 2)

    merging.plan_memory = bounded.plan_memory = planned  # type: ignore[assignment]
    bounded.Graph = Counted  # type: ignore[misc, assignment]


def reference(name: str, features: np.ndarray, merges: int) -> Any:
    """Do average linkage with λ = 0 by another library."""
    if name == "scipy":
        from scipy.cluster.hierarchy import linkage

        return lambda: linkage(features, "average")
    if name == "fastcluster":
        import fastcluster

        return lambda: fastcluster.linkage(features, "average")
    from sklearn.cluster import AgglomerativeClustering

    return lambda: AgglomerativeClustering(len(features) - merges, linkage="average").fit(features)


def draw(rows: list[dict[str, Any]], target: Path) -> None:
    """Plot time and memory over N, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(12, 4.8))
    kinds = sorted({(row["path"], row["data"]) for row in rows})
    for path, data in kinds:
        here = sorted((r for r in rows if (r["path"], r["data"]) == (path, data)), key=lambda r: r["samples"])
        style = {"dense": "-o", "bounded": "--s"}.get(path, ":x")
        for axis, key in zip(axes, ("seconds", "peak_megabytes"), strict=True):
            axis.plot([r["samples"] for r in here], [r[key] for r in here], style, ms=4, label=f"{path}, {data}")
    floors = {row["samples"]: row["floor_seconds"] for row in rows}
    axes[0].plot(sorted(floors), [floors[n] for n in sorted(floors)], "k-", lw=1, label="bare products")
    for axis, title in zip(axes, ("seconds a stage", "peak memory over the features, MB"), strict=True):
        axis.set(xscale="log", yscale="log", xlabel="samples N", title=title)
        axis.grid(alpha=0.3, which="both")
    axes[0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(target, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", help=f"default {SIZES}; of people {PEOPLE}")
    parser.add_argument("--data", nargs="+", choices=(*DATA, "people"), default=DATA)
    parser.add_argument("--paths", nargs="+", default=("dense", "bounded", *REFERENCES, *NEIGHBOURS))
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tf32", action="store_true", help="let screening use TF32 (CUDA)")
    parser.add_argument("--timeout", type=float, default=900, help="seconds that a measurement may take")
    parser.add_argument("--append", action="store_true", help="add to the rows in the file, if there is one")
    parser.add_argument("--million", action="store_true", help="people, 1,000,000 x 2048, on a GPU, camera_aware")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, help="the JSON to write; the plot has its name")
    what.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.million:
        options.data, options.paths, options.sizes = ["people"], ["camera_aware"], [1_000_000]
        options.dimension, options.device = 2048, "cuda"
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.exit(1, "error: no CUDA device: run this where there is one\n")
    if options.tf32:
        torch.set_float32_matmul_precision("high")
    if options.one:
        print(json.dumps(measure(**json.loads(options.one))))
        return
    known = options.append and options.out.exists()
    report: dict[str, Any] = json.loads(options.out.read_text()) if known else {"runs": [], "rows": []}
    before = len(report["rows"])
    device = torch.cuda.get_device_name() if options.device != "cpu" else "no GPU used"
    report["runs"].append(origin(f"{torch.get_num_threads()} threads", f"torch {torch.__version__}", device))
    left_out = {path for path, package in REFERENCES.items() if importlib.util.find_spec(package) is None}
    for path in left_out & set(options.paths):
        print(f"{path}: left out: it is not installed", file=sys.stderr)
    for data in options.data:
        for path in options.paths:
            if path in left_out:
                continue
            for count in options.sizes or (PEOPLE if data == "people" else SIZES):
                if count > LARGEST.get(path, count) or (path in REFERENCES and data != "clustered"):
                    continue
                if (path in NEIGHBOURS) != (data == "people") or (path == "hnswlib" and count < HNSWLIB_FROM):
                    continue
                case = {"data": data, "path": path, "count": count, "dimension": options.dimension}
                case |= {"device": options.device, "repeats": 3 if count <= 8000 and path not in REFERENCES else 1}
                row = in_a_process(case, options.timeout, options.tf32)
                report["rows"].append(row)
                print(line(row), flush=True)
                save(options.out, report)
    rows = [row for row in report["rows"] if row["data"] != "people" and "failed" not in row]
    if rows:
        drawn = [row for row in rows if row.get("dimension") == rows[0].get("dimension")]
        draw(drawn, options.out.with_suffix(".png"))
    sys.exit(any("failed" in row and "at_least_seconds" not in row for row in report["rows"][before:]))


def in_a_process(case: dict[str, Any], timeout: float, tf32: bool) -> dict[str, Any]:
    """Call :func:`measure` in a fresh interpreter. Returns a row with "failed" if that process failed or took too
    long."""
    case |= {"asked_at": time.time()}
    command = [sys.executable, __file__, "--one", json.dumps(case), *(["--tf32"] if tf32 else [])]
    name = {"data": case["data"], "path": case["path"], "samples": case["count"]}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired as late:
        known = json.loads((late.stdout or b"{}").splitlines()[-1])
        if "setup_seconds" in known:
            known["at_least_seconds"] = timeout - known["setup_seconds"]
        return name | known | {"failed": f"more than {timeout} s"}
    if done.returncode:
        return name | {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def line(row: dict[str, Any]) -> str:
    head = f"{row['data']:13} {row['path']:13} N={row['samples']:<8}"
    if "failed" in row:
        known = f"; neighbours {row['neighbours']['seconds']:.2f} s" if "neighbours" in row else ""
        return f"{head} {row['failed']}{known}"
    if row["path"] == "hnswlib":
        return f"{head} {row['seconds']:8.2f} s  {row['ratio']:6.2f} x exact, recall {row['cameras']['recall']}"
    if row["data"] == "people":
        parts = (row[part] for part in ("neighbours", "merging"))
        return f"{head} " + ", then ".join(f"{x['seconds']:8.2f} s {x['peak_megabytes']:6.0f} MB" for x in parts)
    return (
        f"{head} {row['seconds']:8.2f} s  {row['ratio']:6.2f} x floor  {row['peak_megabytes']:7.0f} MB"
        f"  {row['kept_pairs']:8} pairs in {row['rounds']} rounds"
    )


if __name__ == "__main__":
    main()
