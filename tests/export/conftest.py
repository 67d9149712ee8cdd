import json
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from once import made_once
from small_backbone import MOBILE_V3, SMALL

from reid_toolkit.config import MergingRecipe, NetworkRecipe, Recipe, TrainingRecipe
from reid_toolkit.datasets import open_dataset
from reid_toolkit.export.onnx import export
from reid_toolkit.export.parity import Parity
from reid_toolkit.images import Image, read_image
from reid_toolkit.training.rounds import train


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain folder of four crops of noise, of different sizes."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(4):
        noise = rng.integers(0, 256, (8 + number, 5, 3), np.uint8)
        cv2.imwrite(str(root / f"{number}.png"), cv2.resize(noise, (30 + number, 50 + 20 * number)))
    return root


@pytest.fixture(scope="session")
def crops(pictures: Path) -> list[Image]:
    return [read_image(crop.path) for crop in open_dataset(pictures).crops]


@pytest.fixture(scope="session", params=[SMALL, MOBILE_V3])
def run(request: pytest.FixtureRequest, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three stages; not to be changed."""
    recipe = Recipe(
        network=NetworkRecipe(request.param, weights="none", embedding=8, height=48, width=32),
        training=TrainingRecipe(batch_size=4, first_epochs=1, later_epochs=1, first_learning_rate=0.01),
        merging=MergingRecipe(fraction=0.34),
    )

    def make(folder: Path) -> None:
        train(open_dataset(pictures), recipe, folder / "run")

    return made_once(tmp_path_factory, f"run of {request.param}", make) / "run"


@pytest.fixture(scope="session")
def exported(run: Path, crops: list[Image], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Parity]:
    """A run, its selected model, alone in a folder, and the proof."""

    def make(folder: Path) -> None:
        (folder / "alone").mkdir()
        proof = export(run, folder / "alone" / "model.onnx", crops)
        (folder / "proof.json").write_text(json.dumps(asdict(proof)))

    folder = made_once(tmp_path_factory, f"model of the {run.parent.name}", make)
    proof = json.loads((folder / "proof.json").read_text())
    return run, folder / "alone" / "model.onnx", Parity(**proof | {"batches": tuple(proof["batches"])})
