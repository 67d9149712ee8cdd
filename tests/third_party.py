"""Small networks as other projects export them, made without torch."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HEIGHT, WIDTH, CHANNELS, DIMENSION = 32, 16, 12, 10


def build(
    *,
    batch: int | str | None = "batch",
    size: tuple[int | str, int | str] = (HEIGHT, WIDTH),
    dtype: Any = np.float32,
    nhwc: bool = False,
    output: str = "flat",
    width: int = DIMENSION,
    opset: int = 12,
    names: tuple[str, str] = ("images", "output"),
    constant_reshape: bool = False,
    extra: list[onnx.NodeProto] | None = None,
    extra_outputs: tuple[tuple[str, tuple[int | str, ...]], ...] = (),
) -> onnx.ModelProto:
    """A stride-4 convolution, ReLU, global pooling, and a linear layer; ``output`` is "flat", "maps" or "column"."""
    rng = np.random.default_rng(0)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    stem = rng.normal(0, 0.2, (CHANNELS, 3, 7, 7))
    weights = {"stem": stem, "bias": rng.normal(0, 0.2, CHANNELS)}
    nodes, taken = [], names[0]
    if nhwc:
        nodes.append(helper.make_node("Transpose", [taken], ["chw"], perm=[0, 3, 1, 2]))
        taken = "chw"
    nodes += [
        helper.make_node("Conv", [taken, "stem", "bias"], ["maps"], strides=[4, 4], pads=[3, 3, 3, 3]),
        helper.make_node("Relu", ["maps"], ["lit"]),
    ]
    first = batch if batch is not None else "batch"
    if output == "maps":
        weights["wide"] = rng.normal(0, 1, (width, CHANNELS, 1, 1))
        nodes.append(helper.make_node("Conv", ["lit", "wide"], [names[1]]))
        shape: tuple[int | str, ...] = (first, width, HEIGHT // 4, WIDTH // 4)
    else:
        weights["linear"] = rng.normal(0, 1, (CHANNELS, width))
        nodes.append(helper.make_node("GlobalAveragePool", ["lit"], ["pooled"]))
        if constant_reshape:
            target = numpy_helper.from_array(np.array([batch, CHANNELS], np.int64), "target")
            nodes += [
                helper.make_node("Constant", [], ["shape"], value=target),
                helper.make_node("Reshape", ["pooled", "shape"], ["flat"]),
            ]
        else:
            nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
        nodes.append(helper.make_node("MatMul", ["flat", "linear"], ["row" if output == "column" else names[1]]))
        shape = (first, width)
        if output == "column":
            nodes.append(helper.make_node("Unsqueeze", ["row"], [names[1]], axes=[2]))
            shape = (first, width, 1)
    nodes += extra or []
    sides = (first, *size, 3) if nhwc else (first, 3, *size)
    graph = helper.make_graph(
        nodes, "third party",
        [helper.make_tensor_value_info(names[0], kind, sides)],
        [
            helper.make_tensor_value_info(names[1], kind, shape),
            *(helper.make_tensor_value_info(name, kind, axes) for name, axes in extra_outputs),
        ],
        [numpy_helper.from_array(value.astype(dtype), name) for name, value in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=6)


def save(model: onnx.ModelProto, path: Path) -> Path:
    onnx.save_model(model, path)
    return path


def bytes_model(order: str) -> onnx.ModelProto:
    """A network that takes uint8 NCHW and does the rest inside."""
    model = build(opset=13)
    graph = model.graph
    graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    nodes = [helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT), *graph.node]
    nodes[1].input[0] = "floats"
    del graph.node[:]
    graph.node.extend(nodes)
    return model
