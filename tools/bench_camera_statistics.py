"""Measures what camera statistics cost a large gallery: fitting them, rebuilding the index, and each search.

    python tools/bench_camera_statistics.py --folder bench --json docs/benchmarks/camera_statistics_speed.json

Descriptors are in clusters of 20, from five cameras of unequal size, as in bench_gallery.py. The cameras have no bias,
so both galleries are equally hard to search. Two galleries hold the same records, and each has an index; one of them
has camera statistics. Each query goes to both in turn, so that a machine whose speed varies slows both. Times are
milliseconds of single searches for the ten nearest, without a filter and within the camera that holds half of the
records. Another run in the same folder keeps the descriptors, and makes the galleries anew.
"""

import argparse
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
from bench_gallery import built, timed
from gallery_workload import CHUNK, prepare
from study import run, write_json

from reid_toolkit.files import remove_folder
from reid_toolkit.gallery import Gallery
from reid_toolkit.gallery.local.search import LOAD_AFTER
from reid_toolkit.records import Record

QUERIES, K = 400, 10


def make(folder: Path, vectors: np.ndarray, cameras: np.ndarray) -> dict[str, Any]:
    """Enroll all records without statistics, and build the index."""
    with Gallery.open(folder, vectors.shape[1], exact_below=len(vectors)) as gallery:
        for at in range(0, len(vectors), CHUNK):
            places = cameras[at : at + CHUNK]
            records = [Record(f"{at + i}", f"{camera}", source="/data/site") for i, camera in enumerate(places)]
            gallery.add(np.array(vectors[at : at + CHUNK]), records)
        return built(gallery.build_index)


def refit(folder: Path, rows: int) -> dict[str, Any]:
    """Fit statistics and rebuild the index."""
    with Gallery.open(folder, exact_below=rows) as gallery:
        fit = timed(gallery.refresh_statistics)
        return {"fit_s": fit, **built(gallery.build_index)}


def ask(plain: Gallery, freed: Gallery, queries: np.ndarray) -> dict[str, Any]:
    """Search both in turn, with and without a filter. Returns medians, and their ratio."""
    found: dict[str, Any] = {}
    for name, cameras in (("all", None), ("half", {"0"})):
        pairs = []
        for number, query in enumerate(queries):
            calls = [
                lambda query=query, cameras=cameras: plain.search(query, K, cameras),
                lambda query=query, cameras=cameras: freed.search(query, K, cameras, query_camera="0"),
            ]
            first = number % 2  # they take turns to be first, because the second finds the processor warm
            times = {place: timed(calls[place]) for place in (first, 1 - first)}
            pairs.append((times[0], times[1]))
        without, with_statistics = 1e3 * np.array(pairs).T
        found[name] = {
            "plain_p50_ms": float(np.median(without)), "p50_ms": float(np.median(with_statistics)),
            "ratio_of_medians": float(np.median(with_statistics) / np.median(without)),
            "plain_p99_ms": float(np.quantile(without, 0.99)), "p99_ms": float(np.quantile(with_statistics, 0.99)),
        }  # fmt: skip
    return found


def measure(folder: Path, rows: int, dimension: int) -> dict[str, Any]:
    prepare(folder, rows, dimension)
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    cameras, queries = np.load(folder / "cameras.npy"), np.load(folder / "queries.npy")[:QUERIES]
    plain, freed = folder / "plain", folder / "freed"
    for left in (plain, freed):  # a gallery that was begun, or has its index, would take less time than it needs
        remove_folder(left)
    figures: dict[str, Any] = {"rows": rows, "dimension": dimension, "plain": make(plain, vectors, cameras)}
    shutil.copytree(plain, freed)
    figures["refresh"] = refit(freed, rows)
    with Gallery.open(plain, exact_below=rows) as one, Gallery.open(freed, exact_below=rows) as other:
        for name, gallery in (("plain", one), ("freed", other)):
            began = time.perf_counter()
            gallery.search(queries[0], K)
            figures[f"{name}_first_answer_s"] = time.perf_counter() - began
            exact = [timed(lambda g=gallery, q=query: g.search(q, K)) for query in queries[1:LOAD_AFTER]]
            figures[f"{name}_exact_p50_ms"] = 1e3 * float(np.median(exact))
            gallery.search_batch(queries[: LOAD_AFTER + 1], K)  # which reads the index
        figures["queries"] = ask(one, other, queries)
        figures["index"] = other.info().index
        figures["plain_index"] = one.info().index
    return figures


def main(options: argparse.Namespace) -> None:
    found = []
    for rows in options.rows:
        found.append(measure(options.folder / f"{rows}", rows, options.dimension))
        write_json(options.json, {"sizes": found})
        for name, times in found[-1]["queries"].items():
            print(f"{rows} {name}: {times['plain_p50_ms']:.2f} ms without, {times['p50_ms']:.2f} ms with statistics")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--json", type=Path, required=True)
    run(main, parser)
