"""The forms that INT8 models take for speed compute what the plain ones do."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import TensorData, TensorsData
from small_backbone import SHUFFLED, SMALL
from third_party import build, save

from reid_toolkit.adopt.adoption import Settings, adopt
from reid_toolkit.export import int8
from reid_toolkit.export.activation_ranges import measure_ranges
from reid_toolkit.export.graph_rewrites import (
    align_hard_sigmoids,
    clip_hard_sigmoids,
    pool_in_bytes,
    widen_stem,
)
from reid_toolkit.export.int8 import insert_int8
from reid_toolkit.export.parity import Parity
from reid_toolkit.export.quantize import quantize
from reid_toolkit.images import Image
from reid_toolkit.runtime.preprocess import to_batch

Ranges = dict[str, tuple[float, float]]


def ranges_of(limits: Ranges) -> TensorsData:
    found = {name: TensorData(lowest=np.float32(low), highest=np.float32(high)) for name, (low, high) in limits.items()}
    return TensorsData(onnxruntime.quantization.CalibrationMethod.MinMax, found)


def run(model: onnx.ModelProto, batch: NDArray[np.generic]) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: batch})[0])


def stem(kernel: int, height: int, width: int, *, activation: str | None, pad: int) -> onnx.ModelProto:
    generator = np.random.default_rng(0)
    weight = generator.normal(size=(16, 3, kernel, kernel)).astype(np.float32)
    bias = generator.normal(size=16).astype(np.float32)
    nodes = [
        helper.make_node("Transpose", ["crops"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["numbers", "grey"], ["pixels"]),
        helper.make_node("Conv", ["pixels", "weight", "bias"], ["sums"], strides=[2, 2], pads=[pad] * 4),
        helper.make_node(activation or "Identity", ["sums"], ["features"]),
        helper.make_node("Neg", ["features"], ["negated"]),
    ]
    constants = {"weight": weight, "bias": bias, "grey": np.full((1, 1, 1), 114, np.float32)}
    ends = [
        helper.make_tensor_value_info("crops", TensorProto.UINT8, ["batch", height, width, 3]),
        helper.make_tensor_value_info("negated", TensorProto.FLOAT, ["batch", 16, None, None]),
    ]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "stem", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("activation", [None, "Relu"])
def test_a_wide_stem_computes_the_same(kernel: int, activation: str | None) -> None:
    plain = stem(kernel, 16, 24, activation=activation, pad=kernel // 2)
    wide = stem(kernel, 16, 24, activation=activation, pad=kernel // 2)
    ranges = ranges_of({"sums": (-9.0, 9.0), "features": (0.0, 9.0)})
    assert len(widen_stem(wide, ranges, "pixels")) == 3
    conv = next(node for node in wide.graph.node if node.op_type == "Conv")
    shapes = {tensor.name: list(tensor.dims) for tensor in wide.graph.initializer}
    assert shapes[conv.input[1]][:2] == [32, 12]
    assert ranges["stem_pairs"].range_value == ranges["features" if activation else "sums"].range_value
    batch = np.random.default_rng(1).integers(0, 256, (3, 16, 24, 3), np.uint8)
    before, after = run(plain, batch), run(wide, batch)
    assert before.shape == (3, 16, 8, 12)
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(("height", "width", "pad"), [(16, 22, 1), (15, 24, 1), (16, 24, 0)])
def test_what_does_not_fit_stays_as_it_is(height: int, width: int, pad: int) -> None:
    model = stem(3, height, width, activation=None, pad=pad)
    before = model.SerializeToString(deterministic=True)
    assert widen_stem(model, ranges_of({"sums": (-9.0, 9.0), "features": (-9.0, 9.0)}), "pixels") == []
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(
    "attributes",
    [
        {}, {"strides": [2, 2]}, {"pads": [3] * 4}, {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"strides": [2, 2], "auto_pad": "VALID"}, {"strides": [2, 2], "pads": [3] * 4, "dilations": [2, 2]},
    ],
)  # fmt: skip
def test_others_leave_out_attributes_of_the_first_convolution(
    tmp_path: Path, crops: list[Image], attributes: dict[str, object]
) -> None:
    model = build(opset=15)
    first = model.graph.node[0]
    del first.attribute[:]
    first.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    adopt(save(model, tmp_path / "m.onnx"), tmp_path / "o.onnx", crops, settings=Settings(preset="raw-bgr"))
    found = quantize(tmp_path / "o.onnx", tmp_path / "small.onnx", crops, crops, max_loss=1.0)
    assert found.cosine > 0.99


def test_a_mean_that_is_not_subtracted_from_bytes_stays(tmp_path: Path, crops: list[Image]) -> None:
    """A network that makes fractions of the pixels first. As bytes, they would be taken for another tensor."""
    model = build(opset=15)
    for name, value in (("full", np.array(255.0)), ("own_mean", np.full((3, 1, 1), 0.45))):
        model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    nodes = list(model.graph.node)
    nodes[0].input[0] = "even"
    del model.graph.node[:]
    model.graph.node.extend([
        helper.make_node("Div", ["images", "full"], ["fractions"]),
        helper.make_node("Sub", ["fractions", "own_mean"], ["even"]), *nodes,
    ])  # fmt: skip
    adopt(save(model, tmp_path / "m.onnx"), tmp_path / "o.onnx", crops, settings=Settings(preset="raw-bgr"))
    assert quantize(tmp_path / "o.onnx", tmp_path / "small.onnx", crops, crops, max_loss=1.0).cosine > 0.99


def test_a_window_of_an_even_size_stays_as_it_is() -> None:
    """Half its size padded, it gives one column more than half the picture has."""
    model = stem(4, 16, 24, activation=None, pad=2)
    before = model.SerializeToString(deterministic=True)
    assert widen_stem(model, ranges_of({"sums": (-9.0, 9.0), "features": (-9.0, 9.0)}), "pixels") == []
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(("low", "high"), [(-5.0, 7.3), (-2.0, 2.9), (-3.0, 0.5), (-40.0, 1.0)])
def test_a_hard_sigmoid_of_bytes_is_one_of_numbers(low: float, high: float) -> None:
    """For every byte there is, to within the step that the output is rounded to."""
    sigmoid = helper.make_node("HardSigmoid", ["x"], ["h"], "hard", alpha=1 / 6, beta=0.5)
    ranges = ranges_of({"x": (low, high)})
    align_hard_sigmoids(helper.make_model(helper.make_graph([sigmoid], "one", [], [])), ranges)
    least, most = ranges["x"].range_value
    step = np.float32((most - least) / 255)
    assert least <= min(low + step, -3)
    assert most >= high - step
    constants = {
        "step": step, "zero": np.uint8(round(-least / float(step))), "h_step": np.float32(1 / 255),
        "h_zero": np.uint8(0),
    }  # fmt: skip
    nodes = [
        helper.make_node("DequantizeLinear", ["bytes", "step", "zero"], ["x"]),
        sigmoid,
        helper.make_node("QuantizeLinear", ["h", "h_step", "h_zero"], ["h_bytes"]),
        helper.make_node("DequantizeLinear", ["h_bytes", "h_step", "h_zero"], ["out"]),
    ]
    ends = [
        helper.make_tensor_value_info("bytes", TensorProto.UINT8, ["n"]),
        helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n"]),
    ]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "hard", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    batch = np.arange(256, dtype=np.uint8)
    before = run(model, batch)
    clip_hard_sigmoids(model)
    assert [node.op_type for node in model.graph.node] == ["Clip", "DequantizeLinear"]  # and nothing that nobody reads
    assert {0.0, 1.0} <= set(np.round(before, 6)) or most < 3
    np.testing.assert_allclose(run(model, batch), before, atol=0.6 / 255)


@pytest.mark.parametrize(("axes", "keeps", "kind"), [
    ([2, 3], 1, "GlobalAveragePool"), ([-2, -1], None, "GlobalAveragePool"),
    ([2, 3], 0, "ReduceMean"), ([1], 1, "ReduceMean"),
])  # fmt: skip
def test_only_the_mean_of_whole_maps_is_pooling(axes: list[int], keeps: int | None, kind: str) -> None:
    settings = {} if keeps is None else {"keepdims": keeps}
    nodes = [helper.make_node("ReduceMean", ["maps", "axes"], ["mean"], **settings)]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("maps", [2, 3, 5, 4]), ("mean", None))
    ]
    axes_tensor = numpy_helper.from_array(np.array(axes), "axes")
    graph = helper.make_graph(nodes, "mean", ends[:1], ends[1:], [axes_tensor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    maps = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
    before = run(model, maps)
    pool_in_bytes(model)
    assert model.graph.node[0].op_type == kind
    np.testing.assert_allclose(run(model, maps), before, atol=1e-6)


@pytest.mark.parametrize(
    ("attributes", "limits"),
    [
        ({"alpha": 1 / 6}, (-0.5, 0.5)),  # would lose over a bit
        ({"alpha": 1 / 6}, (-500.0, 300.0)),  # 3 is less than a step
        ({}, (-4.0, 4.0)), ({"alpha": 1 / 6, "beta": 0.4}, (-4.0, 4.0)), ({"alpha": 0.25}, (-4.0, 4.0)),
    ],
)  # fmt: skip
def test_a_hard_sigmoid_that_does_not_fit_stays_as_it_is(
    attributes: dict[str, float], limits: tuple[float, float]
) -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["bytes", "step", "zero"], ["x"]),
        helper.make_node("HardSigmoid", ["x"], ["h"], "hard", **attributes),
        helper.make_node("QuantizeLinear", ["h", "h_step", "h_zero"], ["h_bytes"]),
        helper.make_node("DequantizeLinear", ["h_bytes", "h_step", "h_zero"], ["out"]),
    ]
    # A step of which 3 is a whole number, so that nothing but the slope and the offset keeps it from being replaced.
    constants = {"step": 0.03, "zero": np.uint8(120), "h_step": 1 / 255, "h_zero": np.uint8(0)}
    tensors = [
        numpy_helper.from_array(np.asarray(value, np.uint8 if "zero" in name else np.float32), name)
        for name, value in constants.items()
    ]
    model = helper.make_model(helper.make_graph(nodes, "one", [], [], tensors))
    ranges = ranges_of({"x": limits})
    align_hard_sigmoids(model, ranges)
    assert ranges["x"].range_value == limits
    clip_hard_sigmoids(model)
    kept = [node.op_type for node in model.graph.node]
    assert ("HardSigmoid" in kept) == (attributes != {"alpha": 1 / 6})


@pytest.mark.parametrize("run", [SMALL], indirect=True)
@pytest.mark.usefixtures("run")
def test_a_whole_network_with_a_wide_stem(
    exported: tuple[Path, Path, Parity], crops: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit: zeros between the weights change neither their scales nor a sum of whole numbers."""
    ranged = measure_ranges(exported[1], crops)
    batch = to_batch(crops, 48, 32)
    wide = insert_int8(ranged, "x86-avx2", [])
    assert any(node.name == "stem_pixels" for node in wide.graph.node)
    monkeypatch.setattr(int8, "widen_stem", lambda *_: [])
    plain = insert_int8(ranged, "x86-avx2", [])
    session = onnxruntime.InferenceSession
    rows = [session(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"crops": batch})[0]
            for m in (wide, plain)]  # fmt: skip
    np.testing.assert_array_equal(rows[0], rows[1])


@pytest.mark.parametrize("run", [SHUFFLED], indirect=True)
@pytest.mark.usefixtures("run")
def test_what_only_moves_numbers_moves_bytes(exported: tuple[Path, Path, Parity], crops: list[Image]) -> None:
    """Between two splits and joins of a ShuffleNet nothing goes to float and back."""
    graph = insert_int8(measure_ranges(exported[1], crops), "x86-avx2", []).graph
    movers = [node for node in graph.node if node.op_type in ("Concat", "Split")]
    assert {node.op_type for node in movers} == {"Concat", "Split"}
    for mover in movers:
        readers = {node.op_type for node in graph.node if set(mover.output) & set(node.input)}
        assert readers == {"QuantizeLinear"}
