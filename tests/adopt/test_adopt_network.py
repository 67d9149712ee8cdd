"""What is read of a third party's graph, and what is refused."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from third_party import DIMENSION, HEIGHT, WIDTH, build, bytes_model, save

from reid_toolkit.adopt.network import inspect, load
from reid_toolkit.errors import InputError, ModelError


def looked_at(model: onnx.ModelProto, path: Path, **how: object):
    return inspect(load(save(model, path)), str(path), **how)


@pytest.mark.parametrize(
    ("how", "batch", "pooled"),
    [
        ({}, None, ()),
        ({"batch": 1}, 1, ()),
        ({"batch": 4, "constant_reshape": True}, 4, ()),
        ({"dtype": np.float16}, None, ()),
        ({"dtype": np.float64}, None, ()),
        ({"nhwc": True}, None, ()),
        ({"output": "maps"}, None, (2, 3)),
        ({"output": "column"}, None, (2,)),
        ({"opset": 9}, None, ()),
        ({"opset": 17}, None, ()),
    ],
    ids=["plain", "batch 1", "batch 4", "half", "double", "NHWC", "maps", "column", "opset 9", "opset 17"],
)
def test_every_form_is_read(tmp_path: Path, how: dict[str, object], batch: int | None, pooled: tuple[int, ...]) -> None:
    found = looked_at(build(**how), tmp_path / "m.onnx")
    assert (found.batch, found.pooled, found.dimension) == (batch, pooled, DIMENSION)
    assert (found.height, found.width, found.nhwc) == (HEIGHT, WIDTH, how.get("nhwc", False))


def test_a_size_that_is_open_must_be_said_and_one_that_is_not_must_not_be_contradicted(tmp_path: Path) -> None:
    free = build(size=("h", "w"))
    with pytest.raises(InputError, match="takes pictures of any size: give --size"):
        looked_at(free, tmp_path / "m.onnx")
    assert looked_at(free, tmp_path / "m.onnx", size=(48, 24)).height == 48
    with pytest.raises(InputError, match="takes 32 x 16, not 48 x 24"):
        looked_at(build(), tmp_path / "m.onnx", size=(48, 24))


def test_of_several_outputs_one_must_be_named_unless_one_can_be_it(tmp_path: Path) -> None:
    more = [helper.make_node("Relu", ["output"], ["other"])]
    both = build(extra=more, extra_outputs=(("other", ("batch", DIMENSION)),))
    with pytest.raises(InputError, match=r"gives output float .*, other float .*: name the descriptor with --output"):
        looked_at(both, tmp_path / "m.onnx")
    assert looked_at(both, tmp_path / "m.onnx", output="other").output == "other"
    assert looked_at(build(), tmp_path / "m.onnx", output="lit").pooled == (2, 3)  # one inside
    inside = r"its outputs are output, other; the last inside are .*lit float \(1, 12, 8, 4\)"
    with pytest.raises(InputError, match=rf"has no tensor 'nothing': {inside}"):
        looked_at(both, tmp_path / "m.onnx", output="nothing")
    with pytest.raises(InputError, match=r"has no tensor 'otter' \(did you mean 'other'\?\)"):
        looked_at(both, tmp_path / "m.onnx", output="otter")
    numbers = [helper.make_node("ArgMax", ["output"], ["class"], axis=1)]
    counted = build(extra=numbers)
    counted.graph.output.append(helper.make_tensor_value_info("class", TensorProto.INT64, ("batch", 1)))
    assert looked_at(counted, tmp_path / "m.onnx").output == "output"


def two_inputs() -> onnx.ModelProto:
    model = build()
    model.graph.input.append(helper.make_tensor_value_info("camera", TensorProto.FLOAT, ("batch", 1)))
    return model


def looping() -> onnx.ModelProto:
    model = build()
    branch = helper.make_graph(
        [helper.make_node("Identity", ["output"], ["same"])], "b", [],
        [helper.make_tensor_value_info("same", TensorProto.FLOAT, None)],
    )  # fmt: skip
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(helper.make_node("If", ["yes"], ["chosen"], then_branch=branch, else_branch=branch))
    return model


def detector() -> onnx.ModelProto:
    model = build()
    boxes = helper.make_node("NonMaxSuppression", ["boxes", "scores"], ["kept"])
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 2, 4), np.float32), "boxes"))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 1, 2), np.float32), "scores"))
    model.graph.node.append(boxes)
    return model


def not_finite() -> onnx.ModelProto:
    model = build()
    weights = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weights.flat[5] = np.nan
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "stem"))
    return model


def boxes_only() -> onnx.ModelProto:
    """SSD's form: (1, 1, N, 7)."""
    more = [helper.make_node("Reshape", ["output", "to"], ["boxes"])]
    model = build(extra=more)
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, -1, 5, 2], np.int64), "to"))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("boxes", TensorProto.FLOAT, (1, "n", 5, 2, 1)))
    model.graph.node.append(helper.make_node("Unsqueeze", ["boxes_"], ["deep"], axes=[4]))
    model.graph.node[-2].output[0] = "boxes_"
    model.graph.node[-1].output[0] = "boxes"
    return model


def no_batch() -> onnx.ModelProto:
    """Tokens of one picture, where pictures should be."""
    model = build(extra=[helper.make_node("Reshape", ["lit", "to"], ["tokens"])])
    model.graph.initializer.append(numpy_helper.from_array(np.array([-1, 12], np.int64), "to"))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("tokens", TensorProto.FLOAT, ("n", 12)))
    return model


def of_another_domain() -> onnx.ModelProto:
    model = build()
    model.graph.node[0].domain = "com.microsoft"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


def grey() -> onnx.ModelProto:
    model = build()
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("images", TensorProto.FLOAT, ("b", 1, HEIGHT, WIDTH)))
    return model


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (two_inputs, r"has 2 inputs \(images float .*, camera float .*\): expected one, a picture"),
        (looping, r"branches or loops \(If\)"),
        (detector, "a detector"),
        (not_finite, "weights stem are not finite"),
        (boxes_only, "a detector gives others"),
        (grey, "expected pictures in colour"),
        (no_batch, r"gives tokens float \(32, 12\) for 1 picture"),
        (of_another_domain, "operation Conv of com.microsoft, which is not ONNX's"),
        (lambda: build(width=751), "as many as Market-1501 has classes: a classifier"),
        (lambda: build(width=1), "1 numbers tell nobody apart"),
        (lambda: build(width=1000), "as many as ImageNet has classes: a classifier"),
        (lambda: build(extra=[helper.make_node("Softmax", ["output"], ["p"])]), "a classifier .it ends with Softmax"),
        (lambda: build(size=(112, 112)), "as networks for faces do"),
        (lambda: build(size=(8, 8)), "crops of people cannot fill it"),
        (lambda: build(size=(2048, 1024)), "crops of people cannot fill it"),
    ],
    ids=[
        "two inputs", "control flow", "NMS", "NaN", "boxes", "grey", "no batch",
        "another domain", "751", "one number", "a thousand", "softmax", "a face",
        "tiny", "huge",
    ],
)  # fmt: skip
def test_what_is_no_embedder_of_people_is_refused(tmp_path: Path, model, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        looked_at(model(), tmp_path / "m.onnx")


def test_what_only_looks_like_something_else_is_taken_anyway(tmp_path: Path) -> None:
    assert looked_at(build(width=1000), tmp_path / "m.onnx", anyway=True).dimension == 1000
    assert looked_at(build(size=(112, 112)), tmp_path / "m.onnx", anyway=True).height == 112


def channels_last() -> onnx.ModelProto:
    """Maps as converters from TensorFlow give them."""
    model = build(
        nhwc=True, output="maps", extra=[helper.make_node("Transpose", ["output"], ["last"], perm=[0, 2, 3, 1])]
    )
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("last", TensorProto.FLOAT, ("b", 8, 4, DIMENSION)))
    return model


def test_maps_are_pooled_over_the_picture_wherever_that_lies(tmp_path: Path) -> None:
    found = looked_at(channels_last(), tmp_path / "m.onnx")
    assert (found.pooled, found.dimension) == ((1, 2), DIMENSION)
    assert looked_at(build(output="maps", nhwc=True), tmp_path / "m.onnx").pooled == (2, 3)


def test_a_newer_opset_stays_and_one_that_cannot_be_turned_is_named_with_its_file(tmp_path: Path) -> None:
    newer = build(opset=20)
    newer.graph.node[1].op_type = "Gelu"
    assert looked_at(newer, tmp_path / "m.onnx").model.opset_import[0].version == 20
    assert looked_at(build(opset=9), tmp_path / "m.onnx").model.opset_import[0].version == 18


def test_a_network_of_bytes_stays_one(tmp_path: Path) -> None:
    assert looked_at(bytes_model("rgb"), tmp_path / "m.onnx").kind == TensorProto.UINT8


@pytest.mark.parametrize("cut", [0, 10, 0.5, 0.99])
def test_half_a_file_is_none(tmp_path: Path, cut: float) -> None:
    path = save(build(), tmp_path / "m.onnx")
    content = path.read_bytes()
    path.write_bytes(content[: int(cut * len(content)) if cut < 1 else int(cut)])
    with pytest.raises(ModelError, match=r"not a whole (one|ONNX model)"):
        load(path)


def test_weights_beside_are_taken_in_and_missed_where_they_are_not(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save_model(build(), path, save_as_external_data=True, location="m.data", size_threshold=0)
    assert inspect(load(path), str(path)).dimension == DIMENSION
    (tmp_path / "m.data").unlink()
    with pytest.raises(ModelError, match="weights lie in a second file that cannot be read"):
        load(path)


def test_weights_outside_the_folder_are_not_read(tmp_path: Path) -> None:
    """A model from the net must not name a file of this machine."""
    (tmp_path / "inner").mkdir()
    path = tmp_path / "inner" / "m.onnx"
    onnx.save_model(build(), path, save_as_external_data=True, location="m.data", size_threshold=0)
    (tmp_path / "inner" / "m.data").rename(tmp_path / "m.data")
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../m.data"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="cannot be read"):
        load(path)
