"""An adapter that makes any model of the timm package a backbone, by its name there.

timm is Ross Wightman's "PyTorch image models" (Apache-2.0): https://github.com/huggingface/pytorch-image-models
"""

import sys
from contextlib import redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn

from reid_toolkit.errors import MissingDependencyError, ModelError, RecipeError, did_you_mean, first_line

PREFIX = "timm:"
"""Prefix of timm's names in ``network.backbone``."""

BODY = "body."
"""Prefix of timm's names of tensors in a :class:`TimmBackbone`."""

Colour = tuple[float, float, float]


def import_timm() -> Any:
    """Import the package. Raises :class:`MissingDependencyError` if it is not installed."""
    try:
        import timm
    except ImportError as error:
        raise MissingDependencyError(
            f"network.backbone 'timm:...' needs {error.name}, which is not installed: in reid's checkout, "
            "pip install '.[timm]'"
        ) from None
    return timm


def is_timms(name: str) -> bool:
    """Whether timm is installed and has a model of this name."""
    try:
        return bool(import_timm().is_model(name.partition(".")[0]))
    except ImportError:
        return False


class TimmBackbone(nn.Module):
    """A model of timm without its classifier: maps standardised images (B, 3, H, W) of one size to features (B, D)."""

    scale: Tensor
    shift: Tensor

    def __init__(self, name: str, size: tuple[int, int], mean: Colour, std: Colour) -> None:
        """``name`` is timm's name with PREFIX; ``size`` is height and width; ``mean`` and ``std`` are those with which
        the images are standardised. Raises :class:`RecipeError` if there is no such model, or it does not take the
        size."""
        super().__init__()
        self.name, self.size = name, size
        self.body: Any = create(name, size)
        about = self.body.pretrained_cfg
        self.mean: Colour = tuple(about.get("mean") or mean)
        """The mean that timm's weights of this name were trained with."""
        self.std: Colour = tuple(about.get("std") or std)
        self.pooling: nn.Module | None = None
        self.standardises = (self.mean, self.std) != (mean, std)
        """Whether images must be standardised again, because this model needs another mean or deviation."""
        given, wanted, one = (torch.tensor(values).view(3, 1, 1) for values in (mean, self.mean, self.std))
        self.register_buffer("scale", torch.tensor(std).view(3, 1, 1) / one, persistent=False)
        self.register_buffer("shift", (given - wanted) / one, persistent=False)
        try:
            shape = self.look(self)
        except Exception as error:  # each model raises its own kind
            raise RecipeError(
                f"network.backbone {name!r} does not take pictures of {size[0]}x{size[1]} ({first_line(error)}): give "
                "the --size that its name says, or name another backbone"
            ) from None
        if len(shape) != 2:
            raise RecipeError(
                f"network.backbone {name!r} gives {tuple(shape)} for a picture: expected a row of features; name "
                "another backbone"
            )
        self.dimension = shape[1]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to features (B, D)."""
        if self.standardises:
            images = images * self.scale + self.shift
        features: Tensor = self.body(images)
        return features if self.pooling is None else self.pooling(features).flatten(1)

    @torch.no_grad()
    def look(self, function: Any) -> torch.Size:
        """Return the shape that a function of this model gives for one black picture."""
        training = self.training
        self.eval()
        try:
            shape: torch.Size = function(torch.zeros(1, 3, *self.size)).shape
        finally:
            self.train(training)
        return shape

    def map_size(self) -> tuple[int, int] | None:
        """Height and width of the last feature map; None if the model has none, or orders its axes differently."""
        try:
            _, _, height, width = self.look(self.body.forward_features)
        except (AttributeError, ValueError, RuntimeError):  # several maps, a row of patches, or parts that do not fit
            return None
        return (height, width) if height < self.size[0] and width < self.size[1] else None

    def pool_by(self, pooling: nn.Module) -> None:
        """Replace the pooling by a module that maps (B, D, H, W) to (B, D, 1, 1). Raises :class:`RecipeError` if the
        model does not end by averaging a feature map."""
        if not self.swap_pooling(pooling):
            raise RecipeError(
                f"network.pooling = 'generalised_mean': {self.name!r} does not end in the mean of a feature map: "
                "leave pooling at 'average', or name another backbone"
            )

    def swap_pooling(self, pooling: nn.Module) -> bool:
        """Replace the pooling and return whether the features keep their width. If not, the model is unusable."""
        from timm.layers import SelectAdaptivePool2d

        poolings: list[Any] = [part for part in self.body.modules() if isinstance(part, SelectAdaptivePool2d)]
        used = [part for part in poolings if not part.is_identity()]
        if len(used) == 1:
            shape = used[0](torch.zeros(1, 2, 3, 5)).shape
            if shape[1] != 2:  # it has the channels last
                return False
            used[0].pool = pooling
            used[0].flatten = nn.Flatten(1) if len(shape) == 2 else nn.Identity()
        else:
            try:
                self.body.reset_classifier(0, "")
            except Exception:  # each model raises its own kind
                return False
            if len(self.look(self.body)) != 4:
                return False
            self.pooling = pooling
        return tuple(self.look(self)) == (1, self.dimension)

    def fuse(self) -> None:
        """Fuse the branches of blocks that are designed for it (RepViT, MobileOne, ...) into one convolution each."""
        from timm.utils.model import reparameterize_model

        self.body = reparameterize_model(self.body, inplace=True)

    def classifier(self) -> set[str]:
        """Return the names of tensors that timm's files have but this model lacks: the classifier's."""
        with torch.device("meta"):
            whole = create(self.name, self.size, num_classes=2)
        return set(whole.state_dict()) - set(self.body.state_dict())

    def download(self) -> dict[str, Tensor]:
        """Return timm's trained weights of this name, from its cache or the network. Raises :class:`ModelError` if
        there are none, or there is no network."""
        with redirect_stdout(sys.stderr):
            try:
                name = self.name.removeprefix(PREFIX)
                model = import_timm().create_model(name, pretrained=True, num_classes=0, **fixed(self.name, self.size))
            except Exception as error:  # the hub's client raises many kinds
                raise ModelError(
                    f"trained weights of {self.name} cannot be downloaded ({first_line(error)}): give --weights FILE "
                    "(a state dict with timm's names, .safetensors or .pth), or --weights none to start from random "
                    "weights"
                ) from None
        return dict(model.state_dict())


def create(name: str, size: tuple[int, int], num_classes: int = 0) -> Any:
    """Make timm's model with random weights for pictures of a size. Without ``num_classes`` it has no classifier."""
    timm, own = import_timm(), name.removeprefix(PREFIX)
    if own not in timm.list_models() and own not in timm.list_pretrained():
        near = did_you_mean(name, [PREFIX + known for known in timm.list_models()])
        raise RecipeError(
            f"network.backbone is {name!r}{near}: timm {timm.__version__} has no model of that name; "
            "timm.list_models() in Python lists them"
        )
    try:
        return timm.create_model(own, num_classes=num_classes, **fixed(name, size))
    except Exception as error:  # each model raises its own kind
        raise RecipeError(
            f"network.backbone {name!r} cannot be made for pictures of {size[0]}x{size[1]} ({first_line(error)}): give "
            "the --size that its name says, or name another backbone"
        ) from None


def fixed(name: str, size: tuple[int, int]) -> dict[str, Any]:
    """Return the size as an argument for models that take pictures of one size only, which must be told it."""
    about = import_timm().get_pretrained_cfg(name.removeprefix(PREFIX), allow_unregistered=True)
    told = about is not None and about.fixed_input_size and tuple(about.input_size[1:]) != size
    return {"img_size": size} if told else {}
