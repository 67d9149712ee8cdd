"""Converts a model in OpenVINO's form (IR: an .xml and a .bin file) to an ONNX graph, operation by operation.

OpenVINO reads ONNX but does not write it. This module knows the operations of convolutional embedders; the error names
any other operation. https://docs.openvino.ai: "Operation specification"; ONNX operators of opset 18.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from reid_toolkit.errors import ModelError
from reid_toolkit.runtime.openvino import import_openvino

OPSET = 18
SAME = {
    "Add": "Add", "Subtract": "Sub", "Multiply": "Mul", "Divide": "Div", "Power": "Pow", "Maximum": "Max",
    "Minimum": "Min", "Relu": "Relu", "Sigmoid": "Sigmoid", "Tanh": "Tanh", "Exp": "Exp", "Log": "Log", "Sqrt": "Sqrt",
    "Negative": "Neg", "Abs": "Abs", "HSwish": "HardSwish", "SoftPlus": "Softplus", "Mish": "Mish", "Erf": "Erf",
    "Floor": "Floor", "ShapeOf": "Shape", "Unsqueeze": "Unsqueeze", "Squeeze": "Squeeze",
}  # fmt: skip
"""Operations that have the same inputs in ONNX, and no attribute that matters."""
REDUCTIONS = {"ReduceMean": "ReduceMean", "ReduceMax": "ReduceMax", "ReduceSum": "ReduceSum", "ReduceL2": "ReduceL2"}
POOLINGS = {"MaxPool": "MaxPool", "AvgPool": "AveragePool"}
INTEGERS = ("i8", "i16", "i32", "i64", "u16", "u32", "u64")
"""OpenVINO's element types that become INT64, which ONNX requires for shapes and indices."""

Convert = Callable[["Writer", Any, list[str]], None]


def as_onnx(xml: Path) -> onnx.ModelProto:
    """Read ``xml`` and the weights beside it. The result has the same names of inputs and outputs, in float32.

    Raises :class:`ModelError` if OpenVINO is not installed or cannot read the file, or if an operation is unknown here.
    """
    try:
        openvino = import_openvino(str(xml))
    except ImportError:
        raise ModelError(
            f"{xml}: a model of OpenVINO, which needs openvino: pip install openvino, or adopt its ONNX file"
        ) from None
    try:
        model = openvino.Core().read_model(xml)
    except RuntimeError as error:
        raise ModelError(f"{xml}: OpenVINO cannot read it: {last_line(error)}: expected the .bin beside it") from None
    writer = Writer(xml)
    for operation in model.get_ordered_ops():
        writer.write(operation)
    graph = helper.make_graph(writer.nodes, xml.stem, writer.inputs, writer.outputs, writer.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


class Writer:
    """The ONNX graph so far. Tensors are named after the OpenVINO operations that make them."""

    def __init__(self, xml: Path) -> None:
        self.xml = xml
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.values: dict[str, NDArray[Any]] = {}
        """Values of tensors that are the same for every input."""
        self.known: set[str] = set()

    def write(self, operation: Any) -> None:
        kind = operation.get_type_name()
        given = [tensor_name(source.get_source_output()) for source in operation.inputs()]
        if kind == "Parameter":
            self.inputs.append(end(tensor_name(operation.output(0)), operation.output(0)))
        elif kind == "Result":
            source = operation.input(0).get_source_output()
            name = result_name(source)
            if name != given[0]:  # an operation often has the name of its output
                self.node("Identity", given, name)
            self.outputs.append(end(name, source))
        elif kind == "Constant":
            self.values[tensor_name(operation.output(0))] = widened(operation.get_data())
        elif kind != "ShapeOf" and given and all(name in self.values for name in given):
            self.values[tensor_name(operation.output(0))] = folded(operation, [self.values[name] for name in given])
        elif kind == "FakeQuantize":
            raise ModelError(
                f"{self.xml}: is in INT8, which other runtimes round differently: adopt the FP16 or FP32 file of the "
                "same model; `reid export --int8` makes INT8 of it"
            )
        elif kind in SAME:
            self.node(SAME[kind], given, tensor_name(operation.output(0)))
        elif kind in CONVERTERS:
            CONVERTERS[kind](self, operation, given)
        else:
            raise ModelError(
                f"{self.xml}: has the operation {kind} of OpenVINO, which cannot be converted to ONNX here: adopt the "
                "ONNX file that it was made from"
            )

    def node(self, kind: str, given: Sequence[str], out: str | Sequence[str], **attributes: Any) -> str:
        """Add a node and return its first output. Constants among ``given`` are written when they are first used."""
        for name in given:
            if name in self.values and name not in self.known:
                self.known.add(name)
                self.constants.append(numpy_helper.from_array(self.values[name], name))
        outs = [out] if isinstance(out, str) else list(out)
        self.nodes.append(helper.make_node(kind, list(given), outs, name=outs[0], **attributes))
        return outs[0]

    def constant(self, name: str, value: Any, dtype: Any = np.int64) -> str:
        """Add a constant tensor."""
        self.values[name] = np.array(value, dtype)
        return name

    def value(self, name: str, operation: Any) -> NDArray[Any]:
        """Return a value that must be known before any input. Raises :class:`ModelError` if it depends on the input."""
        if name not in self.values:
            raise ModelError(
                f"{self.xml}: {operation.get_type_name()} {operation.get_friendly_name()} depends on the picture in a "
                "way that ONNX cannot express: adopt the ONNX file that it was made from"
            )
        return self.values[name]


def tensor_name(output: Any) -> str:
    """Return OpenVINO's name of an operation, with the output's number if it has several outputs."""
    name = str(output.get_node().get_friendly_name())
    return name if output.get_node().get_output_size() == 1 else f"{name}:{output.get_index()}"


def result_name(source: Any) -> str:
    """Return the name of a result of the file, which comes from ``source``."""
    return str(min(source.get_names(), default=tensor_name(source)))


def end(name: str, output: Any) -> onnx.ValueInfoProto:
    """Describe an input or output of the graph. Axes of variable size have no size."""
    shape = [None if axis.is_dynamic else axis.get_length() for axis in output.get_partial_shape()]
    kind = TensorProto.UINT8 if output.get_element_type().get_type_name() == "u8" else TensorProto.FLOAT
    return helper.make_tensor_value_info(name, kind, shape)


def widened(value: NDArray[Any]) -> NDArray[Any]:
    """Convert half and double precision to float32, and whole numbers to int64, which ONNX requires for shapes."""
    if value.dtype == np.uint8 or value.dtype == np.bool_:
        return np.array(value)
    return np.array(value, np.float32 if np.issubdtype(value.dtype, np.floating) else np.int64)


def folded(operation: Any, given: list[NDArray[Any]]) -> NDArray[Any]:
    """Compute an operation on constants. OpenVINO does it, unless it is a conversion or a new shape."""
    openvino = import_openvino("this")
    kind = operation.get_type_name()
    if kind == "Convert":
        return widened(given[0])
    if kind == "Reshape":
        return given[0].reshape([int(axis) for axis in operation.output(0).get_shape()])
    small = openvino.Model([operation.output(0)], [])
    (found,) = openvino.compile_model(small, "CPU")([]).values()
    return widened(np.array(found))


def convolution(writer: Writer, operation: Any, given: list[str]) -> None:
    groups = 1
    if operation.get_type_name() == "GroupConvolution":  # (groups, out, in, ...) for ONNX's (groups * out, in, ...)
        weight = writer.value(given[1], operation)
        groups = weight.shape[0]
        name = f"{tensor_name(operation.output(0))}/weight"
        given = [given[0], writer.constant(name, weight.reshape(-1, *weight.shape[2:]), np.float32)]
    about = operation.get_attributes()
    writer.node(
        "Conv", given, tensor_name(operation.output(0)), group=groups,
        strides=list(about["strides"]), dilations=list(about["dilations"]), **padding(about),
    )  # fmt: skip


def padding(about: dict[str, Any]) -> dict[str, Any]:
    """Return ONNX's attribute for how a window extends past the edges."""
    same = {"same_upper": "SAME_UPPER", "same_lower": "SAME_LOWER"}.get(about["auto_pad"])
    if same:
        return {"auto_pad": same}
    pads = [*about["pads_begin"], *about["pads_end"]]
    return {"pads": [0] * len(pads) if about["auto_pad"] == "valid" else list(pads)}


def pooling(writer: Writer, operation: Any, given: list[str]) -> None:
    kind, about = operation.get_type_name(), operation.get_attributes()
    extra: dict[str, Any] = {"ceil_mode": int(about["rounding_type"].startswith("ceil"))}
    if kind == "AvgPool":
        extra["count_include_pad"] = int(not about["exclude-pad"])
    elif "dilations" in about:
        extra["dilations"] = list(about["dilations"])
    out = tensor_name(operation.output(0))
    writer.node(
        POOLINGS[kind], given, out, kernel_shape=list(about["kernel"]), strides=list(about["strides"]),
        **padding(about), **extra,
    )  # fmt: skip


def reduction(writer: Writer, operation: Any, given: list[str]) -> None:
    keep = int(operation.get_attributes()["keep_dims"])
    axes = writer.constant(f"{tensor_name(operation.output(0))}/axes", writer.value(given[1], operation).reshape(-1))
    writer.node(
        REDUCTIONS[operation.get_type_name()], [given[0], axes], tensor_name(operation.output(0)), keepdims=keep
    )


def mean_variance(writer: Writer, operation: Any, given: list[str]) -> None:
    """MVN: subtract the mean over some axes and divide by the standard deviation."""
    out, about = tensor_name(operation.output(0)), operation.get_attributes()
    axes = writer.constant(f"{out}/axes", writer.value(given[1], operation).reshape(-1))
    mean = writer.node("ReduceMean", [given[0], axes], f"{out}/mean", keepdims=1)
    if not about["normalize_variance"]:
        writer.node("Sub", [given[0], mean], out)
        return
    apart = writer.node("Sub", [given[0], mean], f"{out}/apart")
    square = writer.node("Mul", [apart, apart], f"{out}/square")
    variance = writer.node("ReduceMean", [square, axes], f"{out}/variance", keepdims=1)
    epsilon = writer.constant(f"{out}/epsilon", about["eps"], np.float32)
    if str(about["eps_mode"]).lower().startswith("inside"):
        spread = writer.node("Sqrt", [writer.node("Add", [variance, epsilon], f"{out}/more")], f"{out}/spread")
    else:
        spread = writer.node("Add", [writer.node("Sqrt", [variance], f"{out}/root"), epsilon], f"{out}/spread")
    writer.node("Div", [apart, spread], out)


def normalise(writer: Writer, operation: Any, given: list[str]) -> None:
    """NormalizeL2: divide by the length over some axes."""
    out, about = tensor_name(operation.output(0)), operation.get_attributes()
    axes = writer.constant(f"{out}/axes", writer.value(given[1], operation).reshape(-1))
    square = writer.node("ReduceSumSquare", [given[0], axes], f"{out}/square", keepdims=1)
    epsilon = writer.constant(f"{out}/epsilon", about["eps"], np.float32)
    kind = "Max" if str(about["eps_mode"]).lower() == "max" else "Add"
    length = writer.node("Sqrt", [writer.node(kind, [square, epsilon], f"{out}/more")], f"{out}/length")
    writer.node("Div", [given[0], length], out)


def gather(writer: Writer, operation: Any, given: list[str]) -> None:
    axis = int(writer.value(given[2], operation).reshape(-1)[0])
    writer.node("Gather", given[:2], tensor_name(operation.output(0)), axis=axis)


def prelu(writer: Writer, operation: Any, given: list[str]) -> None:
    """PRelu: a slope for each channel, which ONNX aligns with the last axes."""
    out, slope = tensor_name(operation.output(0)), writer.value(given[1], operation)
    after = operation.output(0).get_partial_shape().rank.get_length() - 2
    if slope.ndim == 1:
        slope = slope.reshape(-1, *[1] * after)
    writer.node("PRelu", [given[0], writer.constant(f"{out}/slope", slope, np.float32)], out)


def product(writer: Writer, operation: Any, given: list[str]) -> None:
    out, about = tensor_name(operation.output(0)), operation.get_attributes()
    sides = []
    for side, name in zip("ab", given, strict=True):
        if about[f"transpose_{side}"]:
            rank = operation.input("ab".index(side)).get_partial_shape().rank.get_length()
            order = [*range(rank - 2), rank - 1, rank - 2]
            name = writer.node("Transpose", [name], f"{out}/{side}", perm=order)
        sides.append(name)
    writer.node("MatMul", sides, out)


def reshape(writer: Writer, operation: Any, given: list[str]) -> None:
    copies = operation.get_attributes()["special_zero"]
    writer.node("Reshape", given, tensor_name(operation.output(0)), allowzero=int(not copies))


def clamp(writer: Writer, operation: Any, given: list[str]) -> None:
    out, about = tensor_name(operation.output(0)), operation.get_attributes()
    limits = [writer.constant(f"{out}/{side}", about[side], np.float32) for side in ("min", "max")]
    writer.node("Clip", [given[0], *limits], out)


def swish(writer: Writer, operation: Any, given: list[str]) -> None:
    out = tensor_name(operation.output(0))
    inner = given[0] if len(given) < 2 else writer.node("Mul", given, f"{out}/inner")
    writer.node("Mul", [given[0], writer.node("Sigmoid", [inner], f"{out}/gate")], out)


def cast(writer: Writer, operation: Any, given: list[str]) -> None:
    kind = operation.get_attributes()["destination_type"]
    to = TensorProto.INT64 if kind in INTEGERS else {"u8": TensorProto.UINT8}.get(kind, TensorProto.FLOAT)
    writer.node("Cast", given, tensor_name(operation.output(0)), to=to)


def concatenation(writer: Writer, operation: Any, given: list[str]) -> None:
    writer.node("Concat", given, tensor_name(operation.output(0)), axis=int(operation.get_attributes()["axis"]))


def softmax(writer: Writer, operation: Any, given: list[str]) -> None:
    writer.node("Softmax", given, tensor_name(operation.output(0)), axis=int(operation.get_attributes()["axis"]))


def transpose(writer: Writer, operation: Any, given: list[str]) -> None:
    order = [int(axis) for axis in writer.value(given[1], operation).reshape(-1)]
    writer.node("Transpose", given[:1], tensor_name(operation.output(0)), perm=order)


def hard_sigmoid(writer: Writer, operation: Any, given: list[str]) -> None:
    writer.node("HardSigmoid", given, tensor_name(operation.output(0)), alpha=1 / 6, beta=0.5)


def batch_norm(writer: Writer, operation: Any, given: list[str]) -> None:
    writer.node(
        "BatchNormalization", given, tensor_name(operation.output(0)), epsilon=operation.get_attributes()["epsilon"]
    )


CONVERTERS: dict[str, Convert] = {
    "Convolution": convolution, "GroupConvolution": convolution, **dict.fromkeys(POOLINGS, pooling),
    **dict.fromkeys(REDUCTIONS, reduction), "MVN": mean_variance, "NormalizeL2": normalise, "Gather": gather,
    "PRelu": prelu, "MatMul": product, "Reshape": reshape, "Clamp": clamp, "Swish": swish,
    "Convert": cast, "Concat": concatenation, "Softmax": softmax,
    "Transpose": transpose, "HSigmoid": hard_sigmoid, "BatchNormInference": batch_norm,
}  # fmt: skip


def last_line(error: Exception) -> str:
    """Return the last line, where OpenVINO gives the reason; the lines before name places in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
