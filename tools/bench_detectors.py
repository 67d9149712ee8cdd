"""Compares detectors on one recording: the tracklets that each gives, and the cost of a frame.

    python tools/bench_detectors.py vtest.avi motion yolox_tiny.onnx pedestrian-detection-adas-0002.xml \\
        --folder detectors --changed 5 2 4 --json docs/benchmarks/detectors_vtest.json

Each detector, with one thread, makes a dataset of the whole recording in --folder, and a sheet of it: a row of ten
crops at even intervals for each tracklet. There are no labels. So count by eye on the sheets how many tracklets change
from one person to another, and give the numbers to a second call with --changed, in the order of the detectors; it does
not remake what is in --folder. "looks like two" is the opinion of `reid dataset show`.

The cost of a frame is processor time, which depends less on other work than clock time. The detectors take turns at
each of the first --frames frames. The median is given, and its ratio to the first detector's.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from machine import origin, save

from reid_toolkit.datasets import open_dataset
from reid_toolkit.datasets.oddities import oddities, spread
from reid_toolkit.footage.detector import Detector, load_detector
from reid_toolkit.footage.ingest import ingest
from reid_toolkit.footage.sources import open_recordings
from reid_toolkit.images import read_image
from reid_toolkit.records import Tracklet

CROPS, HEIGHT, WIDTH = 10, 96, 48
"""Crops of a tracklet on the sheet, and the height and width of each in pixels."""
ROWS = 20
"""Rows in a column of the sheet."""


def tracklets(video: Path, detector: Detector, out: Path) -> dict[str, Any]:
    """Make the dataset of a recording, and count its tracklets."""
    if not (out / "ingest.json").exists():
        ingest([video], out, camera="mall", detector=detector)
    (entry,) = json.loads((out / "ingest.json").read_text())["recordings"]
    found = open_dataset(out).tracklets if entry["tracklets"] else ()
    if found:
        write_sheet(found, out.with_name(f"{out.name}.png"))
    odd = [{one.kind for one in oddities(tracklet, {})} for tracklet in found]
    return {
        "detector": detector.name,
        **{name: entry[name] for name in ("tracklets", "dropped", "crops")},
        "looks_like_two": sum("two people" in kinds for kinds in odd),
    }


def write_sheet(tracklets: Sequence[Tracklet], path: Path) -> None:
    """Write the sheet: a numbered row for each tracklet, in columns."""
    strips = []
    for tracklet in tracklets:
        strip = np.full((HEIGHT + 4, 50 + (WIDTH + 2) * CROPS, 3), 255, np.uint8)
        cv2.putText(strip, tracklet.name.split("-")[-1][-3:], (2, 55), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 1)
        for place, crop in enumerate(spread(tracklet.crops, CROPS)):
            left = 50 + (WIDTH + 2) * place
            strip[2 : 2 + HEIGHT, left : left + WIDTH] = cv2.resize(read_image(crop.path), (WIDTH, HEIGHT))
        strips.append(strip)
    strips += [np.full_like(strips[0], 255)] * (-len(strips) % ROWS)
    columns = [np.vstack(strips[at : at + ROWS]) for at in range(0, len(strips), ROWS)]
    cv2.imwrite(str(path), np.hstack(columns))


def costs(video: Path, detectors: list[Detector], count: int) -> list[float]:
    """Return each detector's median processor time per frame, in milliseconds."""
    (recording,) = open_recordings([str(video)], 25.0)
    for detector in detectors:
        detector.start(recording.frame_rate)
    spent: list[list[float]] = [[] for _ in detectors]
    for frame in recording.frames():
        if frame.number >= count:
            break
        for detector, times in zip(detectors, spent, strict=True):
            began = time.process_time()
            detector(frame.image)
            times.append(time.process_time() - began)
    return [1000 * median(times) for times in spent]


def main(options: argparse.Namespace) -> None:
    cv2.setNumThreads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    detectors = [load_detector(name, threads=1) for name in options.detectors]
    rows = []
    for name, detector in zip(options.detectors, detectors, strict=True):
        print(f"ingest with {name}", file=sys.stderr)
        rows.append({"file": Path(name).name, **tracklets(options.video, detector, options.folder / Path(name).name)})
    for row, cost in zip(rows, found := costs(options.video, detectors, options.frames), strict=True):
        row |= {
            "milliseconds": round(cost, 1),
            "frames_per_second_of_a_core": round(1000 / cost, 1),
            "times_the_first": round(cost / found[0], 2),
        }
    for row, changed in zip(rows, options.changed or [None] * len(rows), strict=True):
        row["change_person_by_eye"] = changed
    save(options.json, origin() | {"rows": rows})
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("detectors", nargs="+", help="as --detector of reid ingest; the first is the reference")
    parser.add_argument("--folder", type=Path, required=True, help="folder for datasets and sheets")
    parser.add_argument("--frames", type=int, default=200, help="frames that are timed")
    parser.add_argument("--changed", type=int, nargs="+", help="tracklets that change person, as counted on the sheets")
    parser.add_argument("--json", type=Path, required=True)
    main(parser.parse_args())
