"""What a file is of, by names and shapes of its tensors; what cannot be built is called by its name."""

import pytest

from reid_toolkit.adopt.architecture import AINS, OSNETS, SBS, SBS_BLOCKS, architecture_of
from reid_toolkit.errors import ModelError

OSNET = {"conv1.conv.weight": (64, 3, 7, 7), "conv1.bn.running_mean": (64,), "conv2.0.conv2a.conv1.weight": (64, 64)}


def blocks(counts: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {
        f"backbone.layer{layer}.{block}.conv2.fc1.weight": (1,)
        for layer, count in enumerate(counts, start=1)
        for block in range(count)
    }


@pytest.mark.parametrize("width", [16, 32, 48, 64])
def test_an_osnet_by_its_first_convolution(width: int) -> None:
    assert architecture_of(OSNET | {"conv1.conv.weight": (width, 3, 7, 7)}, "m.pth") == OSNETS[width]


@pytest.mark.parametrize("width", [16, 32, 48, 64])
def test_an_osnet_with_instance_norms_by_its_streams(width: int) -> None:
    shapes = {"conv1.conv.weight": (width, 3, 7, 7), "conv2.0.conv2.0.layers.0.conv1.weight": (1,)}
    assert architecture_of(shapes, "m.pth") == AINS[width]


def test_an_sbs_by_its_blocks() -> None:
    assert architecture_of(blocks(SBS_BLOCKS), "m.pth") == SBS


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        (OSNET | {"conv2.0.IN.weight": (256,)}, "an OSNet-IBN of torchreid"),
        (OSNET | {"conv1.conv.weight": (40, 3, 7, 7)}, "an OSNet whose first layer has 40 channels: expected 16, 32"),
        (blocks((3, 4, 23, 3)), r"a ResNeSt of fast-reid with \(3, 4, 23, 3\) blocks"),
        ({"backbone.layer1.0.conv1.weight": (1,), "heads.bottleneck.0.weight": (1,)}, "a ResNet of fast-reid"),
        ({"base.layer1.0.conv1.weight": (1,)}, "a ResNet,"),
        ({"base.blocks.0.attn.qkv.weight": (1,)}, "a vision transformer"),
        ({"b": (1,), "a": (1,)}, r"a network that is not known \(2 tensors: a, b\)"),
    ],
)  # fmt: skip
def test_others_are_called_by_their_names(shapes: dict[str, tuple[int, ...]], said: str) -> None:
    with pytest.raises(ModelError, match=f"m.pth: {said}.*: export it to ONNX with its own toolkit, and adopt that"):
        architecture_of(shapes, "m.pth")
