"""Files of others become ours, and give the same."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from third_party import DIMENSION, HEIGHT, WIDTH, build, bytes_model, save

from reid_toolkit.adopt.adoption import Settings, adopt
from reid_toolkit.adopt.contract import PRESETS, Contract
from reid_toolkit.demo.crops import draw_crops
from reid_toolkit.errors import InputError, ModelError
from reid_toolkit.images import resize
from reid_toolkit.runtime import Embedder

CROPS = draw_crops(18)
RAW = Settings(preset="raw-bgr")


def by_hand(model: onnx.ModelProto, contract: Contract, *, nhwc: bool = False, batch: int = 1) -> np.ndarray:
    """What its maker's own code would do, crop by crop."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    dtype = {"tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
    rows = []
    for crop in CROPS:
        pixels = resize(crop, HEIGHT, WIDTH)
        pixels = pixels[..., ::-1] if contract.order == "rgb" else pixels
        values = (pixels / contract.scale - np.array(contract.mean)) / np.array(contract.std)
        values = values if nhwc else values.transpose(2, 0, 1)
        given = np.repeat(values[None], batch, 0).astype(dtype.get(taken.type, np.float32))
        found = session.run(None, {taken.name: given})[0][0].astype(np.float64)
        found = found.mean((1, 2)) if found.ndim == 3 else found.reshape(-1)
        rows.append(found / np.linalg.norm(found))
    return np.array(rows)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    "how",
    [
        {}, {"batch": 1}, {"batch": 4, "constant_reshape": True}, {"nhwc": True}, {"output": "maps"},
        {"output": "column"}, {"opset": 9}, {"dtype": np.float16},
    ],
    ids=["plain", "batch 1", "batch 4", "NHWC", "maps", "column", "opset 9", "half"],
)  # fmt: skip
def test_every_form_gives_under_every_preset_what_its_maker_gets(
    tmp_path: Path, how: dict[str, object], preset: str
) -> None:
    model = build(**how)
    found = adopt(save(model, tmp_path / "m.onnx"), tmp_path / "out.onnx", CROPS, settings=Settings(preset=preset))
    expected = by_hand(model, PRESETS[preset], nhwc=bool(how.get("nhwc")), batch=int(how.get("batch") or 1))
    rows = Embedder(tmp_path / "out.onnx").embed(CROPS)
    assert rows.shape == (18, DIMENSION)
    assert np.abs(rows - expected).max() < (5e-3 if how.get("dtype") is np.float16 else 1e-5)
    assert not found.one_by_one
    assert found.parity.batches == (1, 2, 17)
    assert (found.preset, found.why) == (preset, "as given")


def test_a_contract_of_its_own(tmp_path: Path) -> None:
    contract = Contract("bgr", 128.0, (0.9, 1.0, 1.1), (0.4, 0.5, 0.6))
    model = build()
    found = adopt(save(model, tmp_path / "m.onnx"), tmp_path / "o.onnx", CROPS, settings=Settings(contract=contract))
    assert np.abs(Embedder(tmp_path / "o.onnx").embed(CROPS) - by_hand(model, contract)).max() < 1e-5
    assert (found.preset, str(found.contract)) == ("custom", "(BGR / 128 - (0.9, 1, 1.1)) / (0.4, 0.5, 0.6)")


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_a_network_of_bytes_gets_bytes(tmp_path: Path, order: str) -> None:
    path, preset = save(bytes_model(order), tmp_path / "m.onnx"), "inside" if order == "rgb" else "raw-bgr"
    adopt(path, tmp_path / "o.onnx", CROPS, settings=Settings(preset=preset))
    expected = by_hand(bytes_model(order), PRESETS[preset])
    assert np.abs(Embedder(tmp_path / "o.onnx").embed(CROPS) - expected).max() < 1e-5
    with pytest.raises(InputError, match="takes bytes, so it prepares pixels itself: expected --preset"):
        adopt(path, tmp_path / "o.onnx", CROPS, settings=Settings(preset="imagenet"))


def fixed_for_good(batch: int) -> onnx.ModelProto:
    """A batch that is written into the graph where nothing tells that it is one: as a new shape, or as a summand's."""
    model = build(batch=batch)
    model.graph.node[-1].output[0] = "before"
    if batch == 1:
        value = np.array([1, DIMENSION], np.int64)
        model.graph.node.append(helper.make_node("Transpose", ["before"], ["turned"], perm=[1, 0]))
        model.graph.node.append(helper.make_node("Reshape", ["turned", "fixed"], ["output"]))
    else:
        value = np.full((batch, DIMENSION), 0.1, np.float32)
        model.graph.node.append(helper.make_node("Add", ["before", "fixed"], ["output"]))
    model.graph.initializer.append(numpy_helper.from_array(value, "fixed"))
    return model


@pytest.mark.parametrize("batch", [1, 3])
def test_a_batch_that_is_fixed_for_good_is_run_one_by_one(tmp_path: Path, batch: int) -> None:
    model = fixed_for_good(batch)
    found = adopt(save(model, tmp_path / "m.onnx"), tmp_path / "o.onnx", CROPS, settings=RAW)
    assert found.one_by_one
    rows = Embedder(tmp_path / "o.onnx", batch_size=7).embed(CROPS)
    assert np.abs(rows - by_hand(model, PRESETS["raw-bgr"], batch=batch)).max() < 1e-5


def test_what_the_file_says_of_itself(tmp_path: Path) -> None:
    path = save(build(), tmp_path / "osnet_x0_25.onnx")
    found = adopt(path, tmp_path / "o.onnx", CROPS, settings=Settings(licence="MIT"))
    about = Embedder(tmp_path / "o.onnx").metadata
    assert (about.source, about.licence, about.preset) == ("osnet_x0_25.onnx", "MIT", "imagenet")
    assert (about.backbone, about.dimension, len(about.source_sha256)) == ("osnet_x0_25", DIMENSION, 64)
    assert "OSNet" in found.why


@pytest.mark.parametrize("beside", [[], ["m.data"], ["b", "a"]])
def test_the_digest_is_of_the_file_and_of_its_weights(tmp_path: Path, beside: list[str]) -> None:
    model = build()
    for tensor, name in zip(model.graph.initializer, beside, strict=False):
        onnx.external_data_helper.set_external_data(tensor, name)
    path = tmp_path / "m.onnx"
    if beside:
        onnx.external_data_helper.write_external_data_tensors(model, str(tmp_path))
    save(model, path)
    adopt(path, tmp_path / "o.onnx", CROPS, settings=RAW)
    whole = b"".join((tmp_path / name).read_bytes() for name in ["m.onnx", *sorted(beside)])
    assert Embedder(tmp_path / "o.onnx").metadata.source_sha256 == hashlib.sha256(whole).hexdigest()


@pytest.mark.parametrize(
    ("names", "preset"), [(("data", "reid_embedding"), "imagenet"), (("input", "fc_pred"), "tao")], ids=["OMZ", "TAO"]
)
def test_files_are_known_by_their_names(tmp_path: Path, names: tuple[str, str], preset: str) -> None:
    path = save(build(names=names), tmp_path / "m.onnx")
    assert adopt(path, tmp_path / "o.onnx", CROPS).preset == preset


@pytest.mark.parametrize("names", [("images", "output"), ("data", "reid_embedding")])
@pytest.mark.parametrize(
    ("mean", "turned", "preset"),
    [
        ((123.7, 116.3, 103.5), False, "inside"),
        ((103.5, 116.3, 123.7), False, "raw-bgr"),
        ((123.7, 116.3, 103.5), True, "raw-bgr"),
        ((103.5, 116.3, 123.7), True, "inside"),
    ],
    ids=["RGB", "BGR", "BGR turned to RGB", "RGB turned to BGR"],
)
def test_files_that_take_a_mean_of_grey_levels_off_are_known_by_it(
    tmp_path: Path, mean: tuple[float, ...], turned: bool, preset: str, names: tuple[str, str]
) -> None:
    model = build(names=names)
    model.graph.initializer.append(numpy_helper.from_array(np.array(mean, np.float32).reshape(1, 3, 1, 1), "mean"))
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0]), "order"))
    nodes = [
        helper.make_node("Gather", [names[0], "order"], ["turned"], axis=1),
        helper.make_node("Sub", ["turned" if turned else names[0], "mean"], ["less"]),
        *model.graph.node,
    ]
    nodes[2].input[0] = "less"
    del model.graph.node[:]
    model.graph.node.extend(nodes if turned else nodes[1:])
    assert adopt(save(model, tmp_path / "m.onnx"), tmp_path / "o.onnx", CROPS).preset == preset


def test_without_a_word_and_without_footage_nothing_is_guessed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing in it tells how pixels must be prepared: give --dataset"):
        adopt(save(build(), tmp_path / "m.onnx"), tmp_path / "o.onnx", CROPS)
    assert not (tmp_path / "o.onnx").exists()


def test_onnx_files_need_no_torch() -> None:
    code = (
        "import sys, reid_toolkit.cli.adopt, reid_toolkit.adopt.adoption, reid_toolkit.adopt.pretrained\n"
        "sys.exit(bool({'torch', 'reid'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_network_whose_descriptors_vanish_writes_nothing(tmp_path: Path) -> None:
    model = build()
    linear = next(tensor for tensor in model.graph.initializer if tensor.name == "linear")
    linear.CopyFrom(numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(linear)), "linear"))
    with pytest.raises(ModelError, match="expected descriptors of length 1 in the original"):
        adopt(save(model, tmp_path / "m.onnx"), tmp_path / "o.onnx", CROPS, settings=RAW)
    assert not (tmp_path / "o.onnx").exists()


@pytest.mark.parametrize("opset", [12, 13, 17, 18, 21])
def test_a_dark_channel_does_not_make_nan(tmp_path: Path, opset: int) -> None:
    """onnxruntime's MeanVarianceNormalization divides by 0 where ONNX's definition does not."""
    model = build(opset=opset)
    for node in model.graph.node:
        if node.op_type == "GlobalAveragePool":
            node.input[0] = "normed"
    stem = next(tensor for tensor in model.graph.initializer if tensor.name == "bias")
    dark = numpy_helper.to_array(stem).copy()
    dark[0] = -1e6  # under ReLU always 0
    stem.CopyFrom(numpy_helper.from_array(dark, "bias"))
    squared = [
        helper.make_node("MeanVarianceNormalization", ["lit"], ["even"], axes=[2, 3]),
        helper.make_node("Mul", ["even", "lit"], ["normed"]),
    ]
    nodes = list(model.graph.node)
    place = [node.op_type for node in nodes].index("Relu") + 1
    del model.graph.node[:]
    model.graph.node.extend([*nodes[:place], *squared, *nodes[place:]])
    path = save(model, tmp_path / "m.onnx")
    adopt(path, tmp_path / "o.onnx", CROPS, settings=RAW)
    assert np.isfinite(Embedder(tmp_path / "o.onnx").embed(CROPS)).all()


def test_a_new_shape_of_torchs_newer_exporter_is_freed(tmp_path: Path) -> None:
    """It says that a 0 is a 0, where one is put in for "as many as come in"."""
    model = build(batch=1, constant_reshape=True, opset=15)
    reshape = next(node for node in model.graph.node if node.op_type == "Reshape")
    reshape.attribute.append(helper.make_attribute("allowzero", 1))
    found = adopt(save(model, tmp_path / "m.onnx"), tmp_path / "o.onnx", CROPS, settings=RAW)
    assert not found.one_by_one


@pytest.mark.parametrize("name", ["mybosnetwork", "cosnet", "osnets_people"])
def test_a_name_that_only_looks_like_osnets_tells_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="nothing in it tells"):
        adopt(save(build(), tmp_path / f"{name}.onnx"), tmp_path / "o.onnx", CROPS)


def test_what_would_be_overwritten_is_refused(tmp_path: Path) -> None:
    path = save(build(), tmp_path / "m.onnx")
    before = path.read_bytes()
    with pytest.raises(InputError, match="is the file that is adopted"):
        adopt(path, path, CROPS, settings=RAW)
    with pytest.raises(InputError, match="expected the name of an"):
        adopt(path, tmp_path / "manifest.csv", CROPS, settings=RAW)
    assert path.read_bytes() == before


def test_weights_beside_the_file_are_not_overwritten(tmp_path: Path) -> None:
    weights = tmp_path / "weights.onnx"
    onnx.save_model(build(), tmp_path / "m.onnx", save_as_external_data=True, location=weights.name, size_threshold=0)
    before = weights.read_bytes()
    with pytest.raises(InputError, match=r"holds weights of m\.onnx"):
        adopt(tmp_path / "m.onnx", weights, CROPS, settings=RAW)
    assert weights.read_bytes() == before


def test_a_model_of_ours_is_used_as_it_is(tmp_path: Path) -> None:
    adopt(save(build(), tmp_path / "m.onnx"), tmp_path / "o.onnx", CROPS, settings=RAW)
    with pytest.raises(InputError, match="is a model of reid already: use it as it is"):
        adopt(tmp_path / "o.onnx", tmp_path / "again.onnx", CROPS, settings=RAW)


def test_the_same_for_everybody_is_no_descriptor(tmp_path: Path) -> None:
    model = build()
    linear = next(tensor for tensor in model.graph.initializer if tensor.name == "stem")
    linear.CopyFrom(numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(linear)), "stem"))
    with pytest.raises(ModelError, match="gives all of 18 people the same descriptor"):
        adopt(save(model, tmp_path / "m.onnx"), tmp_path / "o.onnx", CROPS, settings=RAW)
    assert not (tmp_path / "o.onnx").exists()


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(ModelError, match="not a regular file"):
        adopt(tmp_path / "pipe.onnx", tmp_path / "o.onnx", CROPS, settings=RAW)


def test_names_that_are_no_unicode_are_kept_as_far_as_they_are(tmp_path: Path) -> None:
    path = Path(os.fsdecode(bytes(tmp_path) + b"/\xff.onnx"))
    path.write_bytes(build().SerializeToString())
    adopt(path, tmp_path / "o.onnx", CROPS, settings=RAW)
    assert Embedder(tmp_path / "o.onnx").metadata.source == "\ufffd.onnx"


@pytest.mark.parametrize(
    ("scale", "mean"), [(255.0, (123.7, 116.3, 103.5)), (1.0, (0.485, 0.456, 0.406))], ids=["too high", "too low"]
)
def test_a_mean_that_does_not_go_with_the_scale_is_refused(scale: float, mean: tuple[float, float, float]) -> None:
    with pytest.raises(InputError, match="expected fractions with scale 255, or grey levels of 0-255 with scale 1"):
        Contract("rgb", scale, mean)
