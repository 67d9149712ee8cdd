"""Uses the statistics that a network's first batch norm stores of its training pictures.

A batch norm stores mean and variance of its input, channel by channel. With pixels prepared as in training, its input
has this distribution; with another range or order of channels it has not. The first batch norm is nearest to the
pixels; the inputs of later ones also depend on what is in the picture. Files whose norms were folded into the
convolutions before them have no such statistics.
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from reid_toolkit.runtime.session import open_session

MOST = 20.0
"""Limit for one channel, so that a dead channel does not decide."""
BATCH = 32


def mismatch(model: onnx.ModelProto, pixels: NDArray[np.uint8]) -> float | None:
    """Measure how far the input of the first batch norm is from its stored statistics. The result is the
    Kullback-Leibler divergence between two normal distributions, averaged over channels; None if there is no batch
    norm, or no picture.

    ``model`` is from :func:`serving.serving_model`; ``pixels`` are (B, H, W, 3) uint8 BGR of its size.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    norm = next((node for node in model.graph.node if node.op_type == "BatchNormalization"), None)
    if norm is None or not len(pixels) or any(name not in constants for name in norm.input[3:5]):
        return None
    session = open_session(watching(model, norm.input[0]).SerializeToString(), "the trial", providers=["cpu"])
    batches = [pixels[at : at + BATCH] for at in range(0, len(pixels), BATCH)]
    shares = np.array([len(batch) for batch in batches]) / len(pixels)
    moments = [session.run(["watched_mean", "watched_square_mean"], {"crops": batch}) for batch in batches]
    mean, square = (shares @ np.array(side, np.float64) for side in zip(*moments, strict=True))
    variance = np.maximum(square - mean**2, 1e-9)
    epsilon = next((entry.f for entry in norm.attribute if entry.name == "epsilon"), 1e-5)
    kept, spread = (numpy_helper.to_array(constants[name]).astype(np.float64) for name in norm.input[3:5])
    spread = spread + epsilon
    divergence = ((variance + (mean - kept) ** 2) / spread - 1 - np.log(variance / spread)) / 2
    return float(np.minimum(divergence, MOST).mean())


def watching(model: onnx.ModelProto, tensor: str) -> onnx.ModelProto:
    """Return the model with each channel's mean and mean square of a tensor as additional outputs."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    graph = watched.graph
    values = onnx.shape_inference.infer_shapes(model).graph.value_info
    rank = next((len(value.type.tensor_type.shape.dim) for value in values if value.name == tensor), 4)
    axes = np.array([axis for axis in range(rank) if axis != 1], np.int64)
    graph.initializer.append(numpy_helper.from_array(axes, "watched_axes"))
    graph.node.append(helper.make_node("Mul", [tensor, tensor], ["watched_square"]))
    for source, out in ((tensor, "watched_mean"), ("watched_square", "watched_square_mean")):
        graph.node.append(helper.make_node("ReduceMean", [source, "watched_axes"], [out], keepdims=0))
        graph.output.append(helper.make_tensor_value_info(out, onnx.TensorProto.FLOAT, [None]))
    return watched
