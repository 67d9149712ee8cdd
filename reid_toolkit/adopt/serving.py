"""Builds the network with all steps inside: bytes of crops in, descriptors of length 1 out."""

import copy
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from reid_toolkit.adopt.contract import Contract
from reid_toolkit.adopt.network import Network
from reid_toolkit.adopt.rewrites import spatial_means
from reid_toolkit.errors import InputError

PREFIX = "network/"
SHORTEST = 1e-12
"""Shorter descriptors count as having no length, so that nothing is divided by 0."""


def serving_model(network: Network, contract: Contract) -> onnx.ModelProto:
    """Make the model that maps (batch, H, W, 3) uint8 BGR to (batch, D) float32 rows of length 1.

    A network with a fixed batch is run picture by picture inside the graph (ONNX's Scan). If its first operation is a
    convolution, scale, standard deviation and order of channels are folded into the weights of this convolution.

    Raises :class:`InputError` if the network takes bytes and the contract would change them.
    """
    model = onnx.compose.add_prefix(only_what_is_used(network), PREFIX)
    graph = model.graph
    spatial_means(graph)
    builder = Builder()
    taken = graph.input[0].name
    ready = "crops" if network.nhwc else builder.add("Transpose", ["crops"], perm=[0, 3, 1, 2])
    if network.kind != TensorProto.UINT8:
        ready = builder.add("Cast", [ready], to=TensorProto.FLOAT)
    elif contract.scale != 1 or any(contract.mean) or contract.std != (1.0, 1.0, 1.0):
        raise InputError(
            f"{network.where}: takes bytes, so it prepares pixels itself: expected --preset inside or raw-bgr"
        )
    ready = normalised(builder, graph, ready, taken, network, contract)
    descriptor = graph.output[0].name
    if network.batch is None:
        rename(graph, taken, ready)
        builder.nodes += graph.node
        builder.constants += graph.initializer
    else:
        descriptor = one_by_one(builder, graph, ready, taken)
    finish(builder, descriptor, network.pooled)
    shape: list[str | int | None] = ["batch", network.height, network.width, 3]
    whole = helper.make_graph(
        builder.nodes, "embedder",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("descriptors", TensorProto.FLOAT, ["batch", network.dimension])],
        builder.constants,
    )  # fmt: skip
    return helper.make_model(whole, opset_imports=model.opset_import, ir_version=max(8, model.ir_version))


class Builder:
    """Nodes and constants that are added to the network's."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, given: list[str], out: str = "", **attributes: Any) -> str:
        out = out or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, given, [out], name=out, **attributes))
        return out

    def constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name


def only_what_is_used(network: Network) -> onnx.ModelProto:
    """Return the part of the graph that leads to the chosen output."""
    values = {value.name: value for value in (*network.model.graph.value_info, *network.model.graph.output)}
    model = copy.deepcopy(network.model)
    needed, kept = {network.output}, []
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    del model.graph.node[:]
    model.graph.node.extend(reversed(kept))
    constants = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    del model.graph.initializer[:], model.graph.value_info[:], model.graph.output[:]
    model.graph.initializer.extend(constants)
    model.graph.output.append(values[network.output])
    return model


def normalised(
    builder: Builder, graph: onnx.GraphProto, ready: str, taken: str, network: Network, contract: Contract
) -> str:
    """Add the contract's steps, in the first convolution if possible. Returns the tensor that the network takes."""
    shape = (1, 1, 1, 3) if network.nhwc else (1, 3, 1, 1)
    factor = 1 / (contract.scale * np.array(contract.std))
    grey = contract.scale * np.array(contract.mean)  # the mean in grey levels
    weight = stem_weight(graph, taken)
    if weight is not None and not network.nhwc and network.kind != TensorProto.UINT8:
        value = numpy_helper.to_array(weight) * factor.reshape(1, 3, 1, 1)
        if contract.order == "rgb":
            value, grey = value[:, ::-1], grey[::-1]
        weight.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), weight.name))
        return builder.add("Sub", [ready, builder.constant("mean", grey.reshape(3, 1, 1))])
    if contract.order == "rgb":
        flip = builder.constant("flip", [2, 1, 0], np.int64)
        ready = builder.add("Gather", [ready, flip], axis=3 if network.nhwc else 1)
    if grey.any():
        ready = builder.add("Sub", [ready, builder.constant("mean", grey.reshape(shape))])
    if (factor != 1).any():
        ready = builder.add("Mul", [ready, builder.constant("factor", factor.reshape(shape))])
    return ready


def stem_weight(graph: onnx.GraphProto, taken: str) -> onnx.TensorProto | None:
    """Return the weights of the convolution that alone takes the input; None if something else takes it too."""
    takers = [node for node in graph.node if taken in node.input]
    if len(takers) != 1 or takers[0].op_type != "Conv":
        return None
    name = takers[0].input[1]
    weight = next((tensor for tensor in graph.initializer if tensor.name == name), None)
    shared = sum(name in node.input for node in graph.node) > 1
    return None if weight is None or shared or weight.dims[1] != 3 else weight


def rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]


def one_by_one(builder: Builder, graph: onnx.GraphProto, ready: str, taken: str) -> str:
    """Make the network the body of a Scan over the pictures. Each picture is repeated until the batch is full."""
    entry, result = graph.input[0], graph.output[0]
    kind = entry.type.tensor_type.elem_type
    shape = [axis.dim_value for axis in entry.type.tensor_type.shape.dim]
    constants = {"full": np.array(shape, np.int64), "first": np.array(0, np.int64)}
    before = helper.make_node("Expand", ["picture", "full"], [taken], name="fill")
    after = helper.make_node("Gather", [result.name, "first"], ["found"], name="take", axis=0)
    sizes = [axis.dim_value for axis in result.type.tensor_type.shape.dim][1:]
    body = helper.make_graph(
        [before, *graph.node, after], "one_picture",
        [helper.make_tensor_value_info("picture", kind, shape[1:])],
        [helper.make_tensor_value_info("found", TensorProto.FLOAT, sizes)],
        [*(numpy_helper.from_array(value, name) for name, value in constants.items()), *graph.initializer],
    )  # fmt: skip
    return builder.add("Scan", [ready], "each", body=body, num_scan_inputs=1)


def finish(builder: Builder, found: str, pooled: tuple[int, ...]) -> None:
    """Average maps, and scale descriptors to length 1."""
    if pooled:
        found = builder.add("ReduceMean", [found, builder.constant("places", pooled, np.int64)], keepdims=0)
    length = builder.add("ReduceL2", [found, builder.constant("rows", [1], np.int64)], keepdims=1)
    length = builder.add("Max", [length, builder.constant("shortest", SHORTEST)])
    builder.add("Div", [found, length], "descriptors")
