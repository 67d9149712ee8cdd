"""The whole of serving as one torch graph, laid out for the edge: the same numbers by fewer and cheaper steps."""

import copy

import torch
from torch import Tensor, nn

from reid_toolkit.training.network import MEAN, STD, ReidNetwork


class ServingNetwork(nn.Module):
    """(B, H, W, 3) uint8 BGR -> (B, D) float32 rows of length 1.

    Scaling, channel order and division by the standard deviation are folded into the first convolution's weights.
    Only the subtraction of the mean is left of the preprocessing, since that convolution pads with zeros: grey
    levels of 0-255 minus the mean's. ``network`` itself is not changed.
    """

    mean: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, network: ReidNetwork) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(network.backbone).eval()
        replace_pooling(self.backbone)
        for part in self.backbone.modules():
            if hasattr(part, "inplace"):  # the same graph, but the exporter takes twice as long to undo it
                part.inplace = False  # type: ignore[assignment]
        first = next(part for part in self.backbone.modules() if isinstance(part, nn.Conv2d))
        scale = 255 * torch.tensor(STD).view(1, 3, 1, 1)
        with torch.no_grad():
            first.weight.copy_((first.weight / scale).flip(1))  # flip: RGB to BGR
        self.register_buffer("mean", 255 * torch.tensor(MEAN).flip(0).view(3, 1, 1))
        self.normed = network.feature_norm is not None
        if network.feature_norm is not None:
            scale, shift = as_affine(network.feature_norm)
            self.register_buffer("scale", scale)
            self.register_buffer("shift", shift)

    def forward(self, crops: Tensor) -> Tensor:
        features = self.backbone(crops.permute(0, 3, 1, 2).to(torch.float32) - self.mean)
        if self.normed:
            features = features * self.scale + self.shift
        return features / torch.linalg.vector_norm(features, dim=1, keepdim=True)


def as_affine(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """The factor and the summand (D,) that batch norm in evaluation comes to."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.detach() * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias.detach() - norm.running_mean * scale


class MeanPool(nn.Module):
    """Global average pooling, (B, C, H, W) -> (B, C, 1, 1)."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3), keepdim=True)


def replace_pooling(module: nn.Module) -> None:
    """Put :class:`MeanPool` for every ``AdaptiveAvgPool2d(1)``, which exports as ten index operations, not one."""
    for name, part in module.named_children():
        if isinstance(part, nn.AdaptiveAvgPool2d):
            setattr(module, name, MeanPool())
        else:
            replace_pooling(part)
