"""Models of timm as backbones, by its smallest ones, which it keeps for tests."""

import builtins
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from reid_toolkit.config import MergingRecipe, NetworkRecipe, Recipe, TrainingRecipe
from reid_toolkit.datasets import open_dataset
from reid_toolkit.errors import MissingDependencyError, ModelError, RecipeError
from reid_toolkit.export.onnx import export
from reid_toolkit.export.quantize import quantize
from reid_toolkit.images import read_image
from reid_toolkit.runtime import Embedder
from reid_toolkit.training.distributed import over_processes
from reid_toolkit.training.features import folded, followed_by_norms
from reid_toolkit.training.network import STD, ReidNetwork, build_backbone, build_network, load_weights
from reid_toolkit.training.rounds import train

timm = pytest.importorskip("timm", reason="timm is not installed")

MAPS = ("timm:test_efficientnet", "timm:test_resnet", "timm:test_convnext", "timm:test_byobnet")
TINY = NetworkRecipe("timm:test_efficientnet", weights="none", embedding=8, height=64, width=32)


def refused(recipe: NetworkRecipe, kind: type[Exception] = RecipeError) -> str:
    with pytest.raises(kind) as error:
        build_network(recipe, 0)
    assert "\n" not in str(error.value)
    return str(error.value)


def tell_apart(network: ReidNetwork) -> None:
    """Give batch norms other numbers than those they begin with."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d):
            part.running_mean.normal_(std=0.1)
            part.running_var.uniform_(0.5, 1.5)


@pytest.mark.parametrize("name", [*MAPS, "timm:test_vit", "timm:repvit_m0_9", "timm:mobilenetv4_conv_small"])
def test_it_gives_what_timm_gives_and_folding_changes_nothing(name: str) -> None:
    network = build_network(replace(TINY, backbone=name), 0).eval()
    tell_apart(network)
    images = torch.randn(2, 3, 64, 32)
    size = {"img_size": (64, 32)} if "vit" in name and "rep" not in name else {}
    theirs = timm.create_model(name.removeprefix("timm:"), num_classes=0, **size).eval()
    theirs.load_state_dict(network.backbone.body.state_dict())
    mean, std = (torch.tensor(theirs.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    pixels = images * torch.tensor(STD).view(3, 1, 1) + torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)
    with torch.no_grad():
        features = network(images)
        assert features.shape == (2, network.dimension)
        torch.testing.assert_close(features, theirs((pixels - mean) / std), rtol=1e-4, atol=1e-4)
        copy = folded(network)
        torch.testing.assert_close(F.normalize(copy(images)), F.normalize(features), atol=1e-4, rtol=0)
    left = [part for part in copy.backbone.modules() if isinstance(part, nn.BatchNorm2d)]
    assert len(left) <= (2 if "byob" in name else 0), "what no convolution is before"


def test_a_norm_of_a_sum_is_not_folded() -> None:
    class Summed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.norm = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, images: Tensor) -> Tensor:
            out: Tensor = self.norm(self.one(images) + self.two(images)).mean((2, 3))
            return out

    assert followed_by_norms(Summed().eval(), (8, 8)) == []


@pytest.mark.parametrize("name", [*MAPS, "timm:repvit_m0_9"])
def test_another_pooling(name: str) -> None:
    usual = build_network(replace(TINY, backbone=name), 0).eval()
    changed = build_network(replace(TINY, backbone=name, pooling="generalised_mean"), 0).eval()
    (exponent,) = (value for key, value in changed.named_parameters() if key.endswith(".exponent"))
    tell_apart(usual)
    state = usual.state_dict()
    assert [key for key in changed.state_dict() if key not in state and not key.endswith(".exponent")] == []
    changed.load_state_dict(state, strict=False)
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        three, average = changed(images), usual(images)
        assert three.shape == average.shape
        assert not torch.allclose(three, average, atol=1e-3)
        exponent.fill_(1)
        if name == "timm:test_resnet":  # the others' maps have numbers below 0, which count as 0
            torch.testing.assert_close(changed(images), average, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["timm:test_efficientnet", "timm:test_resnet", "timm:repvit_m0_9"])
def test_a_last_stride_of_one(name: str) -> None:
    usual, changed = (build_network(replace(TINY, backbone=name, last_stride=stride), 0).backbone for stride in (2, 1))
    assert [2 * side for side in usual.map_size()] == list(changed.map_size())
    assert usual.state_dict().keys() == changed.state_dict().keys()


def test_what_a_model_cannot_do_is_refused() -> None:
    vit = replace(TINY, backbone="timm:test_vit")
    assert "does not end in the mean of a feature map" in refused(replace(vit, pooling="generalised_mean"))
    assert "last halving of 'timm:test_vit' cannot be removed" in refused(replace(vit, last_stride=1))
    assert "pictures of 40x36" in refused(replace(TINY, backbone="timm:test_maxvit", height=40, width=36))


def test_unknown_names_are_answered_with_near_ones() -> None:
    assert "did you mean 'timm:repvit_m0_9'?" in refused(replace(TINY, backbone="timm:repvit_m09"))
    assert "did you mean 'timm:repvit_m0_9'?" in refused(replace(TINY, backbone="repvit_m0_9"))
    assert "did you mean 'osnet_x0_25'?" in refused(replace(TINY, backbone="osnet_x025"))
    assert "no model of that name" in refused(replace(TINY, backbone="timm:hf-hub:somebody/something"))


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.partition(".")[0] == "timm":
            raise ModuleNotFoundError("No module named 'timm'", name="timm")
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "pip install '.[timm]'" in refused(TINY, MissingDependencyError)
    assert "expected one of resnet18" in refused(replace(TINY, backbone="repvit_m0_9"))


def test_trained_weights_offline_and_where_there_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host\nand more lines")

    monkeypatch.setattr("timm.models._hub.hf_hub_download", offline)
    said = refused(replace(TINY, weights="imagenet"), ModelError)
    assert "timm:test_efficientnet cannot be downloaded (no route to host)" in said
    assert "--weights FILE" in said
    assert "--weights none" in said


def test_trained_weights_are_those_that_timm_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = timm.create_model("test_efficientnet").state_dict()
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *_, **__: dict(whole))
    backbone = build_network(replace(TINY, weights="imagenet"), 0).backbone
    assert all(torch.equal(value, whole[key]) for key, value in backbone.body.state_dict().items())


@pytest.mark.parametrize("name", ["timm:test_efficientnet", "timm:repvit_m0_9"])
def test_files_with_timms_names_load_with_and_without_the_classifier(name: str, tmp_path: Path) -> None:
    whole = timm.create_model(name.removeprefix("timm:")).state_dict()
    for number, prefix in enumerate(("", "module.")):
        path = tmp_path / f"{number}.safetensors"
        save_file({prefix + key: value for key, value in whole.items()}, path)
        backbone, _ = build_backbone(name, size=(64, 32))
        load_weights(backbone, name, str(path))
        assert all(torch.equal(value, whole[key]) for key, value in backbone.body.state_dict().items())
    del whole[next(iter(whole))]
    save_file(whole, path)
    with pytest.raises(ModelError, match=r"1 tensors differ.*expected timm's names"):
        load_weights(backbone, name, str(path))


def test_several_processes_keep_the_activation_in_a_norm() -> None:
    network = build_network(TINY, 0).eval()
    tell_apart(network)
    images, names = torch.randn(2, 3, 64, 32), list(network.state_dict())
    with torch.no_grad():
        before = network(images)
        over_processes(network, torch.device("cpu"))
        torch.testing.assert_close(network(images), before, atol=1e-5, rtol=1e-4)
    assert list(network.state_dict()) == names


@pytest.mark.parametrize(
    ("name", "int8"),
    [
        pytest.param("osnet_x0_25", True, marks=pytest.mark.slow),  # test_adopt_checkpoint.py has its export
        pytest.param("osnet_ain_x0_25", False, marks=pytest.mark.slow),
        ("timm:test_convnext", True),
    ],
)
def test_a_run_trains_resumes_and_becomes_a_file(name: str, int8: bool, tiny_dataset: Path, tmp_path: Path) -> None:
    recipe = Recipe(
        network=replace(TINY, backbone=name),
        training=TrainingRecipe(batch_size=6, first_epochs=1, later_epochs=1, first_learning_rate=0.01),
        merging=MergingRecipe(fraction=0.5),
    )
    data = open_dataset(tiny_dataset)
    whole = train(data, recipe, tmp_path / "whole")

    def stop(step: Any) -> None:
        if step.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(data, recipe, tmp_path / "run", on_step=stop)
    resumed = train(data, recipe, tmp_path / "run", resume=True)
    assert [row["loss"] for row in resumed] == [row["loss"] for row in whole]

    crops, model, small = [read_image(crop.path) for crop in data.crops], tmp_path / "a.onnx", tmp_path / "b.onnx"
    assert export(tmp_path / "run", model, crops[:17]).max_difference < 1e-4
    assert Embedder(model).metadata.backbone == name
    if int8:
        found = quantize(model, small, crops[::2], crops[1::2], max_loss=1.0)
        assert found.cosine > 0.9
        assert found.bytes < found.float_bytes
