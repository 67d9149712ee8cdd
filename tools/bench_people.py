"""Measures time and memory of `reid people`: a whole gallery, and then a day's new records.

    python tools/bench_people.py --records 3000 10000 30000 --json docs/benchmarks/people_speed.json

Each gallery holds drawn descriptors: people with 20 records each over 6 cameras. Times are seconds, and ratios to the
exact search for the 10 nearest of every record by matrix products in numpy, in the same run. "new" is the time for one
record in a hundred more. Memory is the largest of the process, in MB, less what it was before; it is measured in a
process of its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from study import print_rows, write_json

from reid_toolkit.gallery import Gallery
from reid_toolkit.people.update import update
from reid_toolkit.records import Record

PER_PERSON, CAMERAS, WIDTH = 20, 6, 256
NOISE, BIAS = 0.7, 0.5
"""Of a record and of a camera, relative to a person's looks."""
NEW = 100
"""One record in so many is new."""
BLOCK = 1024


def workload(count: int) -> tuple[NDArray[np.float32], list[Record]]:
    """Draw ``count`` records in the order of time."""
    rng = np.random.default_rng(0)
    people = max(2, count // PER_PERSON)
    looks = rng.normal(size=(people, WIDTH)).astype(np.float32)
    bias = BIAS * rng.normal(size=(CAMERAS, WIDTH)).astype(np.float32)
    person, camera = rng.integers(people, size=count), rng.integers(CAMERAS, size=count)
    rows = looks[person] + bias[camera] + NOISE * rng.normal(size=(count, WIDTH)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    start = 1.79e9 + 20.0 * np.arange(count)
    records = [
        Record(str(at), f"camera-{camera[at]}", float(start[at]), float(start[at] + 5), "/drawn") for at in range(count)
    ]
    return rows, records


def nearest(rows: NDArray[np.float32]) -> float:
    """Seconds for the 10 nearest of every row, exactly."""
    began = time.perf_counter()
    for top in range(0, len(rows), BLOCK):
        np.argpartition(-(rows[top : top + BLOCK] @ rows.T), 10, axis=1)[:, :10]
    return time.perf_counter() - began


def measure(count: int) -> dict[str, Any]:
    """Measure a gallery of ``count`` records in this process."""
    rows, records = workload(count + count // NEW)
    with tempfile.TemporaryDirectory() as folder, Gallery.open(Path(folder) / "g") as gallery:
        gallery.add(rows[:count], records[:count])
        gallery.refresh_statistics()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        done = update(gallery)
        whole = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        gallery.add(rows[count:], records[count:])
        began = time.perf_counter()
        update(gallery)
        new = time.perf_counter() - began
    reference = nearest(rows[:count])
    return {
        "records": count, "people": done.people, "whole s": round(whole, 2), "new s": round(new, 2),
        "nearest s": round(reference, 2), "whole ratio": round(whole / reference, 2),
        "new ratio": round(new / reference, 2), "memory MB": round((peak - before) / 1024),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[3_000, 10_000, 30_000])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    found = []
    for count in options.records:
        words = [sys.executable, __file__, "--one", str(count)]
        found.append(json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout))
        if options.json:
            write_json(options.json, {"rows": found})
    print_rows([{key: str(value) for key, value in row.items()} for row in found])


if __name__ == "__main__":
    main()
