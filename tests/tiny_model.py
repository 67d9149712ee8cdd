"""The smallest model that the runtime takes: a few numbers instead of a network, made without torch."""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from reid_toolkit.runtime.metadata import ModelMetadata

HEIGHT, WIDTH, DIMENSION = 16, 8, 5

METADATA = ModelMetadata(
    height=HEIGHT, width=WIDTH, channels="BGR", layout="NHWC uint8 0-255", normalisation="none", dimension=DIMENSION,
    backbone="mean", recipe="seed = 0\n", stage="best", dataset="0123456789abcdef", toolkit="0.1.0",
)  # fmt: skip

PROJECTION = np.random.default_rng(0).normal(size=(HEIGHT * 3, DIMENSION)).astype(np.float32)
"""Rows of the picture, averaged over the width, to a descriptor: enough to tell pictures apart."""


def build_model(
    projection: NDArray[np.float32] = PROJECTION,
    *,
    input_type: int = TensorProto.UINT8,
    size: tuple[int, int] = (HEIGHT, WIDTH),
    batch: str | int = "batch",
    metadata: dict[str, str] | None = None,
) -> onnx.ModelProto:
    """uint8 NHWC -> mean over the width -> (B, H * 3) @ projection -> rows of length 1, as export's graphs do."""
    nodes = [
        helper.make_node("Cast", ["crops"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["means"], keepdims=0),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("MatMul", ["flat", "projection"], ["rows"]),
        helper.make_node("LpNormalization", ["rows"], ["descriptors"], axis=1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("crops", input_type, [batch, *size, 3])],
        [helper.make_tensor_value_info("descriptors", TensorProto.FLOAT, [batch, projection.shape[1]])],
        [numpy_helper.from_array(projection, "projection"), numpy_helper.from_array(np.array([2]), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, METADATA.to_strings() if metadata is None else metadata)
    return model
