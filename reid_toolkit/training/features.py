"""Computes descriptors of every sample in evaluation mode, for clustering, ranking and the lookup table."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import fuse_conv_bn_eval

from reid_toolkit.camera_statistics import fit_camera_statistics
from reid_toolkit.training.distributed import ALONE, World
from reid_toolkit.training.network import ReidNetwork, mixed_precision, standardise, to_rgb
from reid_toolkit.training.samples import Samples
from reid_toolkit.training.timm_backbone import TimmBackbone


@dataclass(frozen=True)
class Features:
    """The features of N samples, on the CPU, float32."""

    descriptors: Tensor
    """(N, D), rows of length 1: the normalised mean of the frames' normalised descriptors, as in a gallery."""
    embeddings: Tensor
    """(N, E), rows of length 1: what the loss compares with the lookup table."""
    halves: Tensor
    """(2, N, D), rows of length 1: the descriptors of the first and the second half of a sample's frames; zero if the
    sample has only one frame."""


def free_of_cameras(features: Features, cameras: Sequence[str]) -> Features:
    """Remove the bias of ``cameras`` (N names) from descriptors and halves; it is fitted to the descriptors.

    Features stay unchanged if there are too few samples for camera statistics. Halves of one-frame samples stay zero.
    """
    statistics = fit_camera_statistics(features.descriptors.numpy(), cameras)
    if statistics is None:
        return features
    descriptors, *halves = (
        torch.from_numpy(statistics.apply(rows.numpy(), cameras)) for rows in (features.descriptors, *features.halves)
    )
    whole = features.halves.norm(dim=2, keepdim=True) > 0.5  # (2, N, 1)
    return replace(features, descriptors=descriptors, halves=torch.stack(halves) * whole)


def folded(network: ReidNetwork) -> ReidNetwork:
    """Return a copy for inference on a CPU, with batch norms folded into convolutions: it is three times as fast."""
    copy = deepcopy(network).eval()
    fold_norms(copy.backbone, copy.size)
    return copy.to(memory_format=torch.channels_last)


def fold_norms(backbone: nn.Module, size: tuple[int, int]) -> None:
    """Fold each batch norm of a backbone in evaluation mode into the convolution before it. ``size`` is height and
    width of the picture that is used to find the pairs."""
    if isinstance(backbone, TimmBackbone):
        backbone.fuse()
    names = {part: name for name, part in backbone.named_modules()}
    for convolution, norm in followed_by_norms(backbone, size):
        backbone.set_submodule(names[convolution], fuse_conv_bn_eval(convolution, norm))
        # timm's norms contain the activation that follows them.
        backbone.set_submodule(names[norm], nn.Sequential(*norm.children()))


@torch.no_grad()
def followed_by_norms(backbone: nn.Module, size: tuple[int, int]) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Return the convolutions whose output goes directly into a batch norm. They are found by running one black
    picture, because the order in which parts are registered does not show it: RepViT's blocks norm a sum of two
    convolutions."""
    made: list[tuple[Tensor, nn.Conv2d]] = []
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def note(part: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        if isinstance(part, nn.Conv2d):
            made.append((out, part))
        elif isinstance(part, nn.BatchNorm2d):
            pairs.extend((convolution, part) for output, convolution in made if output is given[0])

    parts = [part for part in backbone.modules() if isinstance(part, nn.Conv2d | nn.BatchNorm2d)]
    hooks = [part.register_forward_hook(note) for part in parts]
    backbone(torch.zeros(1, 3, *size, device=next(backbone.parameters()).device))
    for hook in hooks:
        hook.remove()
    return pairs


@torch.no_grad()
def extract(
    network: ReidNetwork,
    samples: Samples,
    device: torch.device,
    batch_size: int | None = None,
    precision: str = "float32",
    world: World = ALONE,
) -> Features:
    """Run the network over every crop once. ``batch_size`` limits memory for tracklets of any length.

    By default it is large enough to use a CPU's caches or a GPU well. ``precision`` is the backbone's, as in training.
    The processes of a ``world`` share the crops, and all of them get all features.
    """
    network.eval()
    batch_size = batch_size or (512 if device.type == "cuda" else 64)
    count = len(samples)
    starts = torch.from_numpy(samples.starts)
    sample_of = torch.repeat_interleave(torch.arange(count), starts.diff())
    place = torch.arange(len(samples.crops)) - starts[sample_of]
    half_of = (2 * place >= starts.diff()[sample_of]).long()
    half_of, sample_of = half_of.to(device), sample_of.to(device)
    unit = torch.zeros(2 * count, network.dimension, device=device)
    pooled = torch.zeros(count, network.dimension, device=device)
    chunks = torch.arange(len(samples.crops)).split(batch_size)[world.rank :: world.size]
    for chunk, crops in zip(chunks, samples.read_ahead(chunks), strict=True):
        with mixed_precision(device, precision):
            features = network(standardise(to_rgb(crops.to(device))))
        features, rows = features.float(), slice(int(chunk[0]), int(chunk[-1]) + 1)
        unit.index_add_(0, half_of[rows] * count + sample_of[rows], F.normalize(features, dim=1))
        pooled.index_add_(0, sample_of[rows], features)
    world.sum(unit)
    world.sum(pooled)
    halves = unit.view(2, count, -1)
    embeddings = torch.cat(
        [network.embed(part) for part in (pooled / starts.diff().to(device)[:, None]).split(batch_size)]
    )
    return Features(F.normalize(halves.sum(0), dim=1).cpu(), embeddings.cpu(), F.normalize(halves, dim=2).cpu())
