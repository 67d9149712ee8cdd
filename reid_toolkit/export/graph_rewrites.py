"""Steps of a float model laid out so that onnxruntime computes them in whole numbers, and fast.

None changes what is computed, but for where it is rounded; all need only ONNX's standard operators.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import TensorData, TensorsData

GROUP = 4
"""Columns that the first convolution takes as one: 4 pixels of 3 channels are 12, a multiple of 4."""

CORNER = 3.0
"""Where the hard sigmoid of a hard-swish, clip(x / 6 + 1 / 2, 0, 1), leaves 0, below, and reaches 1, above."""


def widen_stem(model: onnx.ModelProto, ranges: TensorsData, pixels: str) -> list[str]:
    """Let the first convolution take four columns as one and give two at once; changes ``model`` and ``ranges``.

    With three channels onnxruntime gathers each window byte by byte, which takes longer than the products do: a
    quarter of a whole MobileNetV3-small. With twelve its kernels read the picture where it lies. In memory a row of W
    pixels of 3 channels is one of W / 4 pixels of 12, and one of W / 4 pixels of 2 * O channels is one of W / 2 of
    O: nothing is moved but the weights, once, with zeros between them.

    Args:
        model: crops (B, H, W, 3) -> ... -> ``pixels`` (B, 3, H, W) -> the first convolution.
        ranges: of the model's tensors; the new ones take the range of that which they are made of.
        pixels: name of the first convolution's input.

    Returns the names of the nodes added after it; none, and nothing has changed, where it is not of stride 2, half its
    odd size padded, or H is odd or W no multiple of 4.
    """
    graph = model.graph
    conv = next(node for node in graph.node if pixels in node.input)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    weight, bias = (numpy_helper.to_array(constants[name]) for name in conv.input[1:])
    crops = graph.input[0].name
    height, width = (axis.dim_value for axis in graph.input[0].type.tensor_type.shape.dim[1:3])
    outputs, channels, *size = weight.shape
    half = [side // 2 for side in size]
    form = {"strides": [2, 2], "pads": half * 2, "dilations": [1, 1], "group": 1, "auto_pad": b"NOTSET"}
    even = any(side % 2 == 0 for side in size)  # its map is larger than half the picture
    if convolution_form(conv) != form or even or width % GROUP or height % 2:
        return []

    wide, before, after = widen_weights(weight)
    graph.initializer.extend(
        numpy_helper.from_array(value, name)
        for name, value in {
            "stem_weight": wide,
            "stem_bias": np.tile(bias, 2),
            "stem_groups_shape": np.array([0, height, width // GROUP, GROUP * channels]),
            "stem_pixels_shape": np.array([0, height // 2, width // 2, outputs]),
        }.items()
    )
    for node in graph.node:
        node.input[:] = ["stem_groups" if name == crops else name for name in node.input]
    graph.node.insert(0, helper.make_node("Reshape", [crops, "stem_groups_shape"], ["stem_groups"], "stem_groups"))
    conv.input[1:] = ["stem_weight", "stem_bias"]
    del conv.attribute[:]
    pads = [half[0], before, half[0], after]
    conv.attribute.extend([helper.make_attribute("strides", [2, 1]), helper.make_attribute("pads", pads)])

    # An activation stays next to its convolution, which takes it in.
    readers = [node for node in graph.node if conv.output[0] in node.input]
    last = readers[0] if [reader.op_type for reader in readers] in (["Relu"], ["Clip"]) else conv
    whole = last.output[0]
    last.output[0] = "stem_pairs"
    added = [
        helper.make_node("Transpose", ["stem_pairs"], ["stem_rows"], "stem_rows", perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["stem_rows", "stem_pixels_shape"], ["stem_pixels"], "stem_pixels"),
        helper.make_node("Transpose", ["stem_pixels"], [whole], "stem_whole", perm=[0, 3, 1, 2]),
    ]
    place = list(graph.node).index(last) + 1
    for node in reversed(added):
        graph.node.insert(place, node)
        ranges.data[node.input[0]] = ranges[whole]
    del graph.value_info[:]
    model.CopyFrom(onnx.shape_inference.infer_shapes(model, strict_mode=True))
    return [node.name for node in added]


def convolution_form(conv: onnx.NodeProto) -> dict[str, Any]:
    """How the window of a convolution in two dimensions moves. ONNX lets a file leave out each of these attributes."""
    form = {"strides": [1, 1], "pads": [0] * 4, "dilations": [1, 1], "group": 1, "auto_pad": b"NOTSET"}
    given = {item.name: helper.get_attribute_value(item) for item in conv.attribute}
    return form | {name: value for name, value in given.items() if name in form}


def widen_weights(weight: NDArray[np.float32]) -> tuple[NDArray[np.float32], int, int]:
    """(O, C, h, w) of stride 2, padded by w // 2 -> (2 * O, 4 * C, h, v), and the padding left and right, in groups.

    The first O channels are the window of the even column, the others that of the odd one.
    """
    outputs, channels, height, width = weight.shape
    places = [[divmod(2 * window + column - width // 2, GROUP) for column in range(width)] for window in range(2)]
    groups = [group for row in places for group, _ in row]
    wide = np.zeros((2, outputs, GROUP, channels, height, max(groups) - min(groups) + 1), np.float32)
    for window, row in enumerate(places):
        for column, (group, inside) in enumerate(row):
            wide[window, :, inside, :, :, group - min(groups)] = weight[:, :, :, column]
    return wide.reshape(2 * outputs, GROUP * channels, height, -1), -min(groups), max(groups)


def hard_sigmoids(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The hard sigmoids of a graph that are clip(x / 6 + 1 / 2, 0, 1). ONNX's own default has another slope."""
    found = []
    for node in graph.node:
        given = {item.name: item.f for item in node.attribute}
        line = given.get("alpha", 0.2), given.get("beta", 0.5)
        if node.op_type == "HardSigmoid" and np.allclose(line, (1 / 6, 1 / 2), rtol=0, atol=1e-4):
            found.append(node)
    return found


def align_hard_sigmoids(model: onnx.ModelProto, ranges: TensorsData) -> None:
    """Change the ranges of hard sigmoids' inputs so that -3 is in them and a whole number of their 255 steps from 0.

    A range that would be more than doubled is left as it is: that input hardly leaves 0, and would lose over a bit. So
    is one in which 3 is less than a step.
    """
    for name in {node.input[0] for node in hard_sigmoids(model.graph)}:
        low, high = (float(np.min(end)) for end in ranges[name].range_value)
        least, span = min(low, -CORNER), max(high, 0.0) - min(low, -CORNER)
        steps = int(CORNER * 255 / span)
        if span > 2 * (high - low) or steps < 1:
            continue
        step = CORNER / steps
        zero = round(-least / step)
        ranges[name] = TensorData(lowest=np.float32(-zero * step), highest=np.float32((255 - zero) * step))


def clip_hard_sigmoids(model: onnx.ModelProto) -> None:
    """Put a clip of the bytes for each hard sigmoid between an aligned tensor and one in INT8; changes ``model``.

    onnxruntime computes it in float, there and back. But where x = step * (q - zero), and 3 is n steps, x / 6 + 1 / 2
    is step / 6 * (q - (zero - n)): the same bytes on another scale, clipped to zero - n and zero + n. A hard-swish,
    x * hard_sigmoid(x), is then a product of whole numbers, for which there is a kernel.
    """
    graph = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made_by = {name: node for node in graph.node for name in node.output}
    for node in hard_sigmoids(graph):
        source = made_by[node.input[0]]
        readers = [other for other in graph.node if node.output[0] in other.input]
        if source.op_type != "DequantizeLinear" or [reader.op_type for reader in readers] != ["QuantizeLinear"]:
            continue
        step, zero = (constants[name] for name in source.input[1:])
        steps = round(CORNER / float(step))
        low, high = int(zero) - steps, min(int(zero) + steps, np.iinfo(zero.dtype).max)
        if abs(steps * float(step) - CORNER) > 1e-4 or low < np.iinfo(zero.dtype).min:
            continue
        name = node.name
        values = {"low": np.array(low, zero.dtype), "high": np.array(high, zero.dtype), "step": np.float32(step / 6)}
        graph.initializer.extend(numpy_helper.from_array(np.array(v), f"{name}_{key}") for key, v in values.items())
        clip = helper.make_node(
            "Clip", [source.input[0], f"{name}_low", f"{name}_high"], [f"{name}_bytes"], f"{name}_clip"
        )
        for reader in [other for other in graph.node if readers[0].output[0] in other.input]:
            reader.input[:] = [f"{name}_bytes", f"{name}_step", f"{name}_low"]
        graph.node.insert(list(graph.node).index(node), clip)
        left = [other for other in graph.node if source.output[0] in other.input and other is not node]
        # onnxruntime would compute even what nobody reads.
        for gone in (node, readers[0], *([] if left else [source])):
            graph.node.remove(gone)


def pool_in_bytes(model: onnx.ModelProto) -> None:
    """Call each mean over a whole map GlobalAveragePool, which has a kernel for bytes; changes ``model``.

    As ReduceMean, which torch exports, the maps of a squeeze-and-excitation block go to float to be averaged.
    """
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "ReduceMean" or len(node.input) < 2:
            continue
        keeps = {item.name: item.i for item in node.attribute}.get("keepdims", 1)
        axes = constants.get(node.input[1])
        if keeps and axes is not None and axes.tolist() in ([2, 3], [-2, -1]):
            node.op_type = "GlobalAveragePool"
            del node.input[1:], node.attribute[:]
