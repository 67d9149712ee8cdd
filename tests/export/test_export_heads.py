"""Export of networks whose descriptor is batch norm's, of another pooling and stride."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_backbone import SMALL, settle

from reid_toolkit.config import NetworkRecipe, Recipe
from reid_toolkit.errors import ModelError
from reid_toolkit.export import serving
from reid_toolkit.export.onnx import export
from reid_toolkit.export.parity import Parity
from reid_toolkit.export.quantize import quantize
from reid_toolkit.images import Image
from reid_toolkit.runtime import Embedder
from reid_toolkit.runtime.preprocess import to_batch
from reid_toolkit.training.network import build_network, centre_features, standardise, to_rgb
from reid_toolkit.training.run_folder import RunFolder
from reid_toolkit.training.tensor_files import save_tensors


@pytest.fixture(scope="module", params=[SMALL, "mobilenet_v2"])
def run(request: pytest.FixtureRequest, crops: list[Image], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run before its first round, whose network has seen the crops."""
    recipe = Recipe(
        network=NetworkRecipe(
            request.param, weights="none", head="batch_norm", embedding=0, dropout=0.0, pooling="generalised_mean",
            last_stride=1, height=48, width=32,
        )
    )  # fmt: skip
    network = build_network(recipe.network, 0)
    pixels = torch.from_numpy(to_batch(crops, 48, 32))
    settle(network.backbone, standardise(to_rgb(pixels)))
    centre_features(network, pixels)
    with torch.no_grad():
        network.feature_norm.weight += torch.linspace(-0.5, 0.5, network.dimension)
        (exponent,) = (value for name, value in network.named_parameters() if name.endswith(".exponent"))
        exponent.fill_(2.5)
    folder = RunFolder(tmp_path_factory.mktemp("run") / "run")
    folder.start(recipe, "0123456789abcdef")
    save_tensors(folder.stage_path(0).with_name("initial.safetensors"), network.state_dict(), {"stage": "initial"})
    return folder.path


@pytest.fixture(scope="module")
def exported(run: Path, crops: list[Image]) -> tuple[Path, Parity]:
    model = run.with_name("model.onnx")
    return model, export(run, model, crops, stage="initial")


def test_the_file_does_what_torch_does(exported: tuple[Path, Parity], crops: list[Image]) -> None:
    model, parity = exported
    # Batch norm enlarges rounding, which differs between processors: up to 1.1e-4 was seen.
    assert parity.max_difference < 5e-4
    rows = Embedder(model).embed(crops)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert (rows @ rows.T)[~np.eye(len(rows), dtype=bool)].max() < 0.5  # batch norm drew them apart


@pytest.mark.parametrize("run", [SMALL], indirect=True)
def test_int8_is_smaller_and_nearly_the_same(exported: tuple[Path, Parity], crops: list[Image], tmp_path: Path) -> None:
    found = quantize(exported[0], tmp_path / "int8.onnx", crops, crops, max_loss=1.0)
    assert found.bytes < found.float_bytes / 2
    assert found.cosine > 0.8


@pytest.mark.parametrize("run", [SMALL], indirect=True)
def test_a_graph_without_batch_norm_would_be_refused(
    run: Path, crops: list[Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "as_affine", lambda norm: (torch.ones(128), torch.zeros(128)))
    with pytest.raises(ModelError, match="onnxruntime and torch differ"):
        export(run, tmp_path / "model.onnx", crops, stage="initial")
