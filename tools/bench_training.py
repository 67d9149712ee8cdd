"""Measures how long a whole training run takes and where its time goes, compared with the plain way to do it.

    python tools/bench_training.py --out docs/benchmarks/training.json
    python tools/bench_training.py --device cpu --images 2000 --height 64 --width 32 --backbone resnet18 \\
        --rows plain dbc dbc_fast --seconds 150 --timeout 400 --out training_cpu.json

The second command is a small trial, which takes about eight minutes on two cores of a CPU.

Draws a set of Market-1501's size and layout (coloured noise, 17 pictures per identity), and runs `train` on it once for
each of --rows, in its own process. A row is a shipped recipe's name, with "+bfloat16" appended for that precision;
"plain" is tools/plain_training.py, the reference of all ratios. Weights are random, so learning rates are a tenth of
the recipe's; neither changes the speed.

A run is cut short in two ways, and the whole schedule is extrapolated stage by stage. A stage trains at most --epochs
epochs, and no stage after the first two begins after --seconds. The time in training steps grows with a stage's epochs;
all other work of a stage is taken as measured; a stage that was not reached is assumed to be like the last one that
was. The JSON says which share was measured. ``--epochs 20 --seconds 100000`` runs everything.

FLOP/s utilisation: the network's products (torch.utils.flop_counter), forward and backward, divided by the time of
training steps, relative to the fastest matrix product of the same precision on the same device.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from machine import origin, save
from plain_training import measure_plain
from torch.utils.flop_counter import FlopCounterMode

from reid_toolkit.config import Recipe
from reid_toolkit.datasets import open_dataset
from reid_toolkit.recipe_files import load_recipe
from reid_toolkit.training.devices import choose_device
from reid_toolkit.training.network import build_network
from reid_toolkit.training.rounds import Step, train
from reid_toolkit.training.schedule import plan
from reid_toolkit.training.selection import START

PICTURES = 17
"""Pictures per identity, about as in Market-1501."""
PHASES = ("load", "train", "extract", "measure", "merge", "save")


class TimeIsUpError(Exception):
    """The time for a row is over."""


def draw_set(root: Path, images: int) -> None:
    """Draw ``images`` JPEGs of 128x64 in Market-1501's layout: a pattern for each identity, with noise in each
    picture."""
    folder = root / "bounding_box_train"
    folder.mkdir(parents=True)

    def draw(number: int) -> None:
        identity = number // PICTURES
        pattern = np.random.default_rng((0, identity)).uniform(0, 255, (8, 4, 3)).astype(np.float32)
        noise = np.random.default_rng((1, number)).normal(0, 20, (128, 64, 3))
        picture = cv2.resize(pattern, (64, 128), interpolation=cv2.INTER_CUBIC) + noise
        name = f"{identity + 1:04}_c{number % 6 + 1}s1_{number:06}_00.jpg"
        cv2.imwrite(str(folder / name), picture.clip(0, 255).astype(np.uint8))

    with ThreadPoolExecutor() as pool:
        list(pool.map(draw, range(images)))


def recipe_of(row: str, options: dict[str, Any]) -> Recipe:
    """Return the complete recipe of a row."""
    name, _, precision = row.partition("+")
    recipe = load_recipe(name)
    parts = {key: options[key] for key in ("backbone", "height", "width")}
    frozen = recipe.network.frozen if options["backbone"].startswith("resnet") else "none"
    network = replace(recipe.network, weights="none", frozen=frozen, **parts)
    training = replace(
        recipe.training,
        first_learning_rate=recipe.training.first_learning_rate / 10,
        later_learning_rate=recipe.training.later_learning_rate / 10,
        **({"precision": precision} if precision else {}),
    )
    return replace(recipe, network=network, training=training)


def measure(row: str, root: str, options: dict[str, Any]) -> dict[str, Any]:
    """Measure one row in this process."""
    device = choose_device(options["device"])
    dataset = open_dataset(Path(root))
    if row == "plain":
        recipe = recipe_of("dbc", options)
        found = measure_plain([crop.path for crop in dataset.crops], recipe, device, options["seconds"] / 4)
        schedule, count = plan(recipe, len(dataset.crops)), len(dataset.crops)
        images = sum(schedule.steps) * min(recipe.training.batch_size, count)
        phases = {
            "train": images / found["images_per_second"],
            "extract": (schedule.stages + 1) * count / found["extracted_per_second"],
        }
        return {"row": row, "seconds": sum(phases.values()), "phases": phases, **found}
    recipe = recipe_of(row, options)
    with tempfile.TemporaryDirectory() as folder:
        rows, wall = cut_short(dataset, recipe, Path(folder) / "run", device, options)
    return {"row": row, "recipe": settings(recipe), **extrapolate(recipe, len(dataset.crops), rows, options)} | {
        "measured_wall_seconds": wall,
        **utilisation(recipe, device),
        "peak_gpu_megabytes": torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else None,
    }


def cut_short(
    dataset: Any, recipe: Recipe, out: Path, device: torch.device, options: dict[str, Any]
) -> tuple[list[dict[str, Any]], float]:
    """Return rows of metrics.jsonl of the stages that the time allowed, and the seconds that all of it took."""
    began = time.perf_counter()

    def watch(step: Step) -> None:
        if step.stage >= 2 and time.perf_counter() - began > options["seconds"]:
            raise TimeIsUpError

    with suppress(TimeIsUpError):
        train(dataset, shortened(recipe, options["epochs"]), out, device=device, on_step=watch)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["stage"] != START], time.perf_counter() - began


def shortened(recipe: Recipe, epochs: int) -> Recipe:
    first, later = (min(epochs, value) for value in (recipe.training.first_epochs, recipe.training.later_epochs))
    return replace(recipe, training=replace(recipe.training, first_epochs=first, later_epochs=later))


def extrapolate(recipe: Recipe, count: int, rows: list[dict[str, Any]], options: dict[str, Any]) -> dict[str, Any]:
    """Extrapolate the whole schedule from the stages that were measured."""
    whole, cut = plan(recipe, count), plan(shortened(recipe, options["epochs"]), count)
    phases = dict.fromkeys(PHASES, 0.0)
    for stage in range(whole.stages):
        measured = rows[min(stage, len(rows) - 1)]
        for phase in PHASES:
            if phase != "load" or stage == 0:
                scale = whole.steps[stage] / cut.steps[measured["stage"]] if phase == "train" else 1
                phases[phase] += measured[f"seconds_{phase}"] * scale
    seconds, batch = sum(phases.values()), min(recipe.training.batch_size, count)
    done = cut.steps[: len(rows)]
    return {
        "seconds": seconds,
        "phases": phases,
        "shares": {phase: value / seconds for phase, value in phases.items()},
        "images_per_second": sum(done) * batch / sum(row["seconds_train"] for row in rows),
        "measured_share_of_steps": sum(done) / sum(whole.steps),
        "measured_stages": len(rows),
        "stages": whole.stages,
        "crops": rows[0].get("crops"),
    }


def settings(recipe: Recipe) -> dict[str, Any]:
    names = ("batch_size", "first_epochs", "later_epochs", "precision")
    return {name: getattr(recipe.training, name) for name in names} | {"frozen": recipe.network.frozen}


def utilisation(recipe: Recipe, device: torch.device) -> dict[str, Any]:
    """Return FLOPs per image, forward and backward through the network, and the device's greatest FLOP/s."""
    network = build_network(recipe.network, 0).train()
    with FlopCounterMode(display=False) as counter:
        network.embed(network(torch.randn(2, 3, recipe.network.height, recipe.network.width))).sum().backward()
    if recipe.training.precision == "bfloat16":
        precision, dtype = "bfloat16", torch.bfloat16
    else:  # cuDNN's convolutions use TF32 by default
        tf32 = device.type == "cuda" and torch.backends.cudnn.allow_tf32
        precision, dtype = "tf32" if tf32 else "float32", torch.float32
    return {
        "flops_per_image": counter.get_total_flops() / 2,
        "peak_flops_per_second": peak(device, dtype, precision == "tf32"),
        "peak_precision": precision,
    }


def peak(device: torch.device, dtype: torch.dtype, tf32: bool) -> float:
    """Return FLOP/s of the fastest of ten square matrix products."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    seconds = []
    for _ in range(10):
        began = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    torch.set_float32_matmul_precision(before)
    return 2 * size**3 / min(seconds)


def in_a_process(row: str, root: str, options: argparse.Namespace) -> dict[str, Any]:
    """Call :func:`measure` in a fresh interpreter. Returns a row with "failed" if that process failed."""
    names = ("device", "backbone", "height", "width", "seconds", "epochs")
    case = {"row": row, "root": root, "options": {name: getattr(options, name) for name in names}}
    command = [sys.executable, __file__, "--one", json.dumps(case)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=options.timeout)
    except subprocess.TimeoutExpired:
        return {"row": row, "failed": f"more than {options.timeout} s"}
    if done.returncode:
        return {"row": row, "failed": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def compare(rows: list[dict[str, Any]]) -> None:
    """Add utilisation, and ratios to the plain way if it was measured."""
    plain = next((row for row in rows if row["row"] == "plain" and "failed" not in row), None)
    for row in (row for row in rows if "failed" not in row):
        if "flops_per_image" in row:
            row["utilisation"] = row["images_per_second"] * row["flops_per_image"] / row["peak_flops_per_second"]
        if plain:
            row["ratio_images_per_second"] = row["images_per_second"] / plain["images_per_second"]
            row["ratio_seconds"] = plain["seconds"] / row["seconds"]


def line(row: dict[str, Any]) -> str:
    if "failed" in row:
        return f"{row['row']:14} failed: {row['failed']}"
    ratio = f"{row['ratio_images_per_second']:5.1f}x {row['ratio_seconds']:5.1f}x" if "ratio_seconds" in row else ""
    text = f"{row['row']:14} {row['images_per_second']:9.1f} images/s  whole {row['seconds'] / 60:8.2f} min  {ratio}"
    if "shares" in row:
        text += f"  {100 * row['utilisation']:5.1f}% of peak, measured {100 * row['measured_share_of_steps']:.0f}%;"
        text += "".join(f" {phase} {100 * share:.1f}%" for phase, share in row["shares"].items())
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=12936)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--rows", nargs="+", default=["plain", "dbc", "dbc+bfloat16", "dbc_fast"])
    parser.add_argument("--epochs", type=int, default=1, help="most epochs of a stage")
    parser.add_argument("--seconds", type=float, default=80, help="time after which a row begins no stage")
    parser.add_argument("--timeout", type=float, default=600, help="seconds after which a row is given up")
    parser.add_argument("--device", default="auto")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, help="the JSON to write")
    what.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(**json.loads(options.one))))
        return
    device = choose_device(options.device)
    report: dict[str, Any] = {
        **origin(
            f"torch {torch.__version__}",
            torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU used",
        ),
        "images": options.images,
        "input": f"{options.backbone}, {options.height}x{options.width}",
        "rows": [],
    }
    with tempfile.TemporaryDirectory() as root:
        draw_set(Path(root), options.images)
        for name in options.rows:
            report["rows"].append(in_a_process(name, root, options))
            compare(report["rows"])
            print(line(report["rows"][-1]), flush=True)
            save(options.out, report)
    sys.exit(any("failed" in row for row in report["rows"]))


if __name__ == "__main__":
    main()
