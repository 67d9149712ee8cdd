"""OSNet: small networks made for re-identification, with and without instance norms.

Zhou et al., "Omni-scale feature learning for person re-identification" (ICCV 2019). The kind with instance norms (AIN)
is from "Learning generalisable omni-scale representations" (TPAMI 2021). Tensors have the names of torchreid's
checkpoints, so that these load without conversion.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DIMENSION = 512
"""Width of the features, the same for every width of the network."""

WIDTHS = {"x0_25": 16, "x0_5": 32, "x0_75": 48, "x1_0": 64}
"""Channels of the first convolution. The three stages have 4, 6 and 8 times as many."""

OSNETS = {
    f"{kind}_{width}": (channels, kind == "osnet_ain")
    for kind in ("osnet", "osnet_ain")
    for width, channels in WIDTHS.items()
}
"""For each name, the channels of the first convolution, and whether it has instance norms."""

DEPTHS = (1, 2, 3, 4)
"""Number of light convolutions in each of a block's streams. They see 3, 5, 7 and 9 pixels."""

NORMED = ((True, True), (False, True), (True, False))
"""Which of the two blocks of each stage has an instance norm in AIN, as the search of the 2021 paper found."""


class ConvNorm(nn.Module):
    """A convolution without bias, then batch norm or instance norm, then ReLU unless the block adds before it."""

    def __init__(
        self, inputs: int, outputs: int, size: int = 1, stride: int = 1, *, instance: bool = False, relu: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
        self.bn: nn.Module = nn.InstanceNorm2d(outputs, affine=True) if instance else nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU() if relu else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = self.relu(self.bn(self.conv(maps)))
        return out


class LightConv(nn.Module):
    """A 3x3 convolution, split into a 1x1 convolution over all channels and a 3x3 convolution within each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, maps: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv2(self.conv1(maps))))


class Gate(nn.Module):
    """Weighs each channel by a function of all channels' means: (B, C, H, W) -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, channels // 16, 1)
        self.fc2 = nn.Conv2d(channels // 16, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        return maps * torch.sigmoid(self.fc2(F.relu(self.fc1(self.pool(maps)))))


class Block(nn.Module):
    """Four streams of different depth, summed through one shared gate, beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, *, ain: bool, normed: bool) -> None:
        super().__init__()
        inner = outputs // 4
        self.conv1 = ConvNorm(inputs, inner)
        streams = [nn.Sequential(*(LightConv(inner) for _ in range(depth))) for depth in DEPTHS]
        self.conv2: nn.ModuleList | None = None
        if ain:
            self.conv2 = nn.ModuleList(nn.ModuleDict({"layers": stream}) for stream in streams)
        else:
            for letter, stream in zip("abcd", streams, strict=True):
                self.add_module(f"conv2{letter}", stream if len(stream) > 1 else stream[0])
        self.gate = Gate(inner)
        self.conv3 = ConvNorm(inner, outputs, relu=False)
        self.downsample = ConvNorm(inputs, outputs, relu=False) if inputs != outputs else nn.Identity()
        self.IN = nn.InstanceNorm2d(outputs, affine=True) if normed else nn.Identity()
        if normed:  # instead of batch norm
            self.conv3.bn = nn.Identity()

    def streams(self) -> Iterator[nn.Module]:
        """Yield the four streams, from the shallowest to the deepest."""
        if self.conv2 is None:
            yield from (self.get_submodule(f"conv2{letter}") for letter in "abcd")
        else:
            yield from (self.conv2.get_submodule(f"{place}.layers") for place in range(len(DEPTHS)))

    def forward(self, maps: Tensor) -> Tensor:
        narrow = self.conv1(maps)
        first, *others = (self.gate(stream(narrow)) for stream in self.streams())
        for other in others:
            first = first + other
        return F.relu(self.IN(self.conv3(first)) + self.downsample(maps))


class OSNet(nn.Module):
    """Maps (B, 3, H, W) to (B, 512): the mean of the last map through a linear layer, batch norm and ReLU. torchreid's
    checkpoints were trained to compare people by it. The map's height and width are a 16th of the picture's."""

    def __init__(self, channels: int, *, ain: bool) -> None:
        super().__init__()
        stages = [channels, *(times * channels for times in (4, 6, 8))]
        self.conv1 = ConvNorm(3, channels, 7, 2, instance=ain)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        for number, normed in enumerate(NORMED):
            inputs, outputs = stages[number : number + 2]
            pair = (inputs, normed[0]), (outputs, normed[1])
            stage = nn.Sequential(*(Block(width, outputs, ain=ain, normed=ain and has) for width, has in pair))
            self.add_module(f"conv{number + 2}", stage)
            if number < 2:
                halving = nn.Sequential(ConvNorm(outputs, outputs), nn.AvgPool2d(2))
                if ain:
                    self.add_module(f"pool{number + 2}", halving)
                else:
                    stage.append(halving)
        self.conv5 = ConvNorm(stages[-1], stages[-1])
        self.avgpool: nn.Module = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(nn.Linear(stages[-1], DIMENSION), nn.BatchNorm1d(DIMENSION), nn.ReLU())
        self.maps = [name for name, _ in self.named_children() if name not in ("avgpool", "fc")]
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
                if part.bias is not None:
                    nn.init.zeros_(part.bias)
            elif isinstance(part, nn.Linear):
                nn.init.normal_(part.weight, std=0.01)
                nn.init.zeros_(part.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Map standardised images (B, 3, H, W) to features (B, 512), none of them negative."""
        maps = images
        for name in self.maps:
            maps = self.get_submodule(name)(maps)
        features: Tensor = self.fc(self.avgpool(maps).flatten(1))
        return features

    def keep_last_map(self) -> None:
        """Leave out the second pooling between stages, so that the last map's height and width are an 8th of the
        picture's."""
        name = "pool3" if "pool3" in self.maps else "conv3.2"
        halving = self.get_submodule(name)
        assert isinstance(halving, nn.Sequential)
        halving[1] = nn.Identity()
