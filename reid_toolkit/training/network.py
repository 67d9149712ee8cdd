"""The network that is trained: a backbone, whose pooled features are the descriptor, and the head for the loss."""

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
"""The part of each backbone that is cut off: its classifier. The rest ends in global average pooling; an OSNet has one
more layer after it. timm's models are named "timm:" and timm's name."""

RUN_PREFIX = "backbone."
"""Prefix of the backbone's tensors in a run's checkpoints, which hold the head and the clusters as well."""

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""ImageNet's mean and standard deviation, RGB, values 0 to 1: torchvision's weights were trained with them."""

DUST = 1e-15
"""Weights smaller than this have no effect."""

STEM = ("conv1", "bn1", "layer1", "layer2")
"""Parts of a ResNet, in the order in which ``frozen`` counts them."""


def to_rgb(crops: Tensor) -> Tensor:
    """Convert uint8 BGR crops (B, H, W, 3) to RGB (B, 3, H, W) float32, 0 to 1."""
    return crops.flip(-1).permute(0, 3, 1, 2).to(torch.float32) / 255.0


def standardise(images: Tensor) -> Tensor:
    """Convert RGB (B, 3, H, W), 0 to 1, to the network's input: minus the mean, divided by the standard deviation."""
    return (images - per_channel(MEAN, images.device)) / per_channel(STD, images.device)


def per_channel(values: tuple[float, float, float], device: torch.device) -> Tensor:
    """Make (3, 1, 1) on the device. A copy from the host would have to be waited for, and no CUDA graph can hold it."""
    return torch.stack([torch.full((1, 1), value, device=device) for value in values])


def mixed_precision(device: torch.device, precision: str) -> torch.autocast:
    """Return the context in which the backbone runs. With "bfloat16", convolutions and products use it, while batch
    norm's sums and all weights stay float32. With "float32" it changes nothing."""
    # Weights are cast once per pass, so a cache of them would gain nothing.
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=False)


class GeneralisedMean(nn.Module):
    """Pools a feature map by (mean x^p)^(1/p), with p learned: (B, D, H, W) -> (B, D, 1, 1). p = 1 is the average; a
    large p approaches the maximum (Radenovic et al., "Fine-tuning CNN image retrieval with no human annotation",
    2018)."""

    def __init__(self, exponent: float = 3.0) -> None:
        super().__init__()
        self.exponent = nn.Parameter(torch.tensor(exponent))

    def forward(self, features: Tensor) -> Tensor:
        # In float32, because in lower precision a power of a small number may become 0.
        powers = features.float().clamp(min=1e-6).pow(self.exponent)
        return powers.mean((2, 3), keepdim=True).pow(1 / self.exponent)


class ReidNetwork(nn.Module):
    """Backbone and head.

    ``forward`` gives features. L2-normalised, they are the descriptor that is clustered and searched by. ``embed`` maps
    features, averaged over a tracklet's frames, to the unit vectors that the loss compares with the lookup table.

    With head "embedding" (Section IV-C) the features are the pooled ones, and ``embed`` is a linear layer and batch
    norm. With "batch_norm" (BNNeck: Luo et al., "Bag of tricks", 2019) the features are the pooled ones after a batch
    norm whose bias is not learned, and ``embed`` only normalises.
    """

    def __init__(self, recipe: NetworkRecipe) -> None:
        super().__init__()
        size = recipe.height, recipe.width
        self.backbone, self.dimension = build_backbone(recipe.backbone, stride_in_1x1=recipe.stride_in_1x1, size=size)
        self.size = size
        """Height and width of the images."""
        timms = self.backbone if isinstance(self.backbone, TimmBackbone) else None
        self.mean, self.std = (timms.mean, timms.std) if timms else (MEAN, STD)
        """The pixel mean and deviation that the first layer's weights were trained with: RGB, 0 to 1."""
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
        """Map standardised images (B, 3, H, W) to features (B, D)."""
        pooled = self.backbone(images)
        return pooled if self.feature_norm is None else self.feature_norm(pooled.float())

    def embed(self, pooled: Tensor, kept: Tensor | None = None) -> Tensor:
        """Map features (B, D) to unit embeddings (B, E). ``kept`` (B, E) bool marks the elements that dropout keeps.

        Dropout comes before the normalisation, so that v in Eq. 2 has length 1 in training too. The released code drops
        after it.
        """
        embedded = pooled if self.embedding is None else self.embedding_norm(self.embedding(pooled))
        # Dropout's usual scaling is left out, because the normalisation would undo it.
        return F.normalize(embedded if kept is None else embedded * kept, dim=1)

    def train(self, mode: bool = True) -> "ReidNetwork":
        """As in torch, but frozen parts stay in evaluation mode, with their batch statistics as loaded."""
        super().train(mode)
        for name in self.frozen:
            getattr(self.backbone, name).eval()
        return self

    def parameter_groups(self, backbone_factor: float) -> list[dict[str, object]]:
        """Return trainable parameters for an optimiser. Each group's ``factor`` scales its learning rate."""
        backbone = [p for p in self.backbone.parameters() if p.requires_grad]
        head = [p for name, p in self.named_parameters() if not name.startswith(RUN_PREFIX) and p.requires_grad]
        return [{"params": backbone, "factor": backbone_factor}, {"params": head, "factor": 1.0}]


@torch.no_grad()
def drop_dust(network: nn.Module) -> None:
    """Set weights below :data:`DUST` to zero. Weight decay leaves such weights in channels that are no longer used.

    They change no output that float32 can represent. But their products are subnormal numbers, which are tens of times
    slower on a CPU: a training step of MobileNetV2 took twice its time after about twenty rounds.
    """
    for weights in network.parameters():
        if weights.requires_grad:
            weights[weights.abs() < DUST] = 0


@torch.no_grad()
def centre_features(network: ReidNetwork, crops: Tensor) -> None:
    """Set the running statistics of a new network's feature norm to those of ``crops`` (B, H, W, 3) uint8 BGR.

    Otherwise the features of an untrained network would be the pooled ones, which are all positive and similar.
    """
    assert network.feature_norm is not None
    network.eval()
    images = standardise(to_rgb(crops))
    pooled = torch.cat([network.backbone(part).float() for part in images.split(64)])
    network.feature_norm.running_mean = pooled.mean(dim=0)
    network.feature_norm.running_var = pooled.var(dim=0)


def build_network(recipe: NetworkRecipe, seed: int) -> ReidNetwork:
    """Make a network with the recipe's weights. Random weights depend only on ``seed``."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ReidNetwork(recipe)
    load_weights(network.backbone, recipe.backbone, recipe.weights)
    return network


def build_backbone(
    name: str, *, stride_in_1x1: bool = False, size: tuple[int, int] = (256, 128)
) -> tuple[nn.Module, int]:
    """Make a model with random weights that maps (B, 3, H, W) to (B, D). Returns it and D.

    ``stride_in_1x1`` moves each bottleneck's stride from its 3x3 to its first 1x1 convolution (He et al. 2015).
    ``size`` is the images' height and width, with which timm's models are tested; some are made for one size.
    Raises :class:`RecipeError` for an unknown name or a size that the model does not take, and
    :class:`MissingDependencyError` for a model of timm if timm is not installed.
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
    """Replace the pooling of a backbone from :func:`build_backbone` by a module that gives (B, D, 1, 1).

    Raises :class:`RecipeError` for a model of timm that has no feature map to pool.
    """
    if isinstance(backbone, TimmBackbone):
        backbone.pool_by(pooling)
    elif hasattr(backbone, "avgpool"):
        backbone.avgpool = pooling
    else:
        # MobileNetV2 and ShuffleNet average in their own code. Averaging what is already pooled changes nothing.
        last = backbone.features if hasattr(backbone, "features") else backbone.conv5
        assert isinstance(last, nn.Sequential)
        last.append(pooling)


def keep_last_map(backbone: nn.Module) -> None:
    """Remove a backbone's last halving of the feature map: the stride 2 of its last block, or an OSNet's last pooling
    between stages.

    Raises :class:`RecipeError` for a model of timm whose feature map does not double in height and width.
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
        elif isinstance(part, nn.AvgPool2d) and part.stride == 2:  # in the shortcut of some of timm's ResNets
            part.kernel_size = part.stride = 1
    if timms and not is_half(before, timms.map_size()):
        raise RecipeError(
            f"network.last_stride = 1: the last halving of {timms.name!r} cannot be removed: leave last_stride at "
            "2, or name another backbone"
        )


def is_half(small: tuple[int, int] | None, large: tuple[int, int] | None) -> bool:
    """Whether a map's height and width are half of another's, rounded up."""
    if small is None or large is None or small == large:
        return False
    return all(-(-b // 2) == a for a, b in zip(small, large, strict=True))


def load_weights(backbone: nn.Module, name: str, weights: str) -> None:
    """Load weights into a backbone of :func:`build_backbone`. ``weights`` is "none", "imagenet", or the path of a state
    dict or of a run's checkpoint, of which only the backbone is used.

    Raises :class:`ModelError` if the file does not fit, or if a download is needed and there is no network.
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
    """Whether a file of weights must contain this tensor. It need not contain batch norm's counters, which nothing
    reads and torchvision's older files lack, or the exponent of our own pooling."""
    return not key.endswith(("num_batches_tracked", ".exponent"))


def download_imagenet(name: str) -> dict[str, Tensor]:
    """Return torchvision's ImageNet weights, from its cache or the network: V1, as in the literature the paper
    cites."""
    if name in OSNETS:
        raise ModelError(
            f"ImageNet weights of {name} are not downloaded: fetch them by hand from torchreid's model zoo and give "
            "--weights FILE (torchreid-named state dict, .pth or .safetensors), or --weights none to start from "
            "random weights"
        )
    weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    try:
        with redirect_stdout(sys.stderr):  # torch prints the address it loads from; stdout is for results
            return weights.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError) as error:
        raise ModelError(
            f"ImageNet weights of {name} cannot be downloaded ({error}): give --weights FILE (torchvision-named "
            "state dict, .safetensors or .pth), or --weights none to start from random weights"
        ) from None


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a .safetensors or a torch file. Nothing in the file is executed."""
    if not path.is_file():
        raise ModelError(f"weights {path}: {'is a folder: expected a file' if path.is_dir() else 'no such file'}")
    try:
        return read_tensors(path)
    except ModelError as error:
        raise ModelError(f"weights {error}") from None
