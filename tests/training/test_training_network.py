from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from small_backbone import SMALL
from torch import Tensor, nn
from torch.nn import functional as F

from reid_toolkit.config import NetworkRecipe
from reid_toolkit.errors import ModelError, RecipeError
from reid_toolkit.training.network import (
    CLASSIFIERS,
    ReidNetwork,
    build_backbone,
    build_network,
    drop_dust,
    load_weights,
    standardise,
    to_rgb,
)
from reid_toolkit.training.run_folder import LABELS

RECIPE = NetworkRecipe(SMALL, weights="none", embedding=16, height=32, width=32)
FROZEN = replace(RECIPE, frozen="layer2")


def test_crops_become_rgb_of_zero_to_one() -> None:
    crop = torch.zeros(1, 2, 2, 3, dtype=torch.uint8)
    crop[..., 2] = 255  # red, in BGR
    rgb = to_rgb(crop)
    assert rgb.shape == (1, 3, 2, 2)
    assert rgb[0, :, 0, 0].tolist() == [1, 0, 0]


def test_standardising_is_imagenets() -> None:
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    images = torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(standardise(images), (images - mean) / std)


@pytest.mark.parametrize("training", [True, False])
def test_embeddings_have_length_one(training: bool) -> None:
    network = build_network(RECIPE, 0).train(training)
    pooled = network(torch.rand(4, 3, 32, 32))
    assert pooled.shape == (4, network.dimension)
    torch.testing.assert_close(network.embed(pooled).norm(dim=1), torch.ones(4))


def test_the_seed_decides_what_is_random_and_nothing_else_does() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    a, b, other = (build_network(RECIPE, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a.embedding.weight, other.embedding.weight)


def test_frozen_parts_stay_as_loaded_while_the_rest_learns() -> None:
    network = build_network(FROZEN, 0).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    optimiser = torch.optim.SGD(network.parameter_groups(1.0), lr=0.1, weight_decay=5e-4)
    for _ in range(2):
        loss = F.cross_entropy(network.embed(network(torch.rand(4, 3, 32, 32))), torch.arange(4))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    stem = ("backbone.conv1", "backbone.bn1", "backbone.layer1", "backbone.layer2")
    changed = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert not {key for key in changed if key.startswith(stem)}
    assert {"backbone.layer3.0.conv1.weight", "backbone.layer4.0.bn1.running_mean", "embedding.weight"} <= changed


@pytest.mark.parametrize("recipe", [RECIPE, FROZEN])
def test_each_trainable_parameter_is_in_one_group(recipe: NetworkRecipe) -> None:
    network = ReidNetwork(recipe)
    backbone, head = network.parameter_groups(0.1)
    assert (backbone["factor"], head["factor"]) == (0.1, 1.0)
    listed = [id(p) for group in (backbone, head) for p in group["params"]]
    assert len(listed) == len(set(listed))
    assert set(listed) == {id(p) for p in network.parameters() if p.requires_grad}


State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    """A whole network as torchvision saves it, classifier and all."""
    torch.manual_seed(1)
    return torchvision.models.get_model(SMALL, weights=None).state_dict()


def load(path: Path) -> nn.Module:
    backbone, _ = build_backbone(SMALL)
    load_weights(backbone, SMALL, str(path))
    return backbone


def assert_loaded(backbone: nn.Module, state: State) -> None:
    own = backbone.state_dict()
    assert own
    assert all(torch.equal(value, state[key]) for key, value in own.items() if "num_batches" not in key)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_backbone_pools_to_its_dimension(name: str) -> None:
    backbone, dimension = build_backbone(name)
    with torch.no_grad():
        assert backbone.eval()(torch.zeros(2, 3, 64, 32)).shape == (2, dimension)


def test_an_unknown_backbone_is_named_with_those_there_are() -> None:
    with pytest.raises(RecipeError, match=r"'resnet5'.*resnet50"):
        build_backbone("resnet5")


def test_the_stride_moves_to_the_first_1x1() -> None:
    block = build_backbone("resnet50")[0].get_submodule("layer2.0")
    moved = build_backbone("resnet50", stride_in_1x1=True)[0].get_submodule("layer2.0")
    assert (block.conv1.stride, block.conv2.stride) == ((1, 1), (2, 2))
    assert (moved.conv1.stride, moved.conv2.stride) == ((2, 2), (1, 1))


def test_weights_come_from_safetensors(state: State, tmp_path: Path) -> None:
    save_file(state, tmp_path / "w.safetensors")
    assert_loaded(load(tmp_path / "w.safetensors"), state)


def test_weights_come_from_a_run_without_its_head(tmp_path: Path) -> None:
    network = build_network(RECIPE, seed=3)
    save_file(network.state_dict() | {LABELS: torch.zeros(4)}, tmp_path / "best.safetensors")
    again = build_network(replace(RECIPE, weights=str(tmp_path / "best.safetensors"), embedding=8), seed=4)
    assert_loaded(again.backbone, network.backbone.state_dict())


@pytest.mark.parametrize("wrap", [False, True])
def test_weights_come_from_pth_with_its_usual_wrappings(state: State, tmp_path: Path, wrap: bool) -> None:
    named = {f"module.{key}": value for key, value in state.items()}
    torch.save({"state_dict": named} if wrap else named, tmp_path / "w.pth")
    assert_loaded(load(tmp_path / "w.pth"), state)


def test_weights_of_before_batch_norm_counted_load(state: State, tmp_path: Path) -> None:
    """torchvision's own files of those years: its ImageNet resnets have no num_batches_tracked."""
    torch.save({key: value for key, value in state.items() if "num_batches" not in key}, tmp_path / "w.pth")
    assert_loaded(load(tmp_path / "w.pth"), state)


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as error:
        load(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    return str(error.value)


def test_weights_of_another_network_are_refused(state: State, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({key: value for key, value in state.items() if key != "layer1.0.conv1.weight"}, path)
    assert "'layer1.0.conv1.weight'" in refused(path)
    save_file({**state, "conv1.weight": torch.zeros(64, 3, 3, 3)}, path)
    assert "'conv1.weight'" in refused(path)
    save_file({**state, "layer9.weight": torch.zeros(1)}, path)
    assert "'layer9.weight'" in refused(path)


class Dangerous:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> object:
        return Path.touch, (self.mark,)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"conv1.weight": Dangerous(tmp_path / "ran")}, tmp_path / "w.pth")
    assert "holds more than tensors" in refused(tmp_path / "w.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_files_that_are_no_weights(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert "no such file" in refused(path)
    for content in (b"", b"these are not weights", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."):
        path.write_bytes(content)
        assert any(words in refused(path) for words in ("damaged", "not what torch.save writes, nor safetensors"))
    path.unlink()
    path.mkdir()
    assert "is a folder" in refused(path)


def test_a_pth_of_something_else(tmp_path: Path) -> None:
    for content in ([torch.zeros(1)], {"epoch": 3}):
        torch.save(content, tmp_path / "w.pth")
        assert any(words in refused(tmp_path / "w.pth") for words in ("holds no tensors by name", "is not a tensor"))


def test_what_a_trainer_keeps_beside_the_weights_does_no_harm(state: State, tmp_path: Path) -> None:
    """As torchreid does: an accuracy of numpy's, the optimiser, and names as of several GPUs."""
    wrapped = {f"module.{key}": value for key, value in state.items()}
    beside = {"rank1": np.float32(0.9), "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}, "epoch": 60}
    torch.save({"state_dict": wrapped, **beside}, tmp_path / "model.pth.tar-60")
    backbone = load(tmp_path / "model.pth.tar-60")
    assert torch.equal(backbone.state_dict()["conv1.weight"], state["conv1.weight"])


def test_imagenet_without_a_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(ModelError, match=r"no route to host.*--weights FILE.*--weights none"):
        load_weights(build_backbone("resnet18")[0], "resnet18", "imagenet")


def test_imagenet_weights_are_those_of_the_backbone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state, asked = torchvision.models.get_model("resnet18", weights=None).state_dict(), []

    def download(url: str, *_: object, **__: object) -> State:
        asked.append(url)
        print("Downloading:", url)  # as torch does
        return state

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    backbone, _ = build_backbone("resnet18")
    load_weights(backbone, "resnet18", "imagenet")
    assert_loaded(backbone, state)
    assert "resnet18" in asked[0]
    assert capsys.readouterr().out == ""


def test_weights_that_decayed_to_nothing_become_zero() -> None:
    """They would make subnormal numbers, with which a CPU takes tens of times as long."""
    network = ReidNetwork(RECIPE).eval()
    with torch.no_grad():
        network.backbone.conv1.weight[0] = 1e-30
        network.backbone.bn1.weight[0] = -1e-25
        images = torch.rand(2, 3, 32, 32)
        before = network(images)
        kept = {name: weights.clone() for name, weights in network.state_dict().items()}
        drop_dust(network)
    assert not network.backbone.conv1.weight[0].any()
    assert network.backbone.bn1.weight[0] == 0
    assert torch.equal(network(images), before)
    for name, weights in network.state_dict().items():
        large = kept[name].abs() >= 1e-15
        assert torch.equal(weights[large], kept[name][large])


def test_frozen_weights_stay_as_loaded_however_small() -> None:
    network = ReidNetwork(FROZEN)
    with torch.no_grad():
        network.backbone.conv1.weight[0] = 1e-30
    drop_dust(network)
    assert network.backbone.conv1.weight[0].all()
