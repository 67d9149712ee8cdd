"""Recognises networks whose preset is known, by names in their graph or by its first steps."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import numpy_helper

from reid_toolkit.adopt.contract import LEAST_LEVEL
from reid_toolkit.adopt.network import Network

OSNET_LAYER = re.compile(r"conv2\.0\.conv2[a-d]\.")
PASSING = ("Transpose", "Cast", "Identity")
"""Operations that do not change the pixels' values."""


@dataclass(frozen=True)
class Recognised:
    """A preset, and how it was recognised."""

    preset: str
    by: str
    surely: bool = False
    """Whether the graph itself shows it, and not only a name."""


def recognise(path: Path, network: Network) -> Recognised | None:
    """Return the preset of a file that is recognised; None otherwise."""
    names = {tensor.name for tensor in network.model.graph.initializer}
    name = path.stem.lower()
    inside = normalised_inside(network)
    if inside:
        return inside
    if network.input == "data" and network.output == "reid_embedding":
        # Its OpenVINO form has order, mean and deviation inside; its ONNX file has not.
        return Recognised("imagenet", "it is the ONNX file of an Open Model Zoo person-reidentification network")
    if network.output == "fc_pred":
        return Recognised("tao", "the name of its output is NVIDIA TAO's ReIdentificationNet's")
    by_name = re.search(r"(?<![a-z])osnet(?![a-z])", name)
    if (by_name or any(OSNET_LAYER.search(tensor) for tensor in names)) and begins_with_convolution(network):
        return Recognised(
            "imagenet", f"{'its name is' if by_name else 'its layers are'} that of an OSNet of torchreid or BoxMOT"
        )
    if "youtu" in name:
        return Recognised("imagenet", "its name is that of OpenCV Zoo's person_reid_youtureid")
    return None


def begins_with_convolution(network: Network) -> bool:
    """Whether only a convolution takes the picture, as in torchreid's networks."""
    return [node.op_type for node in network.model.graph.node if network.input in node.input] == ["Conv"]


def normalised_inside(network: Network) -> Recognised | None:
    """Recognise a network that first subtracts a mean of grey levels. Red has the greatest mean, which shows the order
    of the channels; the graph may reverse that order before."""
    graph = network.model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    tensor, turned = network.input, False
    while True:
        takers = [node for node in graph.node if tensor in node.input]
        if len(takers) != 1:
            return None
        (node,) = takers
        given = next((constants[name].reshape(-1) for name in node.input if name in constants), np.zeros(0))
        if node.op_type == "Gather" and given.tolist() == [2, 1, 0]:
            turned = not turned
        elif node.op_type not in PASSING:
            break
        tensor = node.output[0]
    mean = np.abs(given)
    if node.op_type not in ("Sub", "Add") or len(mean) != 3 or mean.min() < LEAST_LEVEL or mean[0] == mean[2]:
        return None
    wants_rgb = bool(mean[0] > mean[2]) != turned
    words = ", ".join(f"{value:.4g}" for value in mean)
    return Recognised("inside" if wants_rgb else "raw-bgr", f"its graph begins by subtracting the mean {words}", True)
