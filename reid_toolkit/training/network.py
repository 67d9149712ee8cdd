"""The embedder: a backbone whose pooled features are the descriptor, and the head that feeds the loss."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reid_toolkit.config import NetworkRecipe
from reid_toolkit.training.backbones import build_backbone, load_weights

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""ImageNet's, in RGB order and of values 0-1: what torchvision's weights were trained with."""

STEM = ("conv1", "bn1", "layer1", "layer2")
"""Parts of a ResNet that ``frozen`` counts through."""


def to_rgb(crops: Tensor) -> Tensor:
    """uint8 BGR crops (B, H, W, 3) -> RGB (B, 3, H, W) float32 of 0-1."""
    return crops.flip(-1).permute(0, 3, 1, 2).to(torch.float32) / 255.0


def standardise(images: Tensor) -> Tensor:
    """RGB (B, 3, H, W) of 0-1 -> the network's input: minus the mean, over the standard deviation."""
    return (images - per_channel(MEAN, images.device)) / per_channel(STD, images.device)


def per_channel(values: tuple[float, float, float], device: torch.device) -> Tensor:
    """(3, 1, 1), filled on the device: a copy from the host would wait for it, and no CUDA graph can hold one."""
    return torch.stack([torch.full((1, 1), value, device=device) for value in values])


def mixed_precision(device: torch.device, precision: str) -> torch.autocast:
    """What the backbone runs in: for "bfloat16" its convolutions and products are in it, while batch norm's sums and
    all weights stay float32; nothing special for "float32"."""
    # Weights are cast once a pass, so that a cache of them would gain nothing.
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=False)


class ReidNetwork(nn.Module):
    """Backbone and embedding head (Section IV-C).

    ``forward`` gives the pooled features: L2-normalised they are the descriptor used to cluster and retrieve.
    ``embed`` maps pooled features, averaged over a tracklet's frames, to the unit vectors that the loss compares
    with the lookup table.
    """

    def __init__(self, recipe: NetworkRecipe) -> None:
        super().__init__()
        self.backbone, self.dimension = build_backbone(recipe.backbone, stride_in_1x1=recipe.stride_in_1x1)
        self.embedding = nn.Linear(self.dimension, recipe.embedding)
        self.embedding_norm = nn.BatchNorm1d(recipe.embedding)
        nn.init.kaiming_normal_(self.embedding.weight, mode="fan_out")
        nn.init.zeros_(self.embedding.bias)
        depth = 0 if recipe.frozen == "none" else STEM.index(recipe.frozen) + 1
        self.frozen = STEM[:depth]
        for name in self.frozen:
            getattr(self.backbone, name).requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Standardised images (B, 3, H, W) -> pooled features (B, D)."""
        return self.backbone(images)

    def embed(self, pooled: Tensor, kept: Tensor | None = None) -> Tensor:
        """Pooled features (B, D) -> unit embeddings (B, E); ``kept`` (B, E) bool is what dropout leaves of them.

        Dropout comes before the normalisation, so that Eq. 2's v has length 1 in training too; the released code
        drops after it.
        """
        embedded = self.embedding_norm(self.embedding(pooled))
        # Dropout's usual factor would be lost in the normalisation.
        return F.normalize(embedded if kept is None else embedded * kept, dim=1)

    def train(self, mode: bool = True) -> "ReidNetwork":
        """As in torch; frozen parts stay in evaluation mode, their batch statistics as loaded."""
        super().train(mode)
        for name in self.frozen:
            getattr(self.backbone, name).eval()
        return self

    def parameter_groups(self, backbone_factor: float) -> list[dict[str, object]]:
        """Trainable parameters for an optimiser, with ``factor`` to scale each group's learning rate by."""
        backbone = [p for p in self.backbone.parameters() if p.requires_grad]
        head = [*self.embedding.parameters(), *self.embedding_norm.parameters()]
        return [{"params": backbone, "factor": backbone_factor}, {"params": head, "factor": 1.0}]


def build_network(recipe: NetworkRecipe, seed: int) -> ReidNetwork:
    """A network with the recipe's weights; what is random is drawn from ``seed``."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ReidNetwork(recipe)
    load_weights(network.backbone, recipe.backbone, recipe.weights)
    return network
