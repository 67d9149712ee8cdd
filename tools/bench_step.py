"""Measures what a training step on a CPU gains by keeping the memory that the step before it freed.

    python tools/bench_step.py --json docs/benchmarks/step.json

Each case is a shipped recipe with some threads. Its steps are timed as ``reid train`` times them for its forecast, but
for longer: random pictures and weights, the recipe's batch and size of crops. "kept" is what ``reid train`` does;
"given back", the reference, is what glibc does itself. The two take turns, each time in a process of their own, and the
middle of --repeats counts, because the machine's speed varies. Where the system gives huge pages to every program
("always" in the JSON), there is less to gain.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from machine import memory
from study import run, write_json

from reid_toolkit.recipe_files import load_recipe
from reid_toolkit.training import forecast
from reid_toolkit.training.devices import training_on
from reid_toolkit.training.distributed import ALONE
from reid_toolkit.training.network import ReidNetwork
from reid_toolkit.training.rounds import move_to_device

WAYS = ("given back", "kept")
MOST_A_SECOND = 200
"""Steps that are drawn for each of --seconds."""


def measure(recipe: str, way: str, seconds: float) -> dict[str, float]:
    """Time training steps in this process for so many seconds: crops a second, and the peak memory in megabytes."""
    loaded, device = load_recipe(recipe), torch.device("cpu")
    kept = forecast.freed_memory_kept if way == "kept" else nullcontext
    most = max(forecast.MOST_CALLS, int(MOST_A_SECOND * seconds))  # else a quick recipe's time ends early
    limits = {"PATIENCE": seconds, "MOST_CALLS": most, "STEPS": forecast.WARM_UP + 1 + most}
    with patch.multiple(forecast, freed_memory_kept=kept, **limits), training_on(device, loaded):
        network = ReidNetwork(loaded.network)
        move_to_device(network, loaded, device, ALONE)
        step = forecast.time_step(network, loaded, device)
    return {
        "crops_per_second": loaded.training.batch_size * loaded.training.frames / step,
        "peak_megabytes": memory("VmHWM") / 1e6,
    }


def in_its_process(recipe: str, way: str, threads: int, seconds: float) -> dict[str, float]:
    """Call :func:`measure` in a new process with so many threads."""
    command = [sys.executable, __file__, "--one", recipe, way, str(seconds)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    found = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    return dict(json.loads(found))


def case(recipe: str, threads: int, repeats: int, seconds: float) -> dict[str, Any]:
    """Return the row of a case: all measurements of both ways, and how many times as fast it is to keep memory."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for number in range(repeats):
        for way in WAYS if number % 2 else reversed(WAYS):
            found[way].append(in_its_process(recipe, way, threads, seconds))
    row: dict[str, Any] = {"recipe": recipe, "threads": threads}
    for way, measured in found.items():
        row[way] = {name: [round(one[name], 1) for one in measured] for name in measured[0]}
    given_back, kept = (statistics.median(row[way]["crops_per_second"]) for way in WAYS)
    return row | {"times_as_fast": round(kept / given_back, 2)}


def main(options: argparse.Namespace) -> None:
    if options.one:
        recipe, way, seconds = options.one
        print(json.dumps(measure(recipe, way, float(seconds))))
        return
    rows = []
    for threads in options.threads:
        for recipe in options.recipes:
            rows.append(case(recipe, threads, options.repeats, options.seconds))
            print(json.dumps(rows[-1]))
    if options.json:
        huge = Path("/sys/kernel/mm/transparent_hugepage/enabled")
        write_json(options.json, {"huge_pages": huge.read_text().strip() if huge.exists() else None, "rows": rows})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="the file to write")
    parser.add_argument("--recipes", nargs="+", default=["dbc_cameras", "demo_rounds"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, len(os.sched_getaffinity(0))])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="time of steps in each process")
    parser.add_argument("--one", nargs=3, metavar=("RECIPE", "WAY", "SECONDS"), help=argparse.SUPPRESS)
    run(main, parser)
