"""torchvision's classifiers without their classifier: crops in, pooled features out, and where weights come from."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from urllib.error import URLError

import safetensors.torch
import torch
import torchvision
from torch import Tensor, nn

from reid_toolkit.errors import ModelError, RecipeError

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
}
"""Backbone -> its last part, which is cut off; what is left ends in global average pooling."""

RUN_PREFIX = "backbone."
"""Of the backbone's tensors in a run's checkpoints, where the head's and the clusters' stand beside them."""


def build_backbone(name: str, *, stride_in_1x1: bool = False) -> tuple[nn.Module, int]:
    """A torchvision model with random weights that maps (B, 3, H, W) to (B, D), and D.

    ``stride_in_1x1`` moves each bottleneck's stride from its 3x3 to its first 1x1 convolution (He et al. 2015).
    Raises :class:`RecipeError` for a name we do not know.
    """
    if name not in CLASSIFIERS:
        raise RecipeError(f"network.backbone is {name!r}: expected one of {', '.join(CLASSIFIERS)}")
    backbone: nn.Module = torchvision.models.get_model(name, weights=None)
    classifier = getattr(backbone, CLASSIFIERS[name])
    dimension = next(part.in_features for part in classifier.modules() if isinstance(part, nn.Linear))
    setattr(backbone, CLASSIFIERS[name], nn.Identity())
    if stride_in_1x1:
        for block in backbone.modules():
            if isinstance(block, torchvision.models.resnet.Bottleneck):
                block.conv1.stride, block.conv2.stride = block.conv2.stride, (1, 1)
    return backbone, dimension


def load_weights(backbone: nn.Module, name: str, weights: str) -> None:
    """Fill a backbone of :func:`build_backbone`: ``weights`` is "none", "imagenet", or the path of a state dict or
    of a run's checkpoint, of which only the backbone is taken.

    Raises :class:`ModelError` when the file does not fit, or when there is no network to download from.
    """
    if weights == "none":
        return
    state = download_imagenet(name) if weights == "imagenet" else read_state_dict(Path(weights))
    state = {key.removeprefix("module."): value for key, value in state.items()}
    if any(key.startswith(RUN_PREFIX) for key in state):
        state = {key.removeprefix(RUN_PREFIX): value for key, value in state.items() if key.startswith(RUN_PREFIX)}
    prefix = CLASSIFIERS[name] + "."
    state = {key: value for key, value in state.items() if not key.startswith(prefix) and is_learned(key)}
    own = {key: value for key, value in backbone.state_dict().items() if is_learned(key)}
    wrong = sorted(own.keys() ^ state.keys()) or [k for k in own if own[k].shape != state[k].shape]
    if wrong:
        raise ModelError(
            f"weights {weights}: do not fit {name}: {len(wrong)} tensors differ in name or shape, the first is "
            f"{wrong[0]!r}: expected torchvision's names; convert the file or name the backbone it belongs to"
        )
    backbone.load_state_dict(state, strict=False)


def is_learned(key: str) -> bool:
    """Not so of batch norm's counters, which nothing reads and torchvision's own older files do not have."""
    return not key.endswith("num_batches_tracked")


def download_imagenet(name: str) -> dict[str, Tensor]:
    """torchvision's ImageNet weights, from its cache or the network. V1: what the literature of the paper used."""
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
    """A state dict from .safetensors or a weights-only .pth; nothing in the file is executed."""
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"weights {path}: no such file") from None
    except Exception:  # pickle, zip and safetensors each raise their own; torch's advice is to run the file's code
        raise ModelError(
            f"weights {path}: damaged, or more than plain tensors: expected .safetensors, or what torch.save makes "
            "of a state_dict()"
        ) from None
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"weights {path}: expected a dict of tensors by name; save the model's state_dict()")
    return state
