"""Turns a checkpoint of torchreid or fast-reid into an ONNX graph, and into the module that the graph must match."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reid_toolkit.adopt.architecture import Architecture, architecture_of, check_fit
from reid_toolkit.adopt.contract import PRESETS
from reid_toolkit.adopt.network import LARGEST, SMALLEST
from reid_toolkit.adopt.rewrites import OPSET
from reid_toolkit.errors import InputError, MissingDependencyError, ModelError, first_line
from reid_toolkit.training.osnet import OSNETS, OSNet
from reid_toolkit.training.weight_files import read_tensors

OUTPUT = "descriptors"


@dataclass(frozen=True)
class TorchModel:
    """A checkpoint whose network was recognised."""

    architecture: Architecture
    module: nn.Module
    """The network in evaluation mode: (B, 3, H, W) float32 -> (B, D)."""
    model: onnx.ModelProto
    """The same network as a graph."""

    def run(self, values: NDArray[Any]) -> NDArray[Any]:
        """Map (B, 3, H, W) float32 to (B, D), in torch."""
        with torch.inference_mode():
            return np.asarray(self.module(torch.from_numpy(values)).numpy())


def from_torch(path: Path, size: tuple[int, int] | None = None) -> TorchModel:
    """Read a checkpoint and export it for pictures of ``size`` (height, width; None for the size its maker uses).

    Raises:
        InputError: it cannot take pictures of this size.
        MissingDependencyError: the package with the network is not installed.
        ModelError: it is damaged, has more than tensors, or has a network that cannot be built here.
    """
    architecture, module = loaded(path)
    return TorchModel(architecture, module, exported(module, size or architecture.size, str(path)))


def loaded(path: Path) -> tuple[Architecture, nn.Module]:
    """Return the network of a checkpoint with its weights. Raises what :func:`from_torch` raises."""
    where = str(path)
    tensors = read_tensors(path)
    architecture = architecture_of({name: tuple(tensor.shape) for name, tensor in tensors.items()}, where)
    check_pixels(tensors, where)
    module = module_for(architecture)
    fill(module, architecture, tensors, where)
    return architecture, module


def module_for(architecture: Architecture) -> nn.Module:
    """Build the network without weights, in evaluation mode: an OSNet of our own, or a network of Roboflow's package
    reid, version 0.1 (Apache-2.0).

    Raises :class:`MissingDependencyError` if that package is not installed.
    """
    if architecture.name in OSNETS:
        channels, ain = OSNETS[architecture.name]
        return OSNet(channels, ain=ain).eval()
    try:
        from reid.architectures import build_architecture
    except ImportError as error:
        raise MissingDependencyError(
            f"{architecture.title} needs Roboflow's package reid, which cannot be imported ({first_line(error)}): "
            "in reid's checkout, pip install '.[pretrained]'"
        ) from None
    module: nn.Module = build_architecture(architecture.name)
    return module.eval()


def fill(module: nn.Module, architecture: Architecture, tensors: dict[str, Tensor], where: str) -> None:
    """Load the file's tensors into the module, in float32, after checking that all are there and finite."""
    state = {
        architecture.name_of(name): tensor
        for name, tensor in tensors.items()
        if not (name.startswith(architecture.unread) or is_counter(name))
    }
    needed = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items() if not is_counter(name)}
    check_fit(architecture, needed, {name: tuple(tensor.shape) for name, tensor in state.items()}, where)
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or not tensor.dtype.is_floating_point:
            raise ModelError(
                f"{where}: {name} is {tensor.dtype}, {tensor.layout}, on {tensor.device}: expected plain floats"
            )
        if not torch.isfinite(tensor).all():
            raise ModelError(f"{where}: its weights {name} are not finite: the file is damaged, or the training was")
    module.load_state_dict({name: tensor.to(torch.float32) for name, tensor in state.items()}, strict=False)


def is_counter(name: str) -> bool:
    """Whether it is batch norm's count of batches, which evaluation does not read and older files lack."""
    return name.endswith("num_batches_tracked")


def check_pixels(tensors: dict[str, Tensor], where: str) -> None:
    """Raise :class:`ModelError` if the file stores another mean or deviation of pixels than ImageNet's, as fast-reid
    may."""
    usual = PRESETS["imagenet"]
    for name, expected in (("pixel_mean", usual.mean), ("pixel_std", usual.std)):
        stored = tensors.get(name)
        grey = torch.tensor(expected) * usual.scale
        if stored is not None and not (
            stored.numel() == 3 and torch.allclose(stored.float().flatten(), grey, atol=0.5)
        ):
            raise ModelError(
                f"{where}: was trained with {name} {stored.flatten()[:3].tolist()}: expected ImageNet's, "
                f"{[round(value, 2) for value in grey.tolist()]}: export it to ONNX with fast-reid, and adopt that"
            )


def exported(module: nn.Module, size: tuple[int, int], where: str) -> onnx.ModelProto:
    """Export the module for pictures of this size and any batch."""
    if not all(SMALLEST <= side <= LARGEST for side in size):
        raise InputError(f"--size {size[0]}x{size[1]}: expected sides of {SMALLEST} to {LARGEST} pixels")
    # Batch 2 and not 1, because the exporter would take a 1 for a constant.
    program = torch.onnx.export(
        module, (torch.zeros(2, 3, *size),), dynamo=True, opset_version=OPSET, verbose=False, input_names=["images"],
        output_names=[OUTPUT], dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
    )  # fmt: skip
    if program is None:
        raise ModelError(f"{where}: torch.onnx.export gave no program")
    return program.model_proto
