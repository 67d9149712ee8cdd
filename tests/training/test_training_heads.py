"""Parts of a network that the paper's has not: pooling, stride, the head of batch norm; and batch norm folded."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small_backbone import BACKBONES, SMALL, settle
from torch import Tensor, nn
from torch.nn import functional as F

from reid_toolkit.config import NetworkRecipe
from reid_toolkit.errors import ModelError
from reid_toolkit.training.features import folded
from reid_toolkit.training.network import (
    GeneralisedMean,
    ReidNetwork,
    build_backbone,
    build_network,
    centre_features,
    keep_last_map,
    load_weights,
    pool_by,
    standardise,
    to_rgb,
)
from reid_toolkit.training.osnet import OSNETS

HEAD = NetworkRecipe(
    SMALL, weights="none", embedding=0, dropout=0.0, head="batch_norm", pooling="generalised_mean", height=32, width=32
)


def crops(count: int, height: int = 32, width: int = 32) -> Tensor:
    """uint8 noise of different brightness and colour."""
    chance = torch.Generator().manual_seed(0)
    tint = torch.rand(count, 1, 1, 3, generator=chance)
    return (tint * torch.rand(count, height, width, 3, generator=chance) * 255).to(torch.uint8)


def test_a_generalised_mean_lies_between_the_average_and_the_maximum() -> None:
    maps = torch.rand(3, 5, 6, 4) + 0.1
    average, largest = maps.mean((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    torch.testing.assert_close(GeneralisedMean(1.0)(maps), average)
    three, many = GeneralisedMean()(maps), GeneralisedMean(200.0)(maps)
    torch.testing.assert_close(three, maps.pow(3).mean((2, 3), keepdim=True).pow(1 / 3))
    assert bool(((average < three) & (three < many) & (many <= largest)).all())
    torch.testing.assert_close(many, largest, rtol=0.03, atol=0)


def test_a_generalised_mean_learns_its_exponent_where_all_is_black() -> None:
    pooling, maps = GeneralisedMean(), torch.zeros(1, 2, 3, 3, requires_grad=True)
    pooling(maps).sum().backward()
    assert bool(pooling.exponent.grad.isfinite())
    assert bool(maps.grad.isfinite().all())


class Watched(GeneralisedMean):
    """Keeps the shape of what it pools."""

    def forward(self, features: Tensor) -> Tensor:
        self.seen = features.shape[2:]
        return super().forward(features)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_takes_another_pooling_and_stride(name: str, tmp_path: Path) -> None:
    usual, dimension = build_backbone(name)
    loaded = usual.state_dict()
    save_file(loaded, tmp_path / "weights.safetensors")
    changed, _ = build_backbone(name)
    keep_last_map(changed)
    for backbone in (usual, changed):
        pool_by(backbone, Watched())
    watched = [next(part for part in each.modules() if isinstance(part, Watched)) for each in (usual, changed)]
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert usual.eval()(images).shape == changed.eval()(images).shape == (1, dimension)
    assert (watched[0].seen, watched[1].seen) == (((4, 4), (8, 8)) if name in OSNETS else ((2, 2), (4, 4)))

    load_weights(changed, name, str(tmp_path / "weights.safetensors"))
    own = changed.state_dict()
    exponents = [key for key in own if key.endswith(".exponent")]
    assert len(exponents) == 1
    assert float(own[exponents[0]]) == 3
    assert own.keys() - set(exponents) == loaded.keys()  # so torchvision's weights still fit
    reference = usual.state_dict()
    assert all(torch.equal(value, reference[key]) for key, value in own.items())


def test_weights_that_lack_a_layer_are_still_refused(tmp_path: Path) -> None:
    state = build_backbone(SMALL)[0].state_dict()
    del state["layer4.0.conv1.weight"]
    save_file(state, tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match=r"the first is 'layer4\.0\.conv1\.weight'"):
        build_network(replace(HEAD, weights=str(tmp_path / "weights.safetensors")), 0)


def test_the_stride_of_the_first_1x1_is_taken_out_too() -> None:
    recipe = NetworkRecipe("resnet50", weights="none", stride_in_1x1=True, last_stride=1, height=32, width=32)
    block = ReidNetwork(recipe).backbone.layer4[0]
    assert [block.conv1.stride, block.conv2.stride, block.downsample[0].stride] == [(1, 1)] * 3


def test_the_descriptor_is_what_batch_norm_gives_and_the_loss_sees_the_same() -> None:
    network, images = build_network(HEAD, 0).train(), standardise(to_rgb(crops(6)))
    features = network(images)
    with torch.no_grad():
        torch.testing.assert_close(features.mean(dim=0), torch.zeros(network.dimension), atol=1e-4, rtol=0)
        assert torch.equal(network.embed(features), F.normalize(features))
        pooled = network.eval().backbone(images)
        norm = network.feature_norm
        expected = (pooled - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight
        torch.testing.assert_close(network(images), expected, atol=1e-5, rtol=1e-4)


def test_batch_norms_bias_is_not_learned_and_all_else_is() -> None:
    network = build_network(HEAD, 0)
    backbone, head = network.parameter_groups(0.1)
    listed = {id(parameter) for group in (backbone, head) for parameter in group["params"]}
    left_out = [name for name, parameter in network.named_parameters() if id(parameter) not in listed]
    assert left_out == ["feature_norm.bias"]
    assert [id(parameter) for parameter in head["params"]] == [id(network.feature_norm.weight)]
    assert not network.feature_norm.bias.any()


def test_the_features_of_a_new_network_are_centred() -> None:
    network, pictures = build_network(HEAD, 0), crops(130)
    images = standardise(to_rgb(pictures))
    with torch.no_grad():
        before = network.eval()(images)
        centre_features(network, pictures)
        after = network.eval()(images)
    alive = after.std(dim=0) > 0.1
    assert int(alive.sum()) > network.dimension // 2
    torch.testing.assert_close(after.mean(dim=0), torch.zeros(network.dimension), atol=1e-3, rtol=0)
    variance = before.var(dim=0)  # a new norm changes nothing but for its epsilon
    torch.testing.assert_close(after.std(dim=0), (variance / (variance + 1e-5)).sqrt(), atol=1e-3, rtol=0)
    assert float(after.std(dim=0)[alive].median()) > 0.99
    alike = [float((F.normalize(rows) @ F.normalize(rows).T).mean()) for rows in (before, after)]
    assert alike[0] > 0.8
    assert alike[1] < 0.1


@pytest.mark.parametrize("name", BACKBONES)
def test_a_folded_network_gives_the_same(name: str) -> None:
    recipe = replace(HEAD, backbone=name, last_stride=1)
    network = build_network(recipe, 0)
    pictures = crops(8)
    settle(network.backbone, standardise(to_rgb(pictures)))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network.train()
    copy = folded(network)
    assert not [part for part in copy.backbone.modules() if isinstance(part, nn.BatchNorm2d)]
    with torch.no_grad():
        images = standardise(to_rgb(pictures))
        assert network.training
        a, b = (F.normalize(each(images)) for each in (copy, network.eval()))
    torch.testing.assert_close(a, b, atol=1e-4, rtol=0)
    assert float((a[0] - a[1]).abs().max()) > 1e-3  # they tell pictures apart
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
