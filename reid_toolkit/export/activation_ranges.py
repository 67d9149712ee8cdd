"""Prepares a float model for INT8, and measures the range of each of its tensors on real crops."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, TensorData, TensorsData, create_calibrator
from onnxruntime.quantization.shape_inference import quant_pre_process

from reid_toolkit.errors import ModelError
from reid_toolkit.export.float_forms import attention
from reid_toolkit.images import Image
from reid_toolkit.runtime.preprocess import to_batch

GREY = 114
"""The grey level, the same in all three channels, that the first convolution's zero padding means in an INT8 model. It
is between the means 123.7, 116.3 and 103.5. With it the crops' bytes are already quantised tensors (scale 1, zero point
114), and nothing is computed before the first convolution. The result differs from the float model's only by the
padding of the outermost pixels (1 - cosine about 1e-5)."""

BATCH = 16


@dataclass(frozen=True)
class RangedModel:
    """The model from which all INT8 variants are made."""

    model: onnx.ModelProto
    """With batch norms folded, shapes inferred, and grey padding."""
    ranges: TensorsData
    pixels: str | None
    """Name of the first convolution's input: pixels minus GREY. None if something else comes before the convolution,
    for example in an adopted model that normalises each picture by itself."""
    nodes: tuple[str, ...]
    """Names of the nodes that may be quantised: from the first convolution to the last pooling, which is excluded."""


def measure_ranges(path: Path, crops: list[Image]) -> RangedModel:
    """Run the float model ``path``, made by ``reid export``, on crops and record the range of each tensor.

    ``crops`` are at least one (H, W, 3) uint8 BGR picture of any size.
    """
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        # Symbolic shape inference is meant for transformers.
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        model = onnx.load(prepared)
        pixels = pad_with_grey(model)
        for number, node in enumerate(model.graph.node):  # onnxruntime splits some activations into nodes without names
            node.name = node.name or f"{node.op_type}_{number}"
        onnx.save(model, prepared)
        # A range is the mean of the batches' minima and maxima, so that one odd crop does not widen it.
        calibrator = create_calibrator(
            str(prepared), augmented_model_path=str(Path(folder) / "augmented.onnx"),
            extra_options={"moving_average": True},
        )  # fmt: skip
        calibrator.collect_data(Reader(crops, model))
        ranges = calibrator.compute_data()
    if pixels:
        ranges[pixels] = TensorData(lowest=np.float32(-GREY), highest=np.float32(255 - GREY))
    kinds = [node.op_type for node in model.graph.node]
    pooled, convolved = (last_of(kind, kinds) for kind in ("ReduceMean", "Conv"))
    last = pooled if pooled > convolved else convolved + 1
    aside = variances(model.graph) | attention(model.graph)
    inside = [node.name for node in model.graph.node[kinds.index("Conv") : last] if node.name not in aside]
    return RangedModel(model, ranges, pixels, tuple(inside))


def last_of(kind: str, kinds: list[str]) -> int:
    """Return the position of the last one of this kind; -1 if there is none."""
    return max((place for place, found in enumerate(kinds) if found == kind), default=-1)


def variances(graph: onnx.GraphProto) -> set[str]:
    """Return the names of the nodes that compute the variance under a square root, as in instance norms. Squares have
    such wide ranges that INT8 would lose most of the precision."""
    made_by = {name: node for node in graph.node for name in node.output}
    names = set()
    for root in graph.node:
        node = made_by.get(root.input[0]) if root.op_type == "Sqrt" else None
        for kind in ("Add", "ReduceMean", "Mul"):
            if node is not None and node.op_type == kind:
                names.add(node.name)
                node = next((made_by[name] for name in node.input if name in made_by), None)
    return names


class Reader(CalibrationDataReader):
    """Gives crops as batches of a model's input to onnxruntime's calibrator."""

    def __init__(self, crops: list[Image], model: onnx.ModelProto) -> None:
        (entry,) = model.graph.input
        height, width = (axis.dim_value for axis in entry.type.tensor_type.shape.dim[1:3])
        self.batches: Iterator[dict[str, NDArray[np.uint8]]] = (
            {entry.name: to_batch(crops[first : first + BATCH], height, width)} for first in range(0, len(crops), BATCH)
        )

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        return next(self.batches, None)


def pad_with_grey(model: onnx.ModelProto) -> str | None:
    """Subtract GREY instead of the mean before the first convolution, and put the difference into its bias.

    This uses conv(x - mean) = conv(x - GREY) + conv(GREY - mean), which holds except at the padding. Changes ``model``
    and returns the name of the convolution's input. Returns None without a change if what comes before the convolution
    is not just a mean of the pixels that is subtracted.
    """
    first = next((node for node in model.graph.node if node.op_type == "Conv"), None)
    if first is None:
        raise ModelError(
            "INT8: no convolution in the graph (in a model with a fixed batch they are inside a loop): use the "
            "float file"
        )
    made_by = {name: node for node in model.graph.node for name in node.output}
    subtraction = made_by.get(first.input[0])
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    if (
        subtraction is None
        or subtraction.op_type != "Sub"
        or not is_pixels(subtraction.input[0], made_by, model.graph.input[0].name)
        or subtraction.input[1] not in constants
        or list(constants[subtraction.input[1]].dims) != [3, 1, 1]
        or sum(first.input[0] in node.input for node in model.graph.node) > 1
    ):
        return None
    weight = numpy_helper.to_array(constants[first.input[1]])
    mean = numpy_helper.to_array(constants[subtraction.input[1]])  # (3, 1, 1)
    bias = np.einsum("oihw,i->o", weight.astype(np.float64), GREY - mean.astype(np.float64).reshape(3))
    if len(first.input) > 2:  # the exporter leaves out a bias of zeros
        bias += numpy_helper.to_array(constants[first.input[2]])
    for name, value in (("grey_bias", bias.astype(np.float32)), ("grey", np.full((1, 1, 1), GREY, np.float32))):
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    subtraction.input[1] = "grey"
    first.input[:] = [*first.input[:2], "grey_bias"]
    return str(first.input[0])


def is_pixels(name: str, made_by: dict[str, onnx.NodeProto], crops: str) -> bool:
    """Whether a tensor is the crops' bytes as numbers, unchanged. A network may scale them first."""
    kinds = []
    while name in made_by and made_by[name].input:
        kinds.append(made_by[name].op_type)
        name = made_by[name].input[0]
    return name == crops and kinds in (["Cast"], ["Cast", "Transpose"])
