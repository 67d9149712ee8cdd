"""Compares galleries in different places: adding, searching, and bytes per record, in the same run.

    python tools/bench_engines.py g milvus-lite:///srv/lite.db/bench milvus://127.0.0.1:19530/bench \
        --files /srv/milvus/data/insert_log --out engines.json

Each address must be unused: a gallery of clustered descriptors is made there and not deleted.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from machine import origin, save

from reid_toolkit.gallery import open_gallery
from reid_toolkit.records import Record

BATCH = 1_000
SINGLE = 20
"""Number of single searches."""
TOGETHER = 200
"""Queries in one batch."""


def people(rows: int, dimension: int) -> tuple[np.ndarray, list[Record]]:
    """Make people with 20 records each, from eight cameras."""
    rng = np.random.default_rng(0)
    centres = np.repeat(rng.normal(size=(-(-rows // 20), dimension)), 20, axis=0)[:rows]
    vectors = centres + 0.5 * rng.normal(size=centres.shape)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    names = [f"camera{number % 8}" for number in range(rows)]
    return vectors, [
        Record(f"{name}-{number}", name, float(number), number + 5.0, "/site/day", f"/site/day/{name}/{number}.jpg")
        for number, name in enumerate(names)
    ]


def seconds(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def measure(where: str, rows: int, dimension: int) -> dict[str, float | str]:
    """Measure one gallery."""
    vectors, records = people(rows, dimension)
    with open_gallery(where, dimension) as gallery:
        if len(gallery):
            raise SystemExit(f"{where}: is not empty: name another")
        parts = range(0, rows, BATCH)
        adding = sum(
            seconds(lambda at=at: gallery.add(vectors[at : at + BATCH], records[at : at + BATCH])) for at in parts
        )
        gallery.search(vectors[0])
        single = sorted(seconds(lambda at=at: gallery.search(vectors[at])) for at in range(SINGLE))
        together = seconds(lambda: gallery.search_batch(vectors[:TOGETHER]))
        info = seconds(gallery.info)
        gallery.compact()
    return {
        "gallery": where.partition("://")[0] if "://" in where else "folder",
        "adds_per_second": round(rows / adding),
        "search_p50_ms": round(1e3 * single[SINGLE // 2], 1),
        "search_batch_ms_each": round(1e3 * together / min(TOGETHER, rows), 2),
        "info_s": round(info, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("where", nargs="+", help="addresses of new galleries")
    parser.add_argument("--rows", type=int, default=4_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument(
        "--files", type=Path, nargs="*", default=[], help="folders whose bytes per record are printed at the end"
    )
    parser.add_argument("--out", type=Path, help="JSON file")
    given = parser.parse_args()
    found = [measure(where, given.rows, given.dimension) for where in given.where]
    for row in found:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    files = {folder.name: round(size_of(folder) / given.rows) for folder in given.files}
    for name, size in files.items():
        print(f"{name}: {size} bytes a record")
    if given.out:
        about = {
            **origin(), "rows": given.rows, "dimension": given.dimension, "galleries": found, "bytes_per_record": files,
        }  # fmt: skip
        save(given.out, about)


if __name__ == "__main__":
    main()
