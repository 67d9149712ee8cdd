"""Models in OpenVINO's form, each made here of a few operations."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

openvino = pytest.importorskip("openvino", reason="needs openvino: pip install '.[openvino]'")

from openvino import opset13 as ops  # noqa: E402
from third_party import build, save  # noqa: E402

from reid_toolkit.adopt.adoption import Settings, adopt  # noqa: E402
from reid_toolkit.adopt.openvino_graph import as_onnx  # noqa: E402
from reid_toolkit.demo.crops import draw_crops  # noqa: E402
from reid_toolkit.errors import InputError, ModelError  # noqa: E402
from reid_toolkit.runtime import Embedder  # noqa: E402

RNG = np.random.default_rng(0)
CROPS = draw_crops(5)


def constant(*shape: int) -> Any:
    return ops.constant(RNG.normal(0, 0.3, shape).astype(np.float32))


def channelwise(maps: Any) -> Any:
    return ops.group_convolution(maps, constant(8, 1, 1, 3, 3), [1, 1], [1, 1], [1, 1], [1, 1])


def shaped(maps: Any) -> Any:
    """A new shape from the old one's, as converters of other frameworks write it."""
    shape = ops.shape_of(maps)
    front = ops.gather(shape, ops.constant(np.array([0])), ops.constant(np.array(0)))
    return ops.reshape(maps, ops.concat([front, ops.constant(np.array([8, 32]))], 0), special_zero=False)


PARTS: dict[str, Callable[[Any], Any]] = {
    "channelwise": channelwise,
    "pad same": lambda x: ops.convolution(x, constant(8, 8, 3, 3), [2, 2], [0, 0], [0, 0], [1, 1], "same_upper"),
    "max pool": lambda x: ops.max_pool(x, [2, 2], [1, 1], [1, 1], [1, 1], [3, 3]).output(0),
    "mean pool": lambda x: ops.avg_pool(x, [2, 2], [1, 1], [1, 1], [3, 3], True),
    "MVN inside": lambda x: ops.mvn(x, np.array([2, 3]), True, 1e-3, "inside_sqrt"),
    "MVN outside": lambda x: ops.mvn(x, np.array([1, 2, 3]), True, 1e-3, "outside_sqrt"),
    "mean alone": lambda x: ops.mvn(x, np.array([2, 3]), False, 1e-3, "inside_sqrt"),
    "PReLU": lambda x: ops.prelu(x, constant(8)),
    "clamp": lambda x: ops.clamp(x, -0.5, 6.0),
    "swish": lambda x: ops.swish(x),
    "hswish": lambda x: ops.hswish(x),
    "hsigmoid": lambda x: ops.hsigmoid(x),
    "gate": lambda x: ops.multiply(x, ops.sigmoid(ops.reduce_mean(x, np.array([2, 3]), True))),
    "flip": lambda x: ops.gather(x, ops.constant(np.arange(8)[::-1].copy()), ops.constant(np.array(1))),
    "batch norm": lambda x: ops.batch_norm_inference(x, *(constant(8) for _ in "abc"), ops.exp(constant(8)), 1e-5),
    "unit": lambda x: ops.normalize_l2(x, np.array([1]), 1e-6, "add"),
    "turn": lambda x: ops.transpose(x, np.array([0, 1, 3, 2])),
    "product": lambda x: ops.matmul(shaped(x), constant(6, 32), False, True),
    "softmax": lambda x: ops.softmax(x, 1),
    "joined": lambda x: ops.concat([x, ops.relu(x)], 1),
    "arithmetic": lambda x: ops.divide(ops.subtract(ops.maximum(x, constant(1)), constant(1)), ops.exp(constant(1))),
    "halves": lambda x: ops.add(x, ops.convert(ops.constant(RNG.normal(size=(8, 1, 1)).astype(np.float16)), "f32")),
}  # fmt: skip


def written(part: Callable[[Any], Any], path: Path) -> Path:
    """A model of a stem, the part, and a mean over what is left, in the form of a file."""
    entry = ops.parameter([1, 3, 32, 16], np.float32, "data")
    stem = ops.convolution(entry, constant(8, 3, 7, 7), [4, 4], [3, 3], [3, 3], [1, 1])
    maps = part(ops.relu(stem))
    flat = ops.reshape(maps, np.array([0, -1]), special_zero=True)
    model = openvino.Model([ops.result(flat, name="out")], [entry], "small")
    model.outputs[0].get_tensor().set_names({"embedding"})
    openvino.save_model(model, path, compress_to_fp16=False)
    return path


@pytest.mark.parametrize("part", PARTS)
def test_every_operation_gives_in_onnxruntime_what_it_gives_in_openvino(tmp_path: Path, part: str) -> None:
    path = written(PARTS[part], tmp_path / "m.xml")
    adopted = adopt(path, tmp_path / "o.onnx", CROPS, settings=Settings(preset="raw-bgr"))
    assert adopted.parity.max_difference < 1e-5
    assert len(Embedder(tmp_path / "o.onnx").embed(CROPS)) == 5
    assert [value.name for value in as_onnx(path).graph.output] == ["embedding"]


@pytest.mark.parametrize("preset", ["raw-bgr", "imagenet"])
def test_an_output_may_be_a_tensor_inside(tmp_path: Path, preset: str) -> None:
    path = written(PARTS["gate"], tmp_path / "m.xml")
    graph = as_onnx(path).graph
    inside = next(node.output[0] for node in graph.node if node.op_type == "Relu")
    adopted = adopt(path, tmp_path / "o.onnx", CROPS, settings=Settings(preset=preset, output=inside))
    assert adopted.network.output == inside
    assert adopted.parity.max_difference < 1e-5
    assert Embedder(tmp_path / "o.onnx").dimension == 8
    adopt(path, tmp_path / "o.onnx", CROPS, settings=Settings(preset=preset, output="embedding"))
    assert Embedder(tmp_path / "o.onnx").dimension == 256


def test_a_step_inside_an_operation_cannot_be_the_output(tmp_path: Path) -> None:
    """ONNX has more steps than OpenVINO, with which they would be compared."""
    path = written(PARTS["MVN inside"], tmp_path / "m.xml")
    step = next(node.output[0] for node in as_onnx(path).graph.node if node.output[0].endswith("/apart"))
    with pytest.raises(InputError, match="is a step inside one operation of OpenVINO"):
        adopt(path, tmp_path / "o.onnx", CROPS, settings=Settings(preset="raw-bgr", output=step))
    assert not (tmp_path / "o.onnx").exists()


def test_a_file_whose_weights_are_missing_or_cut_off_is_named(tmp_path: Path) -> None:
    path = written(PARTS["clamp"], tmp_path / "m.xml")
    weights = tmp_path / "m.bin"
    content = weights.read_bytes()
    weights.unlink()
    with pytest.raises(ModelError, match=r"m\.bin is missing beside it"):
        adopt(path, tmp_path / "o.onnx", CROPS, settings=Settings(preset="raw-bgr"))
    weights.write_bytes(content[:100])
    with pytest.raises(ModelError, match="OpenVINO cannot read it"):
        adopt(path, tmp_path / "o.onnx", CROPS, settings=Settings(preset="raw-bgr"))
    path.write_text("<net")
    with pytest.raises(ModelError, match="OpenVINO cannot read it"):
        adopt(path, tmp_path / "o.onnx", CROPS, settings=Settings(preset="raw-bgr"))


def test_an_operation_that_is_not_known_is_named(tmp_path: Path) -> None:
    path = written(lambda x: ops.roll(x, np.array([1]), np.array([2])), tmp_path / "m.xml")
    with pytest.raises(ModelError, match="has the operation Roll of OpenVINO"):
        as_onnx(path)


def test_an_int8_model_is_refused(tmp_path: Path) -> None:
    def rounded(x: Any) -> Any:
        low, high = ops.constant(np.float32(0)), ops.constant(np.float32(6))
        return ops.fake_quantize(x, low, high, low, high, 256)

    with pytest.raises(ModelError, match="is in INT8"):
        as_onnx(written(rounded, tmp_path / "m.xml"))


def test_onnx_and_openvino_forms_of_one_network_give_the_same(tmp_path: Path) -> None:
    path = save(build(batch=1), tmp_path / "m.onnx")
    openvino.save_model(openvino.convert_model(path), tmp_path / "m.xml", compress_to_fp16=False)
    rows = []
    for name in ("m.onnx", "m.xml"):
        adopt(tmp_path / name, tmp_path / "o.onnx", CROPS, settings=Settings(preset="half"))
        rows.append(Embedder(tmp_path / "o.onnx").embed(CROPS))
    assert np.abs(rows[0] - rows[1]).max() < 1e-5
