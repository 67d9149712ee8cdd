"""Descriptors of every sample, in evaluation mode: what is clustered, ranked, and put into the lookup table."""

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


@dataclass(frozen=True)
class Features:
    """Of N samples, on the CPU, float32."""

    descriptors: Tensor
    """(N, D) unit rows: the normalised mean of the frames' unit descriptors, as at serving."""
    embeddings: Tensor
    """(N, E) unit rows: what the loss compares with the lookup table."""
    halves: Tensor
    """(2, N, D) unit rows: the descriptors of a sample's first and second half of frames; zero where a sample
    has one frame only."""


def free_of_cameras(features: Features, cameras: Sequence[str]) -> Features:
    """The same with descriptors and halves freed of the bias of ``cameras`` (N names), fitted to the descriptors.

    Unchanged where there are too few samples for camera statistics. Halves of a sample with one frame stay zero.
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
    """A copy for inference on a CPU, each batch norm folded into the convolution before it: three times as fast."""

    def fold(part: nn.Module) -> None:
        last: tuple[str, nn.Module] | None = None
        for name, child in part.named_children():
            if isinstance(child, nn.BatchNorm2d) and last and isinstance(last[1], nn.Conv2d):
                setattr(part, last[0], fuse_conv_bn_eval(last[1], child))
                setattr(part, name, nn.Identity())
            else:
                fold(child)
            last = name, child

    copy = deepcopy(network).eval()
    fold(copy.backbone)
    return copy.to(memory_format=torch.channels_last)


@torch.no_grad()
def extract(
    network: ReidNetwork,
    samples: Samples,
    device: torch.device,
    batch_size: int | None = None,
    precision: str = "float32",
    world: World = ALONE,
) -> Features:
    """Run the network over every crop once; memory is bounded by ``batch_size`` however long a tracklet is.

    It is by default what keeps a CPU's caches or a GPU busy. ``precision`` is that of the backbone, as in training.
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
