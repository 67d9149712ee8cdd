"""The embedder: a backbone whose pooled features are the descriptor, and the head that feeds the loss."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from reid_toolkit.config import NetworkRecipe
from reid_toolkit.errors import ModelError, RecipeError, did_you_mean
from reid_toolkit.training.osnet import DIMENSION, OSNETS, OSNet
from reid_toolkit.training.timm_backbone import BODY, PREFIX, TimmBackbone, is_timms
from reid_toolkit.training.weight_files import read_tensors

CLASSIFIERS = {
    "resnet18": "fc",
    "resnet34": "fc",
    "resnet50": "fc",
    "resnet101": "fc",
    "mobilenet_v2": "classifier",
    "mobilenet_v3_small": "classifier",
    "mobilenet_v3_large": "classifier",
    "efficientnet_b0": "classifier",
    "shufflenet_v2_x0_5": "fc",
    "shufflenet_v2_x1_0": "fc",
    **dict.fromkeys(OSNETS, "classifier"),
}
"""Backbone -> its last part, which is cut off; what is left ends in global average pooling, and an OSNet in one layer
more. Those of timm come beside them, by "timm:" and timm's name."""

RUN_PREFIX = "backbone."
"""Of the backbone's tensors in a run's checkpoints, where the head's and the clusters' stand beside them."""

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""ImageNet's, in RGB order and of values 0-1: what torchvision's weights were trained with."""

DUST = 1e-15
"""A weight this small does nothing any more."""

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


class GeneralisedMean(nn.Module):
    """Pooling by (mean x^p)^(1/p) over a feature map, p learned (Radenovic et al., "Fine-tuning CNN image retrieval
    with no human annotation", 2018): (B, D, H, W) -> (B, D, 1, 1). p = 1 is the average, and a large p the maximum."""

    def __init__(self, exponent: float = 3.0) -> None:
        super().__init__()
        self.exponent = nn.Parameter(torch.tensor(exponent))

    def forward(self, features: Tensor) -> Tensor:
        # In float32, where a power of a small number is not 0.
        powers = features.float().clamp(min=1e-6).pow(self.exponent)
        return powers.mean((2, 3), keepdim=True).pow(1 / self.exponent)


class ReidNetwork(nn.Module):
    """Backbone and head.

    ``forward`` gives features: L2-normalised they are the descriptor used to cluster and retrieve. ``embed`` maps
    features, averaged over a tracklet's frames, to the unit vectors that the loss compares with the lookup table.

    With head "embedding" (Section IV-C) the features are the pooled ones, and ``embed`` is a linear layer and batch
    norm. With "batch_norm" (BNNeck: Luo et al., "Bag of tricks", 2019) the features are the pooled ones after batch
    norm, whose bias is not learned, and ``embed`` only normalises.
    """

    def __init__(self, recipe: NetworkRecipe) -> None:
        super().__init__()
        size = recipe.height, recipe.width
        self.backbone, self.dimension = build_backbone(recipe.backbone, stride_in_1x1=recipe.stride_in_1x1, size=size)
        self.size = size
        """Height and width of the images."""
        timms = self.backbone if isinstance(self.backbone, TimmBackbone) else None
        self.mean, self.std = (timms.mean, timms.std) if timms else (MEAN, STD)
        """What the first layer's weights were trained with: of RGB of 0-1."""
        if recipe.last_stride == 1:
            keep_last_map(self.backbone)
        if recipe.pooling == "generalised_mean":
            pool_by(self.backbone, GeneralisedMean())
        self.feature_norm: nn.BatchNorm1d | None = None
        self.embedding: nn.Linear | None = None
        if recipe.head == "batch_norm":
            self.feature_norm = nn.BatchNorm1d(self.dimension)
            self.feature_norm.bias.requires_grad_(False)
        else:
            self.embedding = nn.Linear(self.dimension, recipe.embedding)
            self.embedding_norm = nn.BatchNorm1d(recipe.embedding)
            nn.init.kaiming_normal_(self.embedding.weight, mode="fan_out")
            nn.init.zeros_(self.embedding.bias)
        depth = 0 if recipe.frozen == "none" else STEM.index(recipe.frozen) + 1
        self.frozen = STEM[:depth]
        for name in self.frozen:
            getattr(self.backbone, name).requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Standardised images (B, 3, H, W) -> features (B, D)."""
        pooled = self.backbone(images)
        return pooled if self.feature_norm is None else self.feature_norm(pooled.float())

    def embed(self, pooled: Tensor, kept: Tensor | None = None) -> Tensor:
        """Features (B, D) -> unit embeddings (B, E); ``kept`` (B, E) bool is what dropout leaves of them.

        Dropout comes before the normalisation, so that Eq. 2's v has length 1 in training too; the released code
        drops after it.
        """
        embedded = pooled if self.embedding is None else self.embedding_norm(self.embedding(pooled))
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
        head = [p for name, p in self.named_parameters() if not name.startswith(RUN_PREFIX) and p.requires_grad]
        return [{"params": backbone, "factor": backbone_factor}, {"params": head, "factor": 1.0}]


@torch.no_grad()
def drop_dust(network: nn.Module) -> None:
    """Set weights below :data:`DUST` to zero. Weight decay leaves such weights in channels that are no longer used.

    They change no output that float32 can hold. But products of them are subnormal numbers, which are tens of times
    slower on a CPU: a training step of MobileNetV2 took twice its time after some twenty rounds.
    """
    for weights in network.parameters():
        if weights.requires_grad:
            weights[weights.abs() < DUST] = 0


@torch.no_grad()
def centre_features(network: ReidNetwork, crops: Tensor) -> None:
    """Set the running statistics of a new network's feature norm to those of ``crops`` (B, H, W, 3) uint8 BGR.

    Without it an untrained network's features are the pooled ones, all positive and much alike.
    """
    assert network.feature_norm is not None
    network.eval()
    images = standardise(to_rgb(crops))
    pooled = torch.cat([network.backbone(part).float() for part in images.split(64)])
    network.feature_norm.running_mean = pooled.mean(dim=0)
    network.feature_norm.running_var = pooled.var(dim=0)


def build_network(recipe: NetworkRecipe, seed: int) -> ReidNetwork:
    """A network with the recipe's weights; what is random is drawn from ``seed``."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ReidNetwork(recipe)
    load_weights(network.backbone, recipe.backbone, recipe.weights)
    return network


def build_backbone(
    name: str, *, stride_in_1x1: bool = False, size: tuple[int, int] = (256, 128)
) -> tuple[nn.Module, int]:
    """A model with random weights that maps (B, 3, H, W) to (B, D), and D.

    ``stride_in_1x1`` moves each bottleneck's stride from its 3x3 to its first 1x1 convolution (He et al. 2015).
    ``size`` is the images' height and width: what timm's models are tried with, and some are made for.
    Raises :class:`RecipeError` for a name we do not know, or a size that a model does not take, and
    :class:`MissingDependencyError` for a model of timm without timm.
    """
    if name.startswith(PREFIX):
        model = TimmBackbone(name, size, MEAN, STD)
        return model, model.dimension
    if name not in CLASSIFIERS:
        near = f" (did you mean {PREFIX + name!r}?)" if is_timms(name) else did_you_mean(name, CLASSIFIERS)
        raise RecipeError(
            f"network.backbone is {name!r}{near}: expected one of {', '.join(CLASSIFIERS)}, or {PREFIX}NAME with a "
            "model of the timm package"
        )
    if name in OSNETS:
        channels, ain = OSNETS[name]
        return OSNet(channels, ain=ain), DIMENSION
    backbone: nn.Module = torchvision.models.get_model(name, weights=None)
    classifier = getattr(backbone, CLASSIFIERS[name])
    dimension = next(part.in_features for part in classifier.modules() if isinstance(part, nn.Linear))
    setattr(backbone, CLASSIFIERS[name], nn.Identity())
    if stride_in_1x1:
        for block in backbone.modules():
            if isinstance(block, torchvision.models.resnet.Bottleneck):
                block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)
    return backbone, dimension


def pool_by(backbone: nn.Module, pooling: nn.Module) -> None:
    """Pool a backbone of :func:`build_backbone` by a module that gives (B, D, 1, 1).

    Raises :class:`RecipeError` for a model of timm that has no feature map to pool.
    """
    if isinstance(backbone, TimmBackbone):
        backbone.pool_by(pooling)
    elif hasattr(backbone, "avgpool"):
        backbone.avgpool = pooling
    else:
        # MobileNetV2 and ShuffleNet average in their code: what comes after the last part, averaged, stays as it is.
        last = backbone.features if hasattr(backbone, "features") else backbone.conv5
        assert isinstance(last, nn.Sequential)
        last.append(pooling)


def keep_last_map(backbone: nn.Module) -> None:
    """Take out a backbone's last halving of the feature map: the block that holds its last convolution of stride 2, or
    an OSNet's last pooling between stages.

    Raises :class:`RecipeError` for a model of timm whose feature map does not become twice as high and wide by it.
    """
    if isinstance(backbone, OSNet):
        backbone.keep_last_map()
        return
    timms = backbone if isinstance(backbone, TimmBackbone) else None
    body: nn.Module = timms.body if timms else backbone
    before = timms.map_size() if timms else None
    halving = [name for name, part in body.named_modules() if isinstance(part, nn.Conv2d) and part.stride == (2, 2)]
    block = ".".join(halving[-1].split(".")[:2]) + "." if halving else ""
    for name, part in body.named_modules():
        if not block or not name.startswith(block):
            continue
        if isinstance(part, nn.Conv2d) and part.stride == (2, 2):
            part.stride = (1, 1)
        elif isinstance(part, nn.AvgPool2d) and part.stride == 2:  # of the shortcut, in some of timm's ResNets
            part.kernel_size = part.stride = 1
    if timms and not is_half(before, timms.map_size()):
        raise RecipeError(
            f"network.last_stride = 1: the last halving of {timms.name!r} cannot be taken out: leave last_stride at "
            "2, or name another backbone"
        )


def is_half(small: tuple[int, int] | None, large: tuple[int, int] | None) -> bool:
    """Whether a map's height and width are half of another's, rounded up."""
    if small is None or large is None or small == large:
        return False
    return all(-(-b // 2) == a for a, b in zip(small, large, strict=True))


def load_weights(backbone: nn.Module, name: str, weights: str) -> None:
    """Fill a backbone of :func:`build_backbone`: ``weights`` is "none", "imagenet", or the path of a state dict or
    of a run's checkpoint, of which only the backbone is taken.

    Raises :class:`ModelError` when the file does not fit, or when there is no network to download from.
    """
    if weights == "none":
        return
    if weights != "imagenet":
        state = read_state_dict(Path(weights))
    else:
        state = backbone.download() if isinstance(backbone, TimmBackbone) else download_imagenet(name)
    if any(key.startswith(RUN_PREFIX) for key in state):
        state = {key.removeprefix(RUN_PREFIX): value for key, value in state.items() if key.startswith(RUN_PREFIX)}
    own = {key: value for key, value in backbone.state_dict().items() if is_learned(key)}
    if isinstance(backbone, TimmBackbone):
        state = {BODY + key.removeprefix(BODY): value for key, value in state.items()}
        left_out = tuple(BODY + key for key in backbone.classifier())
    else:
        left_out = (CLASSIFIERS[name] + ".",)
    state = {key: value for key, value in state.items() if not key.startswith(left_out) and is_learned(key)}
    wrong = sorted(own.keys() ^ state.keys()) or [k for k in own if own[k].shape != state[k].shape]
    if wrong:
        whose = "timm" if name.startswith(PREFIX) else "torchreid" if name in OSNETS else "torchvision"
        raise ModelError(
            f"weights {weights}: do not fit {name}: {len(wrong)} tensors differ in name or shape, the first is "
            f"{wrong[0]!r}: expected {whose}'s names; convert the file or name the backbone it belongs to"
        )
    backbone.load_state_dict(state, strict=False)


def is_learned(key: str) -> bool:
    """Whether a file of weights has to hold it. Not so of batch norm's counters, which nothing reads and torchvision's
    own older files do not have, and of our own pooling's exponent."""
    return not key.endswith(("num_batches_tracked", ".exponent"))


def download_imagenet(name: str) -> dict[str, Tensor]:
    """torchvision's ImageNet weights, from its cache or the network. V1: what the literature of the paper used."""
    if name in OSNETS:
        raise ModelError(
            f"ImageNet weights of {name} are not downloaded: torchreid's model zoo gives them only by hand: give "
            "--weights FILE (torchreid-named state dict, .pth or .safetensors), or --weights none to begin from "
            "random weights"
        )
    weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    try:
        with redirect_stdout(sys.stderr):  # torch names the address it loads from; stdout is for results
            return weights.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError) as error:
        raise ModelError(
            f"ImageNet weights of {name} cannot be downloaded ({error}): give --weights FILE (torchvision-named "
            "state dict, .safetensors or .pth), or --weights none to begin from random weights"
        ) from None


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """A state dict from .safetensors or a file of torch; nothing in the file is executed."""
    if not path.is_file():
        raise ModelError(f"weights {path}: {'is a folder: expected a file' if path.is_dir() else 'no such file'}")
    try:
        return read_tensors(path)
    except ModelError as error:
        raise ModelError(f"weights {error}") from None
