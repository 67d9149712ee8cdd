"""Compares the gallery with bare hnswlib, faiss and exact search: building, size, opening, filtered queries, recall.

    python tools/bench_gallery.py --folder bench --out gallery.json    1,000,000 x 512, the table of docs/benchmarks.md
    python tools/bench_gallery.py --folder bench --rows 20000 100000 --out small.json     where an index begins to pay

Descriptors come in clusters of 20, like people; queries are further members of clusters. A filter on a camera matches a
share of 1, 0.5, 0.05, 0.005 or 0.0001 of all rows. The truth is exact search over float32. Each part runs in its own
process, so that its peak memory can be measured. Descriptors, indexes and results that --folder already holds are not
made again, so an interrupted run goes on, part by part. The graphs answer single queries on one thread, and batches and
builds on all cores; numpy's products use OMP_NUM_THREADS. faiss is left out if it is not installed. At 1,000,000 rows
each of the three builds takes tens of minutes on two cores, and the folder needs 15 GB.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gallery_workload import BATCH, CHUNK, SHARES, SINGLE, Floats, K, ask, exact, masks, prepare, recall
from machine import memory, origin, save
from numpy.typing import NDArray

from reid_toolkit.gallery import Filter, Gallery
from reid_toolkit.gallery.local.hnsw import EF, EF_CONSTRUCTION, M
from reid_toolkit.gallery.local.search import LOAD_AFTER
from reid_toolkit.records import Record

PARTS = ("exact", "gallery", "hnswlib", "faiss")


def timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def built(call: Callable[[], Any]) -> dict[str, float]:
    """Return seconds that a build takes, by the clock and of processors. The latter hardly depends on other
    programs."""
    processors = time.process_time()
    return {"build_s": timed(call), "build_processor_s": time.process_time() - processors}


def part_exact(folder: Path) -> dict[str, Any]:
    """Measure numpy over float32 in memory, and what half precision costs."""
    vectors, queries = np.load(folder / "vectors.npy"), np.load(folder / "queries.npy")
    rows = {name: np.flatnonzero(allowed) for name, allowed in masks(np.load(folder / "cameras.npy")).items()}

    def search(query: Floats, name: str) -> NDArray:
        among = rows[name]
        scores = vectors @ query if name == "all" else vectors[among] @ query
        best = np.argpartition(-scores, K)[:K] if len(scores) > K else np.arange(len(scores))
        return among[best[np.argsort(-scores[best])]]

    figures = {"queries": ask(folder, search), "peak_bytes": memory("VmHWM")}
    figures["batch_queries_per_s"] = BATCH / timed(lambda: exact(vectors, queries, rows["all"]))
    truth = np.load(folder / "truth.npz")["all"]
    for at in range(0, len(vectors), CHUNK):
        vectors[at : at + CHUNK] = vectors[at : at + CHUNK].astype(np.float16)
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    vectors /= norms[:, None]
    figures["half_precision_recall"] = recall(list(exact(vectors, queries, rows["all"])), truth)
    return figures


def record_of(row: int, camera: int) -> Record:
    return Record(f"{row}", f"{camera}", float(row), float(row) + 5, "/data/site")


def part_gallery(folder: Path) -> dict[str, Any]:
    """Measure our gallery: made in another process, opened and searched in this one."""
    place = folder / "gallery"
    queries = np.load(folder / "queries.npy")
    rows = len(np.load(folder / "vectors.npy", mmap_mode="r"))
    with Gallery.open(place) as gallery:
        gallery.delete(camera="9")  # records that an interrupted run added
    start = time.perf_counter()
    with Gallery.open(place, exact_below=rows) as gallery:
        opened = time.perf_counter()
        gallery.search(queries[0], K)
        answered = time.perf_counter()
        first = [timed(lambda query=query: gallery.search(query, K)) for query in queries[1:LOAD_AFTER]]
        loading = timed(lambda: gallery.search(queries[0], K))
        wheres = {name: None if not i else {f"{i - 1}"} for i, name in enumerate(SHARES)}

        def search(query: Floats, name: str) -> NDArray:
            return np.array([int(match.record.tracklet) for match in gallery.search(query, K, wheres[name])], int)

        figures: dict[str, Any] = {"queries": ask(folder, search)}
        figures["open_s"] = opened - start
        figures["open_and_answer_s"] = answered - start
        figures["index_load_s"] = loading
        figures["exact_p50_ms"] = float(np.median(first)) * 1e3
        figures["batch_queries_per_s"] = BATCH / timed(lambda: gallery.search_batch(queries, K))
        where = Filter(cameras=wheres["half"])
        figures["batch_half_queries_per_s"] = BATCH / timed(lambda: gallery.search_batch(queries, K, where))
        figures["index"] = gallery.info().index
        added, seen = [], []
        for number in range(SINGLE):
            record = [record_of(rows + number, 9)]
            added.append(timed(lambda number=number, record=record: gallery.add(queries[number : number + 1], record)))
            seen.append(timed(lambda number=number: gallery.search(queries[number], K)))
        figures["add_one_p50_ms"] = float(np.median(added)) * 1e3
        figures["search_after_add_p50_ms"] = float(np.median(seen)) * 1e3
        figures["peak_bytes"] = memory("VmHWM")
        gallery.delete(camera="9")
    return figures


def part_make_gallery(folder: Path) -> dict[str, Any]:
    """Enroll all records and build the index. An interrupted enrolment goes on; an interrupted index starts again."""
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    cameras = np.load(folder / "cameras.npy").tolist()
    with Gallery.open(folder / "gallery", vectors.shape[1], exact_below=len(vectors)) as gallery:
        done = len(gallery)
        start = time.perf_counter()
        for at in range(done, len(vectors), CHUNK):
            end = min(at + CHUNK, len(vectors))
            gallery.add(np.array(vectors[at:end]), [record_of(row, cameras[row]) for row in range(at, end)])
        enrolled = time.perf_counter() - start
        figures: dict[str, Any] = {"enroll_s": enrolled, "enrolled_before": done}
        figures |= built(lambda: gallery.build_index(show("gallery")))
    files = {file.name.partition("-")[0] + file.suffix: file.stat().st_size for file in (folder / "gallery").iterdir()}
    return figures | {"files": files, "bytes": sum(files.values()), "peak_bytes": memory("VmHWM")}


def show(what: str) -> Callable[[int, int | None], None]:
    def report(done: int, total: int | None) -> None:
        print(f"\r{what}: {done} of {total}", end="" if done != total else "\n", file=sys.stderr, flush=True)

    return report


def part_hnswlib(folder: Path) -> dict[str, Any]:
    """Measure the same graph in bare hnswlib."""
    import hnswlib

    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    allowed = masks(np.load(folder / "cameras.npy"))
    path, made = folder / "bare.hnsw", folder / "bare.made.json"
    graph = hnswlib.Index("l2", vectors.shape[1])
    figures: dict[str, Any] = {}
    if not made.exists():
        graph.init_index(len(vectors), M=M, ef_construction=EF_CONSTRUCTION, random_seed=1)

        def build() -> None:
            for at in range(0, len(vectors), CHUNK):
                graph.add_items(vectors[at : at + CHUNK], np.arange(at, min(at + CHUNK, len(vectors))))
                show("hnswlib")(min(at + CHUNK, len(vectors)), len(vectors))

        seconds = built(build)
        graph.save_index(str(path))
        save(made, {**seconds, "bytes": path.stat().st_size})
    figures["made"] = json.loads(made.read_text())
    graph = hnswlib.Index("l2", vectors.shape[1])
    figures["load_s"] = timed(lambda: graph.load_index(str(path), len(vectors) + SINGLE))
    graph.set_ef(EF)
    accepts = {name: None if name == "all" else mask.tobytes().__getitem__ for name, mask in allowed.items()}

    def search(query: Floats, name: str) -> NDArray:
        # hnswlib raises if fewer rows match, so ask for no more than there are.
        k = min(K, int(allowed[name].sum()))
        try:
            return graph.knn_query(query[None], k, num_threads=1, filter=accepts[name])[0][0].astype(int)
        except RuntimeError:
            return np.empty(0, int)

    figures["queries"] = ask(folder, search)
    queries = np.load(folder / "queries.npy")
    figures["batch_queries_per_s"] = BATCH / timed(lambda: graph.knn_query(queries, K))
    added = [timed(lambda i=i: graph.add_items(queries[i : i + 1], [len(vectors) + i])) for i in range(SINGLE)]
    figures |= {"add_one_p50_ms": float(np.median(added)) * 1e3, "peak_bytes": memory("VmHWM")}
    return figures


def part_faiss(folder: Path) -> dict[str, Any]:
    """Measure faiss' HNSW with the same settings."""
    import faiss

    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    allowed = masks(np.load(folder / "cameras.npy"))
    path, made = folder / "faiss.index", folder / "faiss.made.json"
    if not made.exists():
        index = faiss.IndexHNSWFlat(vectors.shape[1], M)
        index.hnsw.efConstruction = EF_CONSTRUCTION

        def build() -> None:
            for at in range(0, len(vectors), CHUNK):
                index.add(np.array(vectors[at : at + CHUNK]))
                show("faiss")(min(at + CHUNK, len(vectors)), len(vectors))

        seconds = built(build)
        faiss.write_index(index, str(path))
        save(made, {**seconds, "bytes": path.stat().st_size})
    figures: dict[str, Any] = {"made": json.loads(made.read_text())}
    start = time.perf_counter()
    index = faiss.read_index(str(path))
    figures["load_s"] = time.perf_counter() - start
    parameters = {
        name: faiss.SearchParametersHNSW(
            efSearch=EF, sel=None if name == "all" else faiss.IDSelectorBatch(np.flatnonzero(mask))
        )
        for name, mask in allowed.items()
    }

    def search(query: Floats, name: str) -> NDArray:
        rows = index.search(query[None], K, params=parameters[name])[1][0]
        return rows[rows >= 0]

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    figures["queries"] = ask(folder, search)
    faiss.omp_set_num_threads(threads)
    queries = np.load(folder / "queries.npy")
    figures["batch_queries_per_s"] = BATCH / timed(lambda: index.search(queries, K, params=parameters["all"]))
    figures["peak_bytes"] = memory("VmHWM")
    return figures


def run(part: str, folder: Path) -> dict[str, Any]:
    """Return the figures of a part. It runs in its own process, unless it has run before."""
    steps = {"gallery": ["make_gallery", "gallery"]}.get(part, [part])
    for step in steps:
        if not (folder / f"{step}.json").exists():
            subprocess.run([sys.executable, __file__, "--folder", str(folder), "--one", step], check=True)
    figures = {step: json.loads((folder / f"{step}.json").read_text()) for step in steps}
    return dict(figures[part]) | ({"made": figures["make_gallery"]} if part == "gallery" else {})


def table(rows: int, part: str, figures: dict[str, Any]) -> Iterator[str]:
    for share, one in figures["queries"].items():
        yield (
            f"{rows:>9} {part:8} {share:15} p50 {one['p50_ms']:8.2f} ms  p99 {one['p99_ms']:8.2f} ms "
            f"{one['queries_per_s']:8.0f}/s  recall@1 {one['recall_at_1']:.4f}  @10 {one['recall_at_10']:.4f}"
        )
    others = {name: value for name, value in figures.items() if name not in ("queries", "index")}
    yield f"{rows:>9} {part:8} {json.dumps(others)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--folder", type=Path, required=True, help="for descriptors, indexes and partial results")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, help="the JSON to write")
    what.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        figures = globals()[f"part_{options.one}"](options.folder)
        save(options.folder / f"{options.one}.json", figures)
        return
    parts = [part for part in options.parts if part != "faiss" or importlib.util.find_spec("faiss")]
    report: dict[str, Any] = {
        **origin(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "sizes": {},
    }
    for rows in options.rows:
        folder = options.folder / f"{rows}x{options.dimension}"
        prepare(folder, rows, options.dimension)
        report["sizes"][str(rows)] = {}
        for part in parts:
            figures = run(part, folder)
            report["sizes"][str(rows)][part] = figures
            print("\n".join(table(rows, part, figures)), flush=True)
            save(options.out, report)


if __name__ == "__main__":
    main()
