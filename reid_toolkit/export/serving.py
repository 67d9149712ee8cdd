"""All steps of serving as one torch graph, arranged for the edge: the same results with fewer and cheaper steps."""

import copy

import torch
from torch import Tensor, nn

from reid_toolkit.training.features import fold_norms
from reid_toolkit.training.network import ReidNetwork
from reid_toolkit.training.timm_backbone import TimmBackbone


class ServingNetwork(nn.Module):
    """Maps (B, H, W, 3) uint8 BGR to (B, D) float32 rows of length 1.

    Scaling, channel order and division by the standard deviation are folded into the weights of the first convolution.
    Of the preprocessing only the subtraction of the mean remains, because that convolution pads with zeros: it
    subtracts the mean's grey levels, 0 to 255. If no single convolution takes the picture, all preprocessing stays as
    separate steps. ``network`` itself is not changed.
    """

    mean: Tensor
    deviation: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, network: ReidNetwork) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(network.backbone).eval()
        fold_norms(self.backbone, network.size)  # otherwise torch takes a minute to export an OSNet's hundred norms
        if isinstance(self.backbone, TimmBackbone):
            self.backbone.standardises = False  # its own mean and deviation are applied here
        replace_pooling(self.backbone)
        for part in self.backbone.modules():
            if hasattr(part, "inplace"):  # the graph is the same, but the exporter takes twice as long to undo it
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
    """Return the convolution that takes a picture of ``size`` (height and width) unchanged; None if there is none, or
    something else takes the picture too."""
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
    """Return the factor and the summand (D,) to which batch norm in evaluation mode amounts."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight.detach() * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias.detach() - norm.running_mean * scale


class MeanPool(nn.Module):
    """Global average pooling, (B, C, H, W) -> (B, C, 1, 1)."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3), keepdim=True)


def replace_pooling(module: nn.Module) -> None:
    """Replace every ``AdaptiveAvgPool2d(1)`` by :class:`MeanPool`, because it exports as ten index operations."""
    for name, part in module.named_children():
        if isinstance(part, nn.AdaptiveAvgPool2d):
            setattr(module, name, MeanPool())
        else:
            replace_pooling(part)
