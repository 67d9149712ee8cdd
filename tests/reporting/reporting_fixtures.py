import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from reid_toolkit.config import MergingRecipe, NetworkRecipe, Recipe, TrainingRecipe
from reid_toolkit.datasets import open_dataset
from reid_toolkit.datasets.manifest import write_manifest
from reid_toolkit.training.rounds import train

CPU = torch.device("cpu")
HOSTILE = "<b onclick=alert(1)>"
"""A name that would be markup where it is not escaped."""

RECIPE = Recipe(
    network=NetworkRecipe("mobilenet_v3_small", weights="none", embedding=16, height=32, width=32),
    training=TrainingRecipe(frames=2, batch_size=6, first_epochs=1, later_epochs=1, first_learning_rate=0.02),
    merging=MergingRecipe(fraction=0.25),
)
"""Three stages on the 12 tracklets of ``tiny_dataset``: 12, 9 and 6 clusters."""


@dataclass(frozen=True)
class Trained:
    dataset: Path
    identities: Path
    run: Path


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test that wants the run leaves it for the others."""
    return tmp_path_factory.mktemp("shelf") / "run"


@pytest.fixture
def trained(tiny_dataset: Path, tmp_path: Path, shelf: Path) -> Trained:
    """A finished run on the tiny dataset, a copy for each test: a camera has a hostile name, two were seen at once."""
    crops = open_dataset(tiny_dataset).crops
    at_once = ("north-00", "north-10")
    write_manifest(
        tiny_dataset,
        [
            replace(
                crop,
                camera=HOSTILE if crop.camera == "south" else crop.camera,
                time=1.0 if crop.tracklet in at_once else None,
            )
            for crop in crops
        ],
    )
    if not shelf.exists():
        train(open_dataset(tiny_dataset), RECIPE, shelf)
    shutil.copytree(shelf, tmp_path / "run")
    return Trained(tiny_dataset, tiny_dataset / "identities.csv", tmp_path / "run")
