"""Backbones for tests: importing this module makes ``SMALL`` a name that recipes, commands and tools take.

``MOBILE_V3`` and ``SHUFFLED`` are for what other kinds of layers matter to.

Tracing for ONNX, trying layers in INT8, and writing and checking checkpoints cost in proportion to layers and weights.
The name is known in this process alone: a ``multiprocessing.Process`` knows it when its target is ``call``, and one
that is started as a command needs a name of torchvision's.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import MobileNetV3, ResNet, ShuffleNetV2
from torchvision.models._api import register_model
from torchvision.models.mobilenetv3 import InvertedResidualConfig
from torchvision.models.resnet import BasicBlock

from reid_toolkit.training.network import CLASSIFIERS
from reid_toolkit.training.osnet import OSNETS

SMALL, DIMENSION = "resnet_small", 128
MOBILE_V3, SHUFFLED = "mobilenet_v3_tiny", "shufflenet_tiny"


class SmallResNet(ResNet):
    """A ResNet by torchvision's names, of one block a stage and a quarter of the channels: 0.3 million weights."""

    def _make_layer(self, block: type[BasicBlock], planes: int, blocks: int, stride: int = 1, dilate: bool = False):
        if planes == 64:  # the first, called once the stem is made
            self.inplanes = 16
            self.conv1, self.bn1 = nn.Conv2d(3, 16, 7, 2, 3, bias=False), nn.BatchNorm2d(16)
        return super()._make_layer(block, planes // 4, blocks, stride, dilate)


@register_model(SMALL)
def build(weights: None = None) -> ResNet:
    network = SmallResNet(BasicBlock, [1, 1, 1, 1])
    network.fc = nn.Linear(DIMENSION, 10)
    return network


CLASSIFIERS[SMALL] = "fc"

BACKBONES = [name for name in CLASSIFIERS if name not in OSNETS] + ["osnet_x0_25", "osnet_ain_x0_25"]
"""Each of torchvision's, and the smallest OSNet of each kind: the others differ in width alone."""


@register_model(MOBILE_V3)
def build_mobile_v3(weights: None = None) -> MobileNetV3:
    """ReLU and hard swish, each with and without squeeze and excitation, and a shortcut in the last block."""
    blocks = [
        InvertedResidualConfig(16, 3, 16, 16, True, "RE", 2, 1, 1.0),
        InvertedResidualConfig(16, 3, 48, 24, False, "RE", 2, 1, 1.0),
        InvertedResidualConfig(24, 5, 72, 32, False, "HS", 2, 1, 1.0),
        InvertedResidualConfig(32, 5, 96, 32, True, "HS", 1, 1, 1.0),
    ]
    return MobileNetV3(blocks, last_channel=64)


@register_model(SHUFFLED)
def build_shuffled(weights: None = None) -> ShuffleNetV2:
    """One of its stages splits and joins twice in a row."""
    return ShuffleNetV2([1, 3, 1], [8, 16, 32, 64, 128])


CLASSIFIERS |= {MOBILE_V3: "classifier", SHUFFLED: "fc"}


@torch.no_grad()
def settle(network: nn.Module, images: Tensor) -> None:
    """Give a network of random weights batch norm statistics of ``images``, without which deep ones see nothing, and
    weights and biases as after training."""
    chance = torch.Generator().manual_seed(0)
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    for part in norms:
        part.momentum = 1.0
        part.weight += 0.2 * torch.randn(part.weight.shape, generator=chance)
        part.bias += 0.2 * torch.randn(part.bias.shape, generator=chance)
    network.train()
    for _ in range(2):
        network(images)
    for part in norms:
        part.momentum = 0.1
    network.eval()


def call(function: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """For another process, which imports this module to find it."""
    return function(*given, **named)
