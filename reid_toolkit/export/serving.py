"""The whole of serving as one torch graph, laid out for the edge: the same numbers by fewer and cheaper steps."""

import copy

import torch
from torch import Tensor, nn

from reid_toolkit.training.features import fold_norms
from reid_toolkit.training.network import ReidNetwork
from reid_toolkit.training.timm_backbone import TimmBackbone


class ServingNetwork(nn.Module):
    """(B, H, W, 3) uint8 BGR -> (B, D) float32 rows of length 1.

    Scaling, channel order and division by the standard deviation are folded into the weights of the convolution that
    sees the picture. Only the subtraction of the mean is left of the preprocessing, since that convolution pads with
    zeros: grey levels of 0-255 minus the mean's. Where no single convolution does, all of it stays as steps of its own.
    ``network`` itself is not changed.
    """

    mean: Tensor
    deviation: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, network: ReidNetwork) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(network.backbone).eval()
        fold_norms(self.backbone, network.size)  # torch would take a minute to export an OSNet's hundred
        if isinstance(self.backbone, TimmBackbone):
            self.backbone.standardises = False  # by its own mean and deviation, which are those taken here
        replace_pooling(self.backbone)
        for part in self.backbone.modules():
            if hasattr(part, "inplace"):  # the same graph, but the exporter takes twice as long to undo it
                part.inplace = False  # type: ignore[assignment]
        self.register_buffer("mean", 255 * torch.tensor(network.mean).flip(0).view(3, 1, 1))
        self.register_buffer("deviation", 255 * torch.tensor(network.std).flip(0).view(3, 1, 1))
        first = seeing(self.backbone, network.size)
        self.folds = first is not None
        if first is not None:
            with torch.no_grad():
                first.weight.copy_(first.weight.flip(1) / self.deviation)  # flip: RGB to BGR
        self.normed = network.feature_norm is not None
        if network.feature_norm is not None:
            scale, shift = as_affine(network.feature_norm)
            self.register_buffer("scale", scale)
            self.register_buffer("shift", shift)

    def forward(self, crops: Tensor) -> Tensor:
        pixels = crops.permute(0, 3, 1, 2).to(torch.float32) - self.mean
        features = self.backbone(pixels if self.folds else (pixels / self.deviation).flip(1))
        if self.normed:
            features = features * self.scale + self.shift
        return features / torch.linalg.vector_norm(features, dim=1, keepdim=True)


@torch.no_grad()
def seeing(backbone: nn.Module, size: tuple[int, int]) -> nn.Conv2d | None:
    """The convolution that is given the picture of a ``size`` (height and width) as it is; None where there is no such
    one, or something else is given it too."""
    picture = torch.zeros(1, 3, *size)
    given: list[nn.Module] = []

    def note(part: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        passes_on = list(part.children()) or isinstance(part, nn.Identity | nn.Dropout)
        if any(one is picture for one in inputs) and not passes_on:
            given.append(part)

    hooks = [part.register_forward_pre_hook(note) for part in backbone.modules()]
    backbone(picture)
    for hook in hooks:
        hook.remove()
    return given[0] if len(given) == 1 and isinstance(given[0], nn.Conv2d) else None


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
