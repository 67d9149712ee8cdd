"""Rewrites a network without changing its results: one precision, one opset, and operations all runtimes agree on."""

import copy
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter

from reid_toolkit.errors import ModelError, first_line

OPSET = 18
OTHER_FLOATS = (TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)


def as_float(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convert a network in half or double precision to float32. An input of bytes stays one."""
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


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that a model uses."""
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def upgraded(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """Convert to opset 18; a newer opset is kept. Raises :class:`ModelError` if onnx's converter cannot do it."""
    now = opset_of(model)
    if now >= OPSET:
        return model
    # Old files list each weight as an input as well, because their opset required it.
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, 8)
    try:
        return version_converter.convert_version(model, OPSET)
    except Exception as error:  # C++ exceptions
        raise ModelError(
            f"{where}: opset {now} cannot be converted to {OPSET}: {first_line(error)}: export it with opset {OPSET}"
        ) from None


def spelled_out(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace MeanVarianceNormalization by the steps with which ONNX defines it. Changes ``model``.

    onnxruntime's own operator leaves out the small number added against division by 0, so that a completely dark
    channel makes its descriptor NaN."""
    nodes, number = [], 0
    for node in model.graph.node:
        if node.op_type != "MeanVarianceNormalization":
            nodes.append(node)
            continue
        axes = next((list(entry.ints) for entry in node.attribute if entry.name == "axes"), [0, 2, 3])
        (taken,), (out,) = node.input, node.output
        small, over = f"{out}/small", f"{out}/axes"
        model.graph.initializer.append(numpy_helper.from_array(np.array(1e-9, np.float32), small))
        listed = opset_of(model) >= OPSET  # from opset 18 on, the axes of a mean are an input
        if listed:
            model.graph.initializer.append(numpy_helper.from_array(np.array(axes, np.int64), over))
        mean: dict[str, Any] = {"keepdims": 1} if listed else {"axes": axes, "keepdims": 1}
        more = [over] if listed else []
        steps = (
            ("ReduceMean", [taken, *more], "mean"), ("Sub", [taken, "mean"], "apart"),
            ("Mul", ["apart", "apart"], "square"), ("ReduceMean", ["square", *more], "variance"),
            ("Sqrt", ["variance"], "deviation"), ("Add", ["deviation", small], "divisor"),
            ("Div", ["apart", "divisor"], out),
        )  # fmt: skip
        for kind, given, made in steps:
            names = [name if name in (taken, small, over) else f"{out}/{name}" for name in given]
            result = made if made == out else f"{out}/{made}"
            settings = mean if kind == "ReduceMean" else {}
            nodes.append(helper.make_node(kind, names, [result], name=f"mvn_{number}", **settings))
            number += 1
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def constants_inside(graph: onnx.GraphProto) -> None:
    """Turn constant operations into initializers, where other code looks for weights."""
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
    """Replace GlobalAveragePool by ReduceMean, which is equal and which INT8 looks for."""
    axes = "spatial_axes"
    for node in graph.node:
        if node.op_type == "GlobalAveragePool":
            node.op_type = "ReduceMean"
            node.input.append(axes)
            node.attribute.append(helper.make_attribute("keepdims", 1))
    if any(axes in node.input for node in graph.node):
        graph.initializer.append(numpy_helper.from_array(np.array([2, 3], np.int64), axes))
