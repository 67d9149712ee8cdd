"""Measures the edge as a service sees it: the time of a cold start, and whether watching stays within cores and memory.

    python tools/bench_edge.py model.onnx vtest.avi --loop 10 --cores 1 --out docs/benchmarks/edge.json

Cold start: a fresh interpreter imports the runtime, loads the model and embeds one crop. For comparison, another only
imports numpy, OpenCV and onnxruntime, which every such service needs. Medians, with minimum and maximum.

Watching: `reid watch` reads the video repeatedly into a new gallery. Its resident memory is sampled throughout, and
given as the median of each tenth of the run.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import largest_child, origin, resident, save

FLOOR = "import time, sys; began = time.perf_counter(); import numpy, cv2, onnxruntime"
OURS = """
import time, sys
began = time.perf_counter()
import numpy
from reid_toolkit.runtime import Embedder
imported = time.perf_counter()
embedder = Embedder(sys.argv[1])
loaded = time.perf_counter()
embedder.embed([numpy.full((256, 128, 3), 90, numpy.uint8)])
ended = time.perf_counter()
import json
print(json.dumps({"import": imported - began, "load": loaded - imported, "first crop": ended - loaded}))
"""
SAMPLE_SECONDS = 0.2


def cold_start(model: Path, starts: int) -> dict[str, Any]:
    """Return seconds of each step from a fresh interpreter to the first descriptor. "whole" includes Python's own
    start."""
    steps: list[dict[str, float]] = []
    for _ in range(starts):
        floor, _ = timed([sys.executable, "-c", FLOOR])
        whole, said = timed([sys.executable, "-c", OURS, str(model)])
        steps.append({**json.loads(said), "whole": whole, "numpy, OpenCV and onnxruntime alone": floor})
    found: dict[str, Any] = {name: spread([step[name] for step in steps]) for name in steps[0]}
    found["peak_mb"] = largest_child() / 1e6
    return found


def timed(line: list[str]) -> tuple[float, str]:
    began = time.perf_counter()
    said = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout
    return time.perf_counter() - began, said


def spread(seconds: list[float]) -> dict[str, float]:
    return {"median": statistics.median(seconds), "least": min(seconds), "most": max(seconds)}


def watch(model: Path, video: Path, loop: int, cores: int | None) -> dict[str, Any]:
    """Return the summary of `reid watch`, with its resident memory."""
    with tempfile.TemporaryDirectory() as folder:
        line = [
            sys.executable, "-m", "reid_toolkit", "watch", str(video), "--model", str(model),
            "--gallery", str(Path(folder) / "gallery"), "--loop", str(loop), "--json",
            *(["--cores", str(cores)] if cores else []),
        ]  # fmt: skip
        samples = []
        with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
            while process.poll() is None:
                samples.append(resident(process.pid))
                time.sleep(SAMPLE_SECONDS)
            assert process.stdout is not None
            summary = json.loads(process.stdout.read())
    tenths = [samples[len(samples) * i // 10 : max(len(samples) * (i + 1) // 10, 1)] for i in range(10)]
    summary["resident_mb"] = [round(statistics.median(tenth or samples) / 1e6, 1) for tenth in tenths]
    return {key: summary[key] for key in summary if key not in ("source", "gallery")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("video", type=Path)
    parser.add_argument("--starts", type=int, default=7)
    parser.add_argument("--loop", type=int, default=10)
    parser.add_argument("--cores", type=int)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    cold = cold_start(options.model, options.starts)
    watched = watch(options.model, options.video, options.loop, options.cores)
    result = {
        **origin(),
        "model_mb": round(options.model.stat().st_size / 1e6, 1),
        "cold_start_seconds": cold,
        "watch": watched,
    }
    save(options.out, result)
    for name, seconds in cold.items():
        print(f"{name:40}", f"{seconds['median']:.2f} s ({seconds['least']:.2f}-{seconds['most']:.2f})"
              if isinstance(seconds, dict) else f"{seconds:.0f}")  # fmt: skip
    print(
        f"{watched['frames']} frames, {watched['frames_per_second']:.1f} a second on {watched['cores']:.2f} cores; "
        f"{watched['enrolled']} enrolled; resident MB by tenths: {watched['resident_mb']}"
    )


if __name__ == "__main__":
    main()
