"""Measures time and memory of `reid people`: a whole gallery, and then a day's new records.

    python tools/bench_people.py --records 3000 30000 300000 --json docs/benchmarks/people_speed.json

Each gallery holds drawn descriptors: people with 20 records each over 6 cameras. "new" is the run after one record in a
hundred more: new records of some of the people, 5 of each. Seconds are of a clock on the wall, and "cpu s" of the
processors, which other work on the machine changes less. The ratio is to the exact search for the 10 nearest of every
record by matrix products in numpy, in the same run, estimated from some of the records if there are more.

Filling, grouping and grouping again are processes of their own. Memory is the most that grouping held, in MB, less
what the process held before. F is B-cubed F against the drawn people.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from machine import forget_peak, memory
from numpy.typing import NDArray
from study import b_cubed, print_rows, write_json

from reid_toolkit.gallery import Gallery
from reid_toolkit.gallery.digests import key_digest
from reid_toolkit.people.update import update
from reid_toolkit.records import Record

PER_PERSON, PER_NEW_PERSON, CAMERAS, WIDTH = 20, 5, 6, 256
NOISE, BIAS = 0.7, 0.5
"""Of a record and of a camera, relative to a person's looks."""
NEW = 100
"""One record in so many is new."""
BLOCK = 1024
DRAWN = 20_000
"""Records that are drawn at a time."""
QUERIES = 2_048
"""At most so many rows' nearest are searched for."""


def drawn(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Person and camera of each of ``count`` records, and of the new records that follow them."""
    rng = np.random.default_rng(1)
    people, new = max(2, count // PER_PERSON), count // NEW
    later = rng.permutation(people)[: max(1, new // PER_NEW_PERSON)]
    person = np.concatenate([rng.integers(people, size=count), later[rng.integers(len(later), size=new)]])
    return person, rng.integers(CAMERAS, size=len(person))


def record(at: int, camera: int) -> Record:
    """The record at a place in the order of time."""
    return Record(str(at), f"camera-{camera}", 1.79e9 + 20.0 * at, 1.79e9 + 20.0 * at + 5, "/drawn")


def blocks(count: int, first: int, end: int) -> Iterator[tuple[NDArray[np.float32], list[Record]]]:
    """Draw the records from ``first`` to ``end`` of a gallery of ``count``, a block at a time."""
    person, cameras = drawn(count)
    rng = np.random.default_rng(0)
    looks = rng.normal(size=(person.max() + 1, WIDTH)).astype(np.float32)
    bias = BIAS * rng.normal(size=(CAMERAS, WIDTH)).astype(np.float32)
    for top in range(first, end, DRAWN):
        part = slice(top, min(top + DRAWN, end))
        noise = np.random.default_rng((2, top)).normal(size=(part.stop - top, WIDTH)).astype(np.float32)
        rows = looks[person[part]] + bias[cameras[part]] + NOISE * noise
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        yield rows, [record(at, camera) for at, camera in enumerate(cameras[part].tolist(), start=top)]


def fill(folder: Path, count: int) -> dict[str, Any]:
    """Fill a gallery."""
    with Gallery.open(folder) as gallery:
        for rows, records in blocks(count, 0, count):
            gallery.add(rows, records)
        gallery.refresh_statistics()
    return {}


def whole(folder: Path, count: int) -> dict[str, Any]:
    """Group a gallery for the first time."""
    return grouped(folder, count, count)


def new(folder: Path, count: int) -> dict[str, Any]:
    """Add the new records, and group again."""
    with Gallery.open(folder) as gallery:
        for rows, records in blocks(count, count, count + count // NEW):
            gallery.add(rows, records)
    return grouped(folder, count, count + count // NEW)


def grouped(folder: Path, count: int, total: int) -> dict[str, Any]:
    """Group a gallery with ``total`` records."""
    with Gallery.open(folder) as gallery:
        held, began, spent = forget_peak(), time.perf_counter(), time.process_time()
        done = update(gallery)
        seconds, spent = time.perf_counter() - began, time.process_time() - spent
        peak = memory("VmHWM") - held
        members = gallery.people.read().members
    person, cameras = drawn(count)
    labels = [members[key_digest(record(at, camera))].person for at, camera in enumerate(cameras[:total].tolist())]
    precision, recall = b_cubed(labels, person[:total])
    return {
        "people": done.people, "drawn": len(np.unique(person[:total])),
        "F": round(2 * precision * recall / (precision + recall), 4),
        "s": round(seconds, 1), "cpu s": round(spent, 1), "MB": round(peak / 1e6),
    }  # fmt: skip


def nearest(_: Path, count: int) -> dict[str, Any]:
    """Seconds for the 10 nearest of every row, exactly."""
    rows = np.concatenate([rows for rows, _ in blocks(count, 0, count)])
    queries = min(count, QUERIES)
    before, began = time.process_time(), time.perf_counter()
    for top in range(0, queries, BLOCK):
        np.argpartition(-(rows[top : min(top + BLOCK, queries)] @ rows.T), 10, axis=1)[:, :10]
    times = count / queries
    return {
        "s": round((time.perf_counter() - began) * times, 1), "cpu s": round((time.process_time() - before) * times, 1)
    }  # fmt: skip


STEPS = (fill, whole, new, nearest)


def measure(count: int) -> dict[str, Any]:
    """Measure a gallery of ``count`` records."""
    row: dict[str, Any] = {"records": count}
    with tempfile.TemporaryDirectory() as folder:
        for step in STEPS:
            words = [sys.executable, __file__, "--step", step.__name__, "--records", str(count), "--folder", folder]
            found = json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout)
            row |= {f"{step.__name__} {name}": value for name, value in found.items()}
            print(count, step.__name__, found, file=sys.stderr, flush=True)
    for name in ("whole", "new"):
        row[f"{name} ratio"] = round(row[f"{name} cpu s"] / row["nearest cpu s"], 3)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[3_000, 30_000, 300_000])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--step", choices=[step.__name__ for step in STEPS], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        (step,) = (one for one in STEPS if one.__name__ == options.step)
        print(json.dumps(step(options.folder / "g", options.records[0])))
        return
    found = []
    for count in options.records:
        found.append(measure(count))
        if options.json:
            write_json(options.json, {"rows": found})
    print_rows([{key: str(value) for key, value in row.items()} for row in found])


if __name__ == "__main__":
    main()
