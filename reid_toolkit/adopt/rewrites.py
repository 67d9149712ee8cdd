"""The same network in other words: one precision, one opset, and operations as all runtimes compute them."""

import copy
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter

from reid_toolkit.errors import ModelError, first_line

OPSET = 18
OTHER_FLOATS = (TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)


def as_float(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network in float32, where it is in half or double precision; an input of bytes stays one."""
    model = copy.deepcopy(model)
    for tensor in model.graph.initializer:
        widen(tensor)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                widen(attribute.t)
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i in OTHER_FLOATS:
                attribute.i = TensorProto.FLOAT
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type in OTHER_FLOATS:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    del model.graph.value_info[:]
    return model


def widen(tensor: TensorProto) -> None:
    if tensor.data_type in OTHER_FLOATS:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))


def upgraded(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """Of opset 18, or of a newer one as it is. Raises :class:`ModelError` where onnx's converter cannot do it."""
    now = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if now >= OPSET:
        return model
    # Old files name each weight as an input as well, which their opset demanded.
    held = {tensor.name for tensor in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in held]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, 8)
    try:
        return version_converter.convert_version(model, OPSET)
    except Exception as error:  # its exceptions are C++'s
        raise ModelError(
            f"{where}: opset {now} cannot be turned into {OPSET}: {first_line(error)}: export it with opset {OPSET}"
        ) from None


def spelled_out(model: onnx.ModelProto) -> onnx.ModelProto:
    """MeanVarianceNormalization as the steps that ONNX defines it by. onnxruntime's own leaves out the summand that is
    there against a division by 0, so that a channel without any light makes its descriptor NaN. Changes ``model``."""
    nodes, number = [], 0
    for node in model.graph.node:
        if node.op_type != "MeanVarianceNormalization":
            nodes.append(node)
            continue
        axes = next((list(entry.ints) for entry in node.attribute if entry.name == "axes"), [0, 2, 3])
        (taken,), (out,) = node.input, node.output
        small = f"{out}/small"
        model.graph.initializer.append(numpy_helper.from_array(np.array(1e-9, np.float32), small))
        steps = (
            ("ReduceMean", [taken], "mean"), ("Sub", [taken, "mean"], "apart"), ("Mul", ["apart", "apart"], "square"),
            ("ReduceMean", ["square"], "variance"), ("Sqrt", ["variance"], "deviation"),
            ("Add", ["deviation", small], "divisor"), ("Div", ["apart", "divisor"], out),
        )  # fmt: skip
        for kind, given, made in steps:
            names = [name if name in (taken, small) else f"{out}/{name}" for name in given]
            result = made if made == out else f"{out}/{made}"
            settings: dict[str, Any] = {"axes": axes, "keepdims": 1} if kind == "ReduceMean" else {}
            nodes.append(helper.make_node(kind, names, [result], name=f"mvn_{number}", **settings))
            number += 1
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def constants_inside(graph: onnx.GraphProto) -> None:
    """Constants that are operations become initializers, where the weights are looked for."""
    nodes = []
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].type == onnx.AttributeProto.TENSOR:
            tensor = copy.deepcopy(node.attribute[0].t)
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def spatial_means(graph: onnx.GraphProto) -> None:
    """GlobalAveragePool as ReduceMean, the same by another name, which INT8 looks for."""
    axes = "spatial_axes"
    for node in graph.node:
        if node.op_type == "GlobalAveragePool":
            node.op_type = "ReduceMean"
            node.input.append(axes)
            node.attribute.append(helper.make_attribute("keepdims", 1))
    if any(axes in node.input for node in graph.node):
        graph.initializer.append(numpy_helper.from_array(np.array([2, 3], np.int64), axes))
