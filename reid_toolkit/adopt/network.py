"""Reads a third party's ONNX graph and makes it float32, with any batch, one picture input and one descriptor
output."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper, shape_inference

from reid_toolkit.adopt.rewrites import as_float, constants_inside, spelled_out, upgraded
from reid_toolkit.errors import InputError, ModelError, did_you_mean, first_line

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
CONTROL_FLOW = ("If", "Loop", "Scan")
LEAST_WIDTH = 8
CLASS_COUNTS = {
    1000: "ImageNet",
    1001: "ImageNet",
    21841: "ImageNet-21k",
    21843: "ImageNet-21k",
    751: "Market-1501",
    702: "DukeMTMC",
    767: "CUHK03",
    1041: "MSMT17",
}
"""Typical widths of classifiers, and whose classes these are."""
ONNX_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
FACE = (112, 112)
SMALLEST, LARGEST = 16, 1024
"""Least and greatest side, in pixels, of an input that crops of people can fill."""
MOST_NODES = 100_000
MOST_SHOWN = 5
SHAPE_TOLERANCE = 0.2
"""By how much the aspect ratio of maps may differ from the picture's."""


@dataclass(frozen=True)
class Network:
    """A graph with one input, (batch, 3, H, W) or (batch, H, W, 3), and the output that was chosen."""

    model: onnx.ModelProto
    """With weights inside. Its batch may be fixed."""
    where: str
    """The file, for messages."""
    input: str
    kind: int
    """Element type of the input, as in onnx.TensorProto."""
    nhwc: bool
    height: int
    width: int
    batch: int | None
    """None if the batch is free."""
    output: str
    pooled: tuple[int, ...]
    """Axes of the output to average: none for (batch, D), the last two for maps (batch, D, h, w)."""
    dimension: int


def load(path: Path) -> onnx.ModelProto:
    """Read an ONNX file with all its weights, which may lie in a second file beside it.

    Raises :class:`ModelError` if it is not an ONNX file, is incomplete, or lacks its weights.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (DecodeError, ValueError):
        size = path.stat().st_size
        raise ModelError(
            f"{path}: not an ONNX file, or not a whole one: got {size} bytes: expected a model; fetch it again"
        ) from None
    try:
        onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(
            f"{path}: its weights lie in a second file that cannot be read: {first_line(error)}: put it beside the "
            "model"
        ) from None
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ModelError(f"{path}: not a whole ONNX model: {first_line(error)}: fetch it again") from None
    return spelled_out(model)


def inspect(
    model: onnx.ModelProto, where: str, *, size: tuple[int, int] | None = None, output: str | None = None,
    anyway: bool = False,
) -> Network:  # fmt: skip
    """Find out what the graph takes and gives, or why it is not an embedder of people.

    ``size`` (height, width) is for a graph whose input has no fixed size; ``output`` chooses one of several outputs;
    ``anyway`` accepts a graph that looks like another kind of network. The model becomes float32 and opset 18 if
    possible.

    Raises:
        InputError: ``size`` or ``output`` contradict the graph, or one of them is needed.
        ModelError: it is not an embedder of pictures, or is damaged.
    """
    check_operations(model, where, anyway=anyway)
    model = upgraded(as_float(model), where)
    check_finite(model, where)
    constants_inside(model.graph)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in weights]
    if len(inputs) != 1:
        raise ModelError(f"{where}: has {len(inputs)} inputs ({shown(inputs)}): expected one, a picture")
    name, kind, nhwc, batch, sides = read_input(inputs[0], where, size)
    if sides == FACE and not anyway:
        raise ModelError(
            f"{where}: takes 112 x 112, as networks for faces do: expected one for whole people; --anyway adopts it"
        )
    if not all(SMALLEST <= side <= LARGEST for side in sides):
        raise ModelError(
            f"{where}: takes {sides[0]} x {sides[1]}: crops of people cannot fill it: expected sides of {SMALLEST} to "
            f"{LARGEST} pixels"
        )
    fixed = with_input(model, name, batch or 1, nhwc=nhwc, sides=sides)
    chosen, pooled, dimension = choose_output(fixed, where, output, (batch or 1, *sides), nhwc=nhwc, anyway=anyway)
    return Network(fixed, where, name, kind, nhwc, *sides, batch, chosen, pooled, dimension)


def check_operations(model: onnx.ModelProto, where: str, *, anyway: bool) -> None:
    """Refuse operations that no convolutional embedder has."""
    kinds = [node.op_type for node in model.graph.node]
    if len(kinds) > MOST_NODES:
        raise ModelError(f"{where}: has {len(kinds)} operations: expected {MOST_NODES} at most")
    foreign = next((node for node in model.graph.node if node.domain not in ONNX_DOMAINS), None)
    if foreign is not None:
        raise ModelError(
            f"{where}: has the operation {foreign.op_type} of {foreign.domain}, which is not ONNX's: adopt the file as "
            "it was before a runtime optimised it"
        )
    flow = sorted(set(kinds).intersection(CONTROL_FLOW))
    if flow:
        raise ModelError(
            f"{where}: its graph branches or loops ({', '.join(flow)}): expected one that does the same for every "
            "picture; export it by tracing"
        )
    if "NonMaxSuppression" in kinds:
        raise ModelError(f"{where}: a detector (it has NonMaxSuppression): expected an embedder of people's crops")
    if kinds and kinds[-1] in ("Softmax", "LogSoftmax") and not anyway:
        raise ModelError(
            f"{where}: a classifier (it ends with {kinds[-1]}): expected an embedder; --output names an earlier tensor"
        )


def check_finite(model: onnx.ModelProto, where: str) -> None:
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
            raise ModelError(
                f"{where}: its weights {tensor.name} are not finite: the file is damaged, or the training was"
            )


def read_input(
    entry: onnx.ValueInfoProto, where: str, size: tuple[int, int] | None
) -> tuple[str, int, bool, int | None, tuple[int, int]]:
    """Return name, element type, whether channels come last, the batch size if it is fixed, and height and width."""
    axes = shape_of(entry)
    kind = entry.type.tensor_type.elem_type
    if kind not in (*FLOATS, TensorProto.UINT8) or len(axes) != 4 or 3 not in (axes[1], axes[3]):
        raise ModelError(
            f"{where}: takes {shown([entry])}: expected pictures in colour, float or uint8, (batch, 3, H, W) or "
            "(batch, H, W, 3)"
        )
    nhwc = axes[1] != 3
    height, width = axes[1:3] if nhwc else axes[2:]
    if size is None and (height is None or width is None):
        raise InputError(f"{where}: takes pictures of any size: give --size, for example --size 256x128")
    if size is not None and any(side not in (None, asked) for side, asked in zip((height, width), size, strict=True)):
        raise InputError(f"{where}: takes {height} x {width}, not {size[0]} x {size[1]}: leave --size out")
    sides = size or (height, width)
    assert sides[0] is not None
    assert sides[1] is not None
    return entry.name, kind, nhwc, axes[0], (sides[0], sides[1])


def with_input(
    model: onnx.ModelProto, name: str, batch: int | str, *, nhwc: bool, sides: tuple[int, int]
) -> onnx.ModelProto:
    """Return the model with shapes inferred for an input of this size."""
    model = copy.deepcopy(model)
    entry = next(value for value in model.graph.input if value.name == name)
    shape = (batch, *sides, 3) if nhwc else (batch, 3, *sides)
    entry.CopyFrom(helper.make_tensor_value_info(name, entry.type.tensor_type.elem_type, shape))
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    return shape_inference.infer_shapes(model, data_prop=True)


def choose_output(
    model: onnx.ModelProto, where: str, wanted: str | None, taken: tuple[int, int, int], *, nhwc: bool, anyway: bool
) -> tuple[str, tuple[int, ...], int]:
    """Return the name of the descriptor's tensor, the axes to average, and its width. ``taken`` is the input's batch,
    height and width."""
    values = {value.name: value for value in (*model.graph.value_info, *model.graph.output)}
    if wanted is not None:
        if wanted not in values:
            raise InputError(
                f"{where}: has no tensor {wanted!r}{did_you_mean(wanted, values)}: {listed(model, values, taken[0])}"
            )
        candidates = [values[wanted]]
    else:
        candidates = list(model.graph.output)
    usable = [value for value in candidates if is_descriptor(value, taken[0])]
    if not usable:
        raise ModelError(
            f"{where}: gives {shown(candidates)} for {taken[0]} "
            f"{'picture' if taken[0] == 1 else 'pictures'}: expected descriptors (batch, D) or maps (batch, D, h, w); "
            "a detector gives others"
        )
    if len(usable) > 1:
        raise InputError(f"{where}: gives {shown(usable)}: name the descriptor with --output")
    (chosen,) = usable
    axes = shape_of(chosen)
    pooled = maps_of(axes, taken[1:], nhwc=nhwc)
    width = next(axis for place, axis in enumerate(axes) if place and place not in pooled)
    assert width is not None
    if width < LEAST_WIDTH:
        raise ModelError(
            f"{where}: gives {shown([chosen])}: {width} numbers tell nobody apart: expected {LEAST_WIDTH} or more"
        )
    if width in CLASS_COUNTS and not (wanted or anyway):
        raise ModelError(
            f"{where}: gives {width} numbers, as many as {CLASS_COUNTS[width]} has classes: a classifier: expected an "
            "embedder; --output names the tensor before its last layer, --anyway takes this one"
        )
    return chosen.name, pooled, width


def listed(model: onnx.ModelProto, values: Mapping[str, onnx.ValueInfoProto], batch: int) -> str:
    """List the outputs of a graph, and its last inner tensors that may be descriptors."""
    ends = [value.name for value in model.graph.output]
    inside = [
        name for node in reversed(model.graph.node) for name in node.output if name in values and name not in ends
    ]
    last = [values[name] for name in inside if is_descriptor(values[name], batch)][:MOST_SHOWN]
    return f"its outputs are {', '.join(ends)}" + (f"; the last inside are {shown(last)}" if last else "")


def is_descriptor(value: onnx.ValueInfoProto, batch: int) -> bool:
    """Whether it may hold one descriptor per picture: (batch, D), (batch, D, h, w), or (batch, D, 1)."""
    axes = shape_of(value)
    return (
        value.type.tensor_type.elem_type in FLOATS
        and len(axes) in (2, 3, 4)
        and axes[0] in (None, batch)
        and None not in axes[1:]
        and (len(axes) != 3 or axes[2] == 1)
    )


def maps_of(axes: Sequence[int | None], taken: tuple[int, int], *, nhwc: bool) -> tuple[int, ...]:
    """Return the axes of an output that are positions in the picture: the two with the picture's aspect ratio, if that
    decides; else the last two, or the two before the last if channels come last."""
    if len(axes) < 4:
        return tuple(range(2, len(axes)))
    ratio = taken[0] / taken[1]
    first, last = ((axes[place] or 0) / (axes[place + 1] or 1) for place in (1, 2))
    like_first, like_last = (abs(shape / ratio - 1) < SHAPE_TOLERANCE for shape in (first, last))
    return (1, 2) if (like_first, like_last) == (True, False) or (like_first == like_last and nhwc) else (2, 3)


def with_free_batch(network: Network) -> Network:
    """Return the same graph for any batch, as far as its shapes allow. Only running it shows whether this is right."""
    model = network.model
    shapes = {value.name: shape_of(value) for value in (*model.graph.value_info, *model.graph.input)}
    batch = network.batch or 1
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    free = copy.deepcopy(model)
    for node in free.graph.node:
        if node.op_type == "Reshape" and node.input[1] in constants:
            target = numpy_helper.to_array(constants[node.input[1]]).copy()
            first = shapes.get(node.input[0], [None])[:1]
            if len(target) and target[0] == batch and first == [batch]:
                target[0] = 0  # 0 copies the input's size
                for place, attribute in enumerate(node.attribute):
                    if attribute.name == "allowzero":  # with it, 0 would mean a size of 0
                        del node.attribute[place]
                        break
                name = f"{node.output[0]}/shape"
                free.graph.initializer.append(numpy_helper.from_array(target, name))
                node.input[1] = name
    free = with_input(free, network.input, "batch", nhwc=network.nhwc, sides=(network.height, network.width))
    return replace(network, model=free, batch=None)


def shape_of(value: onnx.ValueInfoProto) -> list[int | None]:
    """Return the sizes of the axes; None for an axis of variable size."""
    return [
        axis.dim_value if axis.HasField("dim_value") and axis.dim_value > 0 else None
        for axis in value.type.tensor_type.shape.dim
    ]


def shown(values: Sequence[onnx.ValueInfoProto]) -> str:
    """Describe names, types and shapes for people."""
    return ", ".join(described(value) for value in values) or "nothing"


def described(value: onnx.ValueInfoProto) -> str:
    kind = TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
    axes = ", ".join("any" if axis is None else str(axis) for axis in shape_of(value))
    return f"{value.name} {kind} ({axes})"
