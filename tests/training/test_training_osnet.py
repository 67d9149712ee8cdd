"""OSNet: torchreid's names and numbers, at every width, with and without instance norms."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from reid_toolkit.config import NetworkRecipe
from reid_toolkit.errors import ModelError
from reid_toolkit.training.network import build_backbone, build_network, load_weights
from reid_toolkit.training.osnet import DIMENSION, OSNETS, OSNet

NAMES = {
    "osnet_x0_25": "10053cde505f5f59",
    "osnet_x0_5": "80b37d7410d61a0b",
    "osnet_x0_75": "18015395ea985fd7",
    "osnet_x1_0": "a6e28f251dd950c6",
    "osnet_ain_x0_25": "24a92bfb134239e9",
    "osnet_ain_x0_5": "635b9d4bd91e5cfd",
    "osnet_ain_x0_75": "59bfcc24a4a0c69c",
    "osnet_ain_x1_0": "da8dcd69a7bf29a5",
}
"""Digest of the names and shapes of the tensors, taken from the networks of torchreid's repository (AIN) and of
Roboflow's package (plain), which gave the same numbers as ours with the same tensors."""

MILLIONS = {"x0_25": 0.20, "x0_5": 0.63, "x0_75": 1.29, "x1_0": 2.17}
"""Weights, as the paper's tables have them: 0.2, 0.6, 1.3 and 2.2."""


def digest(state: dict[str, Tensor]) -> str:
    text = "\n".join(f"{key} {tuple(value.shape)}" for key, value in state.items())
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def drawn(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Other values of the same shapes, as after training."""
    chance = torch.Generator().manual_seed(0)
    return {
        key: torch.rand(value.shape, generator=chance) + 0.5 if "running_var" in key
        else value + 0.1 * torch.randn(value.shape, generator=chance) if value.is_floating_point() else value
        for key, value in state.items()
    }  # fmt: skip


@pytest.mark.parametrize("name", OSNETS)
def test_tensors_have_torchreids_names_and_shapes(name: str) -> None:
    backbone, dimension = build_backbone(name)
    assert dimension == DIMENSION
    assert digest(backbone.state_dict()) == NAMES[name]
    weights = sum(parameter.numel() for parameter in backbone.parameters())
    assert weights / 1e6 == pytest.approx(MILLIONS[name.removeprefix("osnet_").removeprefix("ain_")], abs=0.01)


@pytest.mark.parametrize("name", [name for name, (_, ain) in OSNETS.items() if not ain])
def test_it_gives_what_roboflows_gives(name: str) -> None:
    theirs = pytest.importorskip("reid.architectures.osnet", reason="Roboflow's package reid is not installed")
    other, ours = theirs.build_osnet(name.removeprefix("osnet_")), build_backbone(name)[0]
    state = drawn(other.state_dict())
    assert list(state) == list(ours.state_dict())
    other.load_state_dict(state)
    ours.load_state_dict(state)
    images = torch.randn(2, 3, 96, 48)
    with torch.no_grad():
        expected, got = other.eval()(images), ours.eval()(images)
    assert got.shape == (2, DIMENSION)
    assert float(expected.std()) > 1
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-4)


def test_where_the_instance_norms_are() -> None:
    network = OSNet(16, ain=True)
    found = [name for name, part in network.named_modules() if isinstance(part, nn.InstanceNorm2d)]
    assert found == ["conv1.bn", "conv2.0.IN", "conv2.1.IN", "conv3.1.IN", "conv4.0.IN"]
    assert not [part for part in OSNet(16, ain=False).modules() if isinstance(part, nn.InstanceNorm2d)]


def test_light_and_contrast_change_little_with_instance_norms() -> None:
    """What they are for: the first layer takes both off."""
    images = torch.randn(4, 3, 64, 32)
    plain, ain = (OSNet(16, ain=kind).eval() for kind in (False, True))
    with torch.no_grad():
        moved = [float((net(images) - net(3 * images)).norm() / net(images).norm()) for net in (plain, ain)]
    assert moved[1] < moved[0] / 10


@pytest.mark.parametrize("name", ["osnet_x0_25", "osnet_ain_x0_25"])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("head", [False, True])
def test_a_checkpoint_of_torchreid_loads(name: str, prefix: str, head: bool, tmp_path: Path) -> None:
    state = drawn(build_backbone(name)[0].state_dict())
    extra = {"classifier.weight": torch.zeros(751, 512), "classifier.bias": torch.zeros(751)} if head else {}
    path = tmp_path / "osnet_market.pth"
    torch.save({"state_dict": {prefix + key: value for key, value in (state | extra).items()}, "epoch": 150}, path)
    recipe = NetworkRecipe(name, weights=str(path), embedding=8, height=64, width=32)
    own = build_network(recipe, 0).backbone.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in own.items() if "num_batches" not in key)


@pytest.mark.parametrize("other", ["osnet_x0_5", "osnet_ain_x0_25"])
def test_a_checkpoint_of_another_osnet_is_refused_in_one_line(other: str, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file(build_backbone(other)[0].state_dict(), path)
    with pytest.raises(ModelError, match=r"do not fit osnet_x0_25.*expected torchreid's names") as error:
        load_weights(build_backbone("osnet_x0_25")[0], "osnet_x0_25", str(path))
    assert "\n" not in str(error.value)


def test_no_osnet_of_imagenet_is_downloaded() -> None:
    with pytest.raises(ModelError, match=r"osnet_x1_0 are not downloaded.*--weights FILE.*--weights none"):
        build_network(NetworkRecipe("osnet_x1_0", embedding=8), 0)


def test_a_last_stride_of_one_leaves_out_the_last_pooling() -> None:
    recipe = NetworkRecipe("osnet_x0_25", weights="none", embedding=8, height=64, width=32)
    maps: list[torch.Size] = []
    for stride in (2, 1):
        for name in ("osnet_x0_25", "osnet_ain_x0_25"):
            backbone = build_network(replace(recipe, backbone=name, last_stride=stride), 0).backbone.eval()
            backbone.conv5.register_forward_hook(lambda _, __, out: maps.append(out.shape[2:]))
            with torch.no_grad():
                backbone(torch.zeros(1, 3, 64, 32))
    assert maps == [(4, 2)] * 2 + [(8, 4)] * 2
