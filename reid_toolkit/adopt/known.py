"""Networks that say themselves what they want: by the names in their graph, or by its first steps."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from reid_toolkit.adopt.network import Network

LEAST_LEVEL = 10.0
"""A mean that is subtracted and greater than this is one of grey levels of 0-255."""


@dataclass(frozen=True)
class Recognised:
    """A preset, and by what it was known."""

    preset: str
    by: str


def recognise(path: Path, model: onnx.ModelProto, network: Network) -> Recognised | None:
    """The preset of a file that is known; None where nothing tells."""
    names = {tensor.name for tensor in model.graph.initializer}
    name = path.stem.lower()
    if network.input == "data" and network.output == "reid_embedding":
        return Recognised("raw-bgr", "the names of its input and output are Open Model Zoo's person-reidentification's")
    inside = normalised_inside(model, network)
    if inside:
        return inside
    if network.output == "fc_pred":
        return Recognised("tao", "the name of its output is NVIDIA TAO's ReIdentificationNet's")
    if any(re.search(r"conv2\.0\.conv2[a-d]\.", tensor) for tensor in names) or "osnet" in name:
        return Recognised("imagenet", "it is an OSNet of torchreid or BoxMOT, which take ImageNet's")
    if "youtu" in name:
        return Recognised("imagenet", "its name is that of OpenCV Zoo's person_reid_youtureid")
    return None


def normalised_inside(model: onnx.ModelProto, network: Network) -> Recognised | None:
    """Known by a mean of grey levels that is taken from the picture first: that of red is the greatest."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    constants |= {node.output[0]: node.attribute[0].t for node in model.graph.node if node.op_type == "Constant"}
    takers = [node for node in model.graph.node if network.input in node.input]
    if len(takers) != 1 or takers[0].op_type not in ("Sub", "Add"):
        return None
    other = next((name for name in takers[0].input if name in constants), None)
    if other is None:
        return None
    mean = np.abs(numpy_helper.to_array(constants[other])).reshape(-1)
    if len(mean) != 3 or mean.min() < LEAST_LEVEL or mean[0] == mean[2]:
        return None
    preset = "inside" if mean[0] > mean[2] else "raw-bgr"
    return Recognised(preset, f"its graph begins by taking the mean {', '.join(f'{value:.4g}' for value in mean)} off")
