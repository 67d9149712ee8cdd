"""Functions that the studies share: their options, and how they run, measure and write. Not a command."""

import fcntl
import json
import os
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import origin, save
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from reid_toolkit.config import Recipe
from reid_toolkit.datasets import Dataset, open_dataset
from reid_toolkit.errors import ReidError
from reid_toolkit.evaluation.protocol import Embedded
from reid_toolkit.files import atomic_path
from reid_toolkit.reporting.study import Stage, Study
from reid_toolkit.training.devices import choose_device
from reid_toolkit.training.features import extract
from reid_toolkit.training.rounds import train
from reid_toolkit.training.run_folder import RunFolder, load_network
from reid_toolkit.training.samples import load_samples
from reid_toolkit.training.teaching import Teacher

DEVICE = choose_device("auto")


def measure(study: Study, stage: int) -> dict[str, Any]:
    """Measure one stage's model and clusters against identities. Fractions 0-1."""
    found = Stage(study, stage, DEVICE)
    return {"stage": stage, "clusters": int(found.checkpoint.labels.max()) + 1, **found.truth()}


def train_run(dataset: Path, recipe: Recipe, run: Path, teacher: Teacher | None = None) -> None:
    """Train, resume, or keep a finished run, so that a study that was stopped can be run again."""
    print(f"train {run}", file=sys.stderr)
    train(open_dataset(dataset), recipe, run, resume=True, device=DEVICE, teacher=teacher)


def add_trial_options(parser: ArgumentParser) -> None:
    """Add options that make a row small enough to try a study. :func:`in_miniature` applies them."""
    parser.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="for trials")
    parser.add_argument("--rounds", type=int, nargs=2, metavar=("COUNT", "STEPS"), help="for trials")


def in_miniature(recipe: Recipe, options: Namespace) -> Recipe:
    """Return the recipe as changed by :func:`add_trial_options`. Recipes with stages have no rounds to change."""
    network, rounds = recipe.network, recipe.rounds
    if options.size:
        network = replace(network, height=options.size[0], width=options.size[1])
    if options.rounds and rounds.count:
        rounds = replace(rounds, count=options.rounds[0], steps=options.rounds[1])
    return replace(recipe, network=network, rounds=rounds)


def embedded(folder: RunFolder, stage: str, dataset: Dataset) -> Embedded:
    """Compute a descriptor for each tracklet of a dataset with the run's network at ``stage``."""
    recipe = folder.recipe()
    samples = load_samples(dataset, recipe.network.height, recipe.network.width, device=DEVICE)
    network = load_network(folder, stage).to(DEVICE)
    return Embedded(samples.tracklets, extract(network, samples, DEVICE).descriptors.numpy())


def known_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows that a study has written into its JSON."""
    rows: list[dict[str, Any]] = json.loads(path.read_text())["rows"] if path.exists() else []
    return rows


def add_rows(path: Path, rows: list[dict[str, Any]], keys: tuple[str, ...], **about: Any) -> None:
    """Add rows to a study's JSON, but none that is there by these ``keys``. Other calls may add rows at any time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.parent):
        known = known_rows(path)
        there = [[row.get(key) for key in keys] for row in known]
        write_json(path, about | {"rows": known + [row for row in rows if [row.get(key) for key in keys] not in there]})


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Wait for the lock of a folder, and hold it. The system frees it if the process dies."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def arguments(description: str | None, *, trains: bool = False) -> ArgumentParser:
    """Make a parser with the options of every study. A study that ``trains`` takes a recipe and a folder for its
    runs."""
    parser = ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)
    if not trains:
        parser.add_argument("run", type=Path, metavar="RUN", help="folder of a training run")
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="the dataset that is, or was, trained on")
    parser.add_argument("--identities", type=Path, help="CSV tracklet,identity; instead of the dataset's own")
    parser.add_argument("--png", type=Path, required=True, help="the picture to write")
    if trains:
        parser.add_argument("--recipe", required=True, help="a shipped recipe's name, or a TOML file")
        parser.add_argument("--runs", type=Path, required=True, help="folder of the runs; unfinished ones go on")
    return parser


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write the measurements with the command, the day and the machine."""
    save(path, origin(torch.cuda.get_device_name() if DEVICE.type == "cuda" else "no GPU used") | content)


def b_cubed(labels: ArrayLike, truth: ArrayLike) -> tuple[float, float]:
    """Return B-cubed precision and recall (Bagga and Baldwin, 1998) of the group of each record."""
    group, person = (np.unique(values, return_inverse=True, return_counts=True)[1:] for values in (labels, truth))
    _, place, both = np.unique(group[0] * len(person[1]) + person[0], return_inverse=True, return_counts=True)
    precision, recall = (float((both[place] / sizes[of]).mean()) for of, sizes in (group, person))
    return precision, recall


def write_png(path: Path, figure: Figure) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=90)


def print_rows(rows: Iterable[dict[str, Any]]) -> None:
    """Print a table, with fractions in per cent."""
    rows = list(rows)
    if not rows:
        return
    widths = {key: max(len(key), *(len(cell(row[key])) for row in rows)) for key in rows[0]}
    for line in ({key: key for key in widths}, *rows):
        print("  ".join(cell(line[key]).rjust(width) for key, width in widths.items()))


def cell(value: Any) -> str:
    return f"{100 * value:.1f}" if isinstance(value, float) else "-" if value is None else str(value)


def run(main: Callable[[Namespace], None], parser: ArgumentParser) -> None:
    """Parse the arguments and run. A named error is one line and status 1, as with ``reid``."""
    try:
        main(parser.parse_intermixed_args())
    except ReidError as error:
        sys.exit(f"error: {error}")
