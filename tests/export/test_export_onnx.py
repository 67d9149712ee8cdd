import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from small_backbone import BACKBONES, SMALL

from reid_toolkit.config import NetworkRecipe
from reid_toolkit.datasets import open_dataset
from reid_toolkit.errors import InputError, ModelError, RunError
from reid_toolkit.export import onnx as exporting
from reid_toolkit.export.onnx import export
from reid_toolkit.export.parity import Parity, check_parity
from reid_toolkit.export.saving import save_model
from reid_toolkit.export.serving import ServingNetwork
from reid_toolkit.export.torch_embedder import TorchEmbedder
from reid_toolkit.images import Image
from reid_toolkit.runtime import Embedder
from reid_toolkit.runtime.preprocess import to_batch
from reid_toolkit.training.features import extract
from reid_toolkit.training.network import build_network, standardise, to_rgb
from reid_toolkit.training.run_folder import RunFolder, load_network, load_tensors, save_tensors
from reid_toolkit.training.samples import load_samples


def test_the_file_does_what_torch_does_and_says_what_it_is(
    exported: tuple[Path, Path, Parity], crops: list[Image]
) -> None:
    run, out, parity = exported
    assert parity.crops == 4
    assert parity.batches == (1, 2, 17)
    assert parity.max_difference < 1e-4
    assert parity.min_cosine > 0.9999
    assert list(out.parent.iterdir()) == [out]  # weights inside, nothing half done beside it

    onnx.checker.check_model(str(out), full_check=True)
    graph = onnx.load(out).graph
    (crop_input,), (descriptors,) = graph.input, graph.output
    shape = crop_input.type.tensor_type.shape.dim
    assert crop_input.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert shape[0].dim_param
    assert [axis.dim_value for axis in shape[1:]] == [48, 32, 3]
    embedder = Embedder(out)
    assert descriptors.type.tensor_type.shape.dim[1].dim_value == embedder.dimension

    about, folder = embedder.metadata, RunFolder(run)
    assert (about.height, about.width, about.channels, about.stage) == (48, 32, "BGR", "best")
    assert about.backbone == folder.recipe().network.backbone
    assert about.dataset == folder.dataset()
    assert "first_learning_rate" in about.recipe
    rows = embedder.embed(crops * 10)
    assert rows.shape == (40, embedder.dimension)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    if about.backbone == SMALL:  # a MobileNetV3 of three steps takes all noise for the same
        assert np.abs(rows[0] - rows[1]).max() > 1e-3


def test_serving_gives_training_its_own_descriptors(
    exported: tuple[Path, Path, Parity], pictures: Path, crops: list[Image], tmp_path: Path
) -> None:
    """What was clustered is what will be searched: the same resize, the same mean over a tracklet."""
    run, model, _ = exported
    one = tmp_path / "set"
    for name, number in (("a/0", 0), ("a/1", 1), ("a/2", 2), ("b/0", 3)):
        path = one / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((pictures / f"{number}.png").read_bytes())
    samples = load_samples(open_dataset(one), 48, 32)
    features = extract(load_network(RunFolder(run), "best"), samples, torch.device("cpu"))
    embedder = Embedder(model)
    frames = {"a": crops[:3], "b": crops[3:]}
    for row, tracklet in zip(features.descriptors, samples.tracklets, strict=True):
        np.testing.assert_allclose(row.numpy(), embedder.embed_tracklet(frames[tracklet.name]), atol=1e-4)


def test_stages(run: Path) -> None:
    folder = RunFolder(run)
    first, last, initial = (load_network(folder, stage).state_dict() for stage in ("0", "last", "initial"))
    key = "embedding.weight"
    assert not torch.equal(first[key], last[key])
    assert not torch.equal(first[key], initial[key])
    assert torch.equal(last[key], load_network(folder, "2").state_dict()[key])
    best = str(folder.model()["stage"])
    assert torch.equal(load_network(folder, "best").state_dict()[key], load_network(folder, best).state_dict()[key])
    for stage in ("3", "-1", "first", "²", ""):
        with pytest.raises(RunError, match="expected best, initial, last or one of 0-2"):
            load_network(folder, stage)


@pytest.mark.parametrize("run", [SMALL], indirect=True)
def test_a_graph_that_differs_is_refused_and_leaves_no_file(
    run: Path, crops: list[Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = TorchEmbedder(load_network(RunFolder(run), "initial"), 48, 32)
    monkeypatch.setattr(exporting, "check_parity", lambda _, path, crops: check_parity(other, path, crops))
    out = tmp_path / "model.onnx"
    out.write_bytes(b"the model of yesterday")
    with pytest.raises(ModelError, match="export refused: onnxruntime and torch differ by"):
        export(run, out, crops, stage="last")
    assert out.read_bytes() == b"the model of yesterday"
    assert list(tmp_path.iterdir()) == [out]


def test_the_proof_needs_pictures(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one readable crop"):
        export(run, tmp_path / "model.onnx", [])
    assert not list(tmp_path.iterdir())


def test_what_is_not_a_run_is_named(crops: list[Image], tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    with pytest.raises(RunError, match="not a training run"):
        export(tmp_path / "gone", out, crops)
    for content in ("[]", "{}", "not json", '"dataset"'):
        (tmp_path / "run.json").write_text(content)
        with pytest.raises(RunError, match=r"run\.json is missing or damaged"):
            export(tmp_path, out, crops)
    (tmp_path / "run.json").write_text('{"dataset": "0"}')
    with pytest.raises(RunError, match=r"config\.toml"):
        export(tmp_path, out, crops)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_folding_the_preprocessing_changes_no_number(backbone: str) -> None:
    """Scaling, channel order and deviation in the first convolution's weights, for every backbone there is."""
    network = build_network(NetworkRecipe(backbone, weights="none", embedding=8), seed=0).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    pixels = torch.randint(0, 256, (3, 64, 48, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    with torch.no_grad():
        features = network(standardise(to_rgb(pixels)))
        ours = ServingNetwork(network)(pixels)
    torch.testing.assert_close(ours, features / features.norm(dim=1, keepdim=True), atol=1e-5, rtol=0)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("run", [SMALL], indirect=True)
def test_training_and_serving_resize_by_the_very_same_call(
    run: Path, pictures: Path, crops: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the network is given is equal byte for byte, and there is one place where it is made."""
    calls: list[tuple[object, ...]] = []

    def noted(image: Image, size: tuple[int, int], interpolation: int) -> Image:
        calls.append((image.tobytes(), size, interpolation))
        return original(image, size, interpolation=interpolation)

    original = cv2.resize
    monkeypatch.setattr(cv2, "resize", noted)
    samples = load_samples(open_dataset(pictures), 48, 32)
    trained_on = {row.tobytes() for row in samples.read(range(len(samples.crops))).numpy()}
    in_training = set(calls)
    calls.clear()
    served = {row.tobytes() for row in to_batch(crops, 48, 32)}
    assert len(in_training) == 4
    assert set(calls) == in_training
    assert served == trained_on


def test_weights_that_are_not_finite_are_named(run: Path, crops: list[Image], tmp_path: Path) -> None:
    broken = tmp_path / "run"
    shutil.copytree(run, broken)
    state, header = load_tensors(broken / "best.safetensors")
    name = next(key for key in state if key.endswith(("conv1.weight", "0.0.weight")))
    state[name][0, 0, 0, 0] = float("nan")
    save_tensors(broken / "best.safetensors", state, header)
    with pytest.raises(RunError, match=f"1 tensors hold NaN or infinity, the first is '{name}'"):
        export(broken, tmp_path / "model.onnx", crops)


def test_features_that_vanish_are_refused(exported: tuple[Path, Path, Parity], crops: list[Image]) -> None:
    run, model, _ = exported
    network = load_network(RunFolder(run), "best")
    with torch.no_grad():
        for part in network.backbone.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.weight.zero_()
                part.bias.zero_()
    with pytest.raises(ModelError, match="features vanish or are not finite"):
        check_parity(TorchEmbedder(network, 48, 32), model, crops)


def test_a_graph_of_another_shape_or_with_weights_outside_is_not_saved(
    exported: tuple[Path, Path, Parity], tmp_path: Path
) -> None:
    _, path, _ = exported
    about, out = Embedder(path).metadata, tmp_path / "model.onnx"

    fixed = onnx.load(path)
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    with pytest.raises(ModelError, match="export refused"):
        save_model(fixed, about, out)
    with pytest.raises(ModelError, match=r"expected inputs and outputs .*'batch', 99"):
        save_model(onnx.load(path), replace(about, dimension=99), out)
    outside = onnx.load(path)
    weight = max(outside.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    onnx.external_data_helper.set_external_data(weight, "weights.bin")
    weight.data_location = onnx.TensorProto.EXTERNAL
    with pytest.raises(ModelError, match="export refused"):
        save_model(outside, about, out)
    unsorted = onnx.load(path)
    unsorted.graph.node.append(unsorted.graph.node[0])
    del unsorted.graph.node[0]
    with pytest.raises(ModelError, match="onnx's checker says"):
        save_model(unsorted, about, out)
    assert not list(tmp_path.iterdir())
