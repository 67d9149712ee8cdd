"""What the studies share: a run's stages, measured on a dataset whose identities are known. Not a command."""

import json
import os
import platform
import shlex
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from reid_toolkit.config import Recipe
from reid_toolkit.datasets import Dataset, Split, open_dataset
from reid_toolkit.datasets.manifest import read_identities
from reid_toolkit.errors import ReidError, RunError
from reid_toolkit.evaluation.clustering import NOBODY, agreement
from reid_toolkit.evaluation.protocol import Embedded, evaluate
from reid_toolkit.files import atomic_path, write_atomic
from reid_toolkit.training.checkpoint import Checkpoint, RunFolder
from reid_toolkit.training.constraints import cannot_link, in_one_cluster
from reid_toolkit.training.features import extract
from reid_toolkit.training.network import ReidNetwork
from reid_toolkit.training.rounds import choose_device, train
from reid_toolkit.training.store import Samples, load_samples

SPLITS: tuple[Split, ...] = ("train", "query", "gallery")
DEVICE = choose_device("auto")


@dataclass(frozen=True)
class Study:
    """A run, and the pictures it is measured on."""

    folder: RunFolder
    recipe: Recipe
    samples: Samples
    """What the run clustered, in the order of its labels."""
    query: Samples
    gallery: Samples
    """The same object as ``query`` where the layout has one part."""

    @property
    def identities(self) -> list[str | None]:
        """Of each of ``samples``; a crop knows it where a tracklet of one crop was made of it."""
        return [tracklet.crops[0].identity for tracklet in self.samples.tracklets]

    @property
    def people(self) -> int:
        """How many are known among ``samples``."""
        return len(set(self.identities) - set(NOBODY))


def open_study(run: Path, dataset: Path, identities: Path | None) -> Study:
    """A run and the dataset it was trained on; :class:`RunError` for another dataset, and where no stage is done."""
    folder = RunFolder(run)
    recipe = folder.recipe()
    if not folder.stages():
        raise RunError(f"{run}: no stage is done: expected checkpoints of `reid train`; resume it")
    parts = [open_dataset(dataset, split=split) for split in SPLITS]
    if parts[0].fingerprint != folder.dataset():
        raise RunError(f"{run}: was not trained on {dataset} as it is now: expected fingerprint {folder.dataset()}")
    if identities:
        names = read_identities(identities)
        parts = [part.with_identities(names) for part in parts]
    height, width = recipe.network.height, recipe.network.width
    query, gallery = (load(part, height, width, False) for part in parts[1:])
    return Study(folder, recipe, load(parts[0], height, width, recipe.training.samples == "images"), query, gallery)


@cache
def load(dataset: Dataset, height: int, width: int, images: bool) -> Samples:
    """Decoded once, however many runs and splits ask for the same tracklets."""
    return load_samples(dataset, height, width, images=images, device=DEVICE)


def embed(study: Study, checkpoint: Checkpoint, samples: Samples) -> Embedded:
    """Descriptors of ``samples`` by the network as it was at the end of a stage."""
    network = ReidNetwork(study.recipe.network)
    network.load_state_dict(checkpoint.weights)
    return Embedded(samples.tracklets, extract(network.to(DEVICE), samples, DEVICE).descriptors.numpy())


def measure(study: Study, stage: int) -> dict[str, Any]:
    """One stage's model and clusters, fractions 0-1; ``violations`` is None where nobody was seen at once."""
    checkpoint = study.folder.load(stage)
    query = embed(study, checkpoint, study.query)
    gallery = query if study.gallery is study.query else embed(study, checkpoint, study.gallery)
    ranking = evaluate(query, gallery).overall
    labels, pairs = checkpoint.labels.numpy(), cannot_link(study.samples)
    return {
        "stage": stage,
        "clusters": int(labels.max()) + 1,
        "rank-1": ranking.rank(1),
        "mAP": ranking.mean_ap,
        **asdict(agreement(labels, study.identities)),
        "violations": float(in_one_cluster(labels, pairs).mean()) if len(pairs) else None,
    }


def train_run(dataset: Path, recipe: Recipe, run: Path) -> None:
    """Train, or go on with, or keep what is finished: a study that was stopped is run again."""
    print(f"train {run}", file=sys.stderr)
    train(open_dataset(dataset), recipe, run, resume=True, device=DEVICE)


def arguments(description: str | None, *, trains: bool = False) -> ArgumentParser:
    """A parser with what every study takes; one that ``trains`` takes a recipe and a folder for its runs."""
    parser = ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)
    if not trains:
        parser.add_argument("run", type=Path, metavar="RUN", help="folder of a training run")
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="what it is trained on, or was")
    parser.add_argument("--identities", type=Path, help="CSV tracklet,identity; instead of the dataset's own")
    parser.add_argument("--png", type=Path, required=True, help="the picture to write")
    if trains:
        parser.add_argument("--recipe", required=True, help="a shipped recipe's name, or a TOML file")
        parser.add_argument("--runs", type=Path, required=True, help="where the runs go; those there go on")
    return parser


def write_json(path: Path, content: dict[str, Any]) -> None:
    """What was measured, with the command, the day and the machine."""
    device = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "no GPU used"
    origin = {
        "command": shlex.join(["python", f"tools/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, {device}",
    }
    write_atomic(path, json.dumps(origin | content, indent=1) + "\n")


def write_png(path: Path, figure: Figure) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=90)


def print_rows(rows: Iterable[dict[str, Any]]) -> None:
    """A table; fractions in per cent."""
    rows = list(rows)
    widths = {key: max(len(key), *(len(cell(row[key])) for row in rows)) for key in rows[0]}
    for line in ({key: key for key in widths}, *rows):
        print("  ".join(cell(line[key]).rjust(width) for key, width in widths.items()))


def cell(value: Any) -> str:
    return f"{100 * value:.1f}" if isinstance(value, float) else "-" if value is None else str(value)


def run(main: Callable[[Namespace], None], parser: ArgumentParser) -> None:
    """Parse and go; a named error is one line and status 1, as with ``reid``."""
    try:
        main(parser.parse_intermixed_args())
    except ReidError as error:
        sys.exit(f"error: {error}")
