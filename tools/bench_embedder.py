"""Measures pictures of people to descriptors on one machine: our way, and the ways of others.

    python tools/bench_embedder.py --out docs/benchmarks/embedder.json

Pictures come as JPEG bytes and as boxes of a decoded frame, one and sixteen at a time, with one and two threads. Each
way runs in its own process, a new one for each number of threads and each round, so that its peak memory can be
measured. In a process batches come in growing order, so that a peak is not that of a larger batch. Ways take turns in
each round, so that a busy machine slows all alike; medians are over the rounds. The time of the processor (all threads
of the process) hardly depends on other work. Ratios are to onnxruntime with PIL and numpy in the same run. Weights are
random, with batch norm's statistics from the crops; speed does not depend on them. Ways whose package or device is
missing, or that fail, are left out, and the JSON says why. It is written after each way. INT8 is for this machine (the
default of reid export).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from embedder_ways import REFERENCE, WAYS, Pixels, make_models
from machine import memory, origin, save

NEEDS = dict.fromkeys(("openvino, our file", "openvino, our int8", "ours, openvino", "ours, chosen"), "openvino")
SOURCES = ("jpeg", "frame")
MODELS = ("shufflenet_v2_x0_5", "mobilenet_v3_small", "mobilenet_v2", "resnet50", "demo")
"""Backbones at 256x128, and our small recipe: a ResNet-18 at 64x32."""
COUNT = 64
"""Number of different pictures."""
FRAME = (1080, 1920)


def boxes(generator: np.random.Generator) -> Iterator[tuple[int, int, int, int]]:
    """Yield boxes of people in a frame: x, y, width, height; 120 to 320 pixels high, two to three times as high as
    wide."""
    for _ in range(COUNT):
        height = int(generator.integers(120, 321))
        width = int(height / generator.uniform(2, 3))
        x, y = (int(generator.integers(0, end - size)) for end, size in zip(FRAME[::-1], (width, height), strict=True))
        yield x, y, width, height


def pictures() -> tuple[list[bytes], list[Pixels]]:
    """Make the same crops as JPEG files and as views of one 1080p frame: soft blobs under fine noise, similar to
    photos."""
    generator = np.random.default_rng(0)
    soft = cv2.resize(generator.integers(0, 256, (68, 120, 3), np.uint8), FRAME[::-1], interpolation=cv2.INTER_CUBIC)
    frame = np.clip(soft + generator.normal(0, 4, soft.shape), 0, 255).astype(np.uint8)
    views = [frame[y : y + height, x : x + width] for x, y, width, height in boxes(generator)]
    files = [cv2.imencode(".jpg", view, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes() for view in views]
    return files, views


def measure(
    folder: str, way: str, sources: list[str], batches: list[int], threads: int, seconds: float
) -> list[dict[str, Any]]:
    """Measure all cases of one way in this process. Returns a row for each."""
    cv2.setNumThreads(threads)
    files, views = pictures()
    began = time.perf_counter()
    embedder = WAYS[way](Path(folder), threads, max(batches))
    rows = embedder.embed(views[:1])
    cold = time.perf_counter() - began
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=0.02)  # OpenVINO uses bfloat16 if a CPU has AMX
    found = []
    for batch, source in product(sorted(batches), sources):
        case = {"source": source, "batch": batch, "load_seconds": cold}
        if choice := getattr(embedder, "choice", None):
            case["choice"] = asdict(choice)
        found.append(case | measure_case(embedder, files if source == "jpeg" else views, source, batch, seconds))
    return found


def measure_case(embedder: Any, pool: list[Any], source: str, batch: int, seconds: float) -> dict[str, Any]:
    """Measure one source and batch for ``seconds``, after a warm-up of a tenth of that."""

    def call(number: int) -> tuple[float, float, float, float, float]:
        """Return seconds to decode, to prepare only, and to embed (which includes preparing), and the processor's
        seconds to decode and embed, and to prepare only."""
        picked = [pool[(number * batch + i) % COUNT] for i in range(batch)]
        start, busy = time.perf_counter(), time.process_time()
        images = [embedder.decode(content) for content in picked] if source == "jpeg" else picked
        decoded = time.perf_counter()
        rows = embedder.embed(images)
        embedded, busy = time.perf_counter(), time.process_time() - busy
        preparing = time.process_time()
        embedder.prepare(images)
        preparing = time.process_time() - preparing
        assert len(rows) == batch
        return decoded - start, time.perf_counter() - embedded, embedded - decoded, busy, preparing

    def calls_for(span: float, least: int) -> list[tuple[float, float, float, float, float]]:
        calls: list[tuple[float, float, float, float, float]] = []
        until = time.perf_counter() + span
        while time.perf_counter() < until or len(calls) < least:
            calls.append(call(len(calls)))
        return calls

    calls_for(seconds / 10, 1)
    calls = calls_for(seconds, 3)
    decode, prepare, embed, busy, preparing = np.array(calls).T
    whole = decode + embed
    return {
        "crops_per_second": batch / float(np.median(whole)),
        "p50_milliseconds": 1e3 * float(np.median(whole)),
        "p99_milliseconds": 1e3 * float(np.percentile(whole, 99)),
        "processor_milliseconds": 1e3 * float(np.median(busy)),
        "preparing_processor_milliseconds": 1e3 * float(np.median(preparing)),
        "decoding_share": float(np.median(decode) / np.median(whole)),
        "preprocessing_share": float(np.median(prepare) / np.median(whole)),
        "peak_megabytes": memory("VmHWM") / 1e6,  # with the interpreter, its packages and the model
        "calls": len(calls),
    }


class WayError(Exception):
    """A way cannot be measured here."""


def in_a_process(task: dict[str, Any], timeout: float) -> list[dict[str, Any]]:
    """Call :func:`measure` in a fresh interpreter. Raises WayError if that fails or takes too long."""
    threads = {name: str(task["threads"]) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    command = [sys.executable, __file__, "--one", json.dumps(task)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | threads, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise WayError(f"more than {timeout:g} s") from None
    if done.returncode:
        raise WayError((done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"])[-1])
    return list(json.loads(done.stdout.splitlines()[-1]))


def recipe(name: str) -> Any:
    """Return the demo's recipe, or the default recipe with a backbone and random weights."""
    from reid_toolkit.config import NetworkRecipe, Recipe
    from reid_toolkit.recipe_files import load_recipe

    return load_recipe(name) if name == "demo" else Recipe(network=NetworkRecipe(name, weights="none"))


def missing(way: str) -> str:
    """Return what a way needs and this machine lacks."""
    from importlib.util import find_spec

    if way.endswith(("CUDA", "TensorRT")):
        import onnxruntime
        import torch

        provider = "TensorrtExecutionProvider" if way.endswith("TensorRT") else "CUDAExecutionProvider"
        if not torch.cuda.is_available():
            return "no CUDA device"
        if way.startswith("ours") and provider not in onnxruntime.get_available_providers():
            return f"this onnxruntime {onnxruntime.__version__} was built without {provider}"
    return f"no package {NEEDS[way]}" if way in NEEDS and find_spec(NEEDS[way]) is None else ""


Found = dict[tuple[str, int, int, str], list[dict[str, Any]]]
"""Measured cases, by source, batch, threads and way."""


def run(
    options: argparse.Namespace, folder: Path, keep: Callable[[list[dict[str, Any]], dict[str, str]], None]
) -> list[dict[str, Any]]:
    """Measure all cases and their ratios, and print one table after another. ``keep`` gets, after each way, all rows so
    far and why ways were left out."""
    left_out = {way: why for way in options.ways if (why := missing(way))}
    rows: list[dict[str, Any]] = []
    keep(rows, left_out)
    ways = [way for way in options.ways if way not in left_out]
    for model in options.models if ways else ():
        files = make_models(folder / model, recipe(model), [view.copy() for view in pictures()[1]], ways)
        found: Found = {}
        here: list[dict[str, Any]] = []
        for _, threads, way in product(range(options.rounds), options.threads, ways):
            if way in left_out:
                continue
            task = {"folder": str(folder / model), "way": way, "threads": threads, "seconds": options.seconds}
            try:
                cases = in_a_process({**task, "sources": options.sources, "batches": options.batches}, options.timeout)
            except WayError as error:
                left_out[way] = str(error)
                cases = []
            for case in cases:
                found.setdefault((case.pop("source"), case.pop("batch"), threads, way), []).append(case)
            here = rows_of(model, files, found, options)
            keep([*rows, *here], left_out)
        for row in here:
            print(table_line(row), file=sys.stderr, flush=True)
        rows += here
    return rows


def rows_of(model: str, files: dict[str, int], found: Found, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows of a model: medians of the cases that were measured, with their ratios."""
    rows = []
    for source, batch, threads in product(options.sources, options.batches, options.threads):
        group = []
        for way in options.ways:
            cases = found.get((source, batch, threads, way))
            if not cases:
                continue
            row = {"model": model, "source": source, "batch": batch, "threads": threads, "way": way}
            if "choice" in cases[0]:
                row["choice"] = cases[0]["choice"]
            row |= {key: float(np.median([case[key] for case in cases])) for key in cases[0] if key != "choice"}
            speeds = [case["crops_per_second"] for case in cases]
            row |= {"spread": (max(speeds) - min(speeds)) / row["crops_per_second"], "files": files}
            group.append(row)
        speed = {row["way"]: row["crops_per_second"] for row in group}
        for row in group:
            row["ratio"] = row["crops_per_second"] / speed[REFERENCE] if REFERENCE in speed else None
        rows += group
    return rows


COLUMNS = ("way", "crops/s", "ratio", "p50 ms", "p99 ms", "CPU ms", "decoding", "preprocessing", "peak MB")


def table_line(row: dict[str, Any]) -> str:
    ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
    return (
        f"| {row['way']} | {row['crops_per_second']:.0f} | {ratio} | {row['p50_milliseconds']:.2f} | "
        f"{row['p99_milliseconds']:.2f} | {row['processor_milliseconds']:.2f} | {row['decoding_share']:.0%} | "
        f"{row['preprocessing_share']:.0%} | {row['peak_megabytes']:.0f} |"
    )


def table(rows: list[dict[str, Any]]) -> str:
    """Format as Markdown, a table for each model, source, batch and number of threads."""
    lines, last = [], None
    for row in rows:
        here = f"{row['model']}, from {row['source']}, batch {row['batch']}, {row['threads']} thread(s)"
        if here != last:
            lines += ["", here, "", f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
            last = here
        lines.append(table_line(row))
    return "\n".join(lines[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--sources", nargs="+", choices=SOURCES, default=SOURCES)
    parser.add_argument("--batches", type=int, nargs="+", default=(1, 16))
    parser.add_argument("--threads", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--seconds", type=float, default=0.8, help="duration of each measurement")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=900, help="seconds after which a way is given up")
    parser.add_argument("--out", type=Path, required=True)
    if "--one" in sys.argv[1:2]:
        print(json.dumps(measure(**json.loads(sys.argv[2]))))
        return
    options = parser.parse_args()
    about = measured_on()

    def keep(rows: list[dict[str, Any]], left_out: dict[str, str]) -> None:
        save(options.out, about | {"left_out": left_out, "rows": rows})

    with tempfile.TemporaryDirectory() as folder:
        rows = run(options, Path(folder), keep)
    for way, why in json.loads(options.out.read_text())["left_out"].items():
        print(f"{way}: left out: {why}", file=sys.stderr)
    if not rows:
        sys.exit("error: none of these ways could be measured")
    print(table(rows))


def measured_on() -> dict[str, Any]:
    """Return the command, the machine and what was measured on."""
    from importlib.metadata import version
    from importlib.util import find_spec

    import onnxruntime
    import torch

    from reid_toolkit.export.int8 import target_here

    files, views = pictures()
    return {
        **origin(),
        "versions": {
            "onnxruntime": onnxruntime.__version__,
            "torch": torch.__version__,
            "opencv": cv2.__version__,
            "openvino": version("openvino") if find_spec("openvino") else None,
        },
        "int8_target": target_here(),
        "crops": {
            "count": COUNT,
            "mean_bytes": float(np.mean([len(content) for content in files])),
            "mean_pixels": float(np.mean([view.shape[0] * view.shape[1] for view in views])),
        },
    }


if __name__ == "__main__":
    main()
