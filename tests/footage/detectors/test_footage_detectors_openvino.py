"""Detectors in OpenVINO's form, each made here."""

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

openvino = pytest.importorskip("openvino", reason="needs openvino: pip install '.[openvino]'")

from drawn_detectors import FRAME, PERSON, SIDE, SQUARE, save, ssd_rows  # noqa: E402
from openvino import opset8 as ops  # noqa: E402

from reid_toolkit.errors import MissingDependencyError, ModelError  # noqa: E402
from reid_toolkit.footage.detector import load_detector  # noqa: E402
from reid_toolkit.footage.detectors.file import FileDetector  # noqa: E402

IN_FRAME = PERSON * [2, 1.5, 2, 1.5]


def ssd(path: Path, classes: int, background: int, found: dict[int, int], *, normalized: bool = True) -> Path:
    """An SSD whose priors are two boxes, PERSON and another; ``found`` is which label each has, by its column."""
    priors = np.stack([PERSON / SIDE, [0.6, 0.6, 0.9, 0.9]]).astype(np.float32)
    scores = np.zeros((2, classes), np.float32)
    for prior, column in found.items():
        scores[prior, column] = 0.9 - 0.1 * prior
    rows = priors if normalized else np.hstack([np.zeros((2, 1), np.float32), priors * SIDE])
    picture = ops.parameter(SQUARE, np.float32, "data")
    nothing = ops.multiply(ops.reduce_mean(picture, np.array([0, 1, 2, 3])), np.float32(0))
    out = ops.detection_output(
        ops.add(ops.constant(np.zeros((1, 8), np.float32)), nothing),
        ops.constant(scores.reshape(1, -1)),
        ops.constant(np.stack([rows.ravel(), np.full(rows.size, 0.1, np.float32)])[None].astype(np.float32)),
        {
            "background_label_id": background, "top_k": 10, "keep_top_k": [10], "nms_threshold": 0.45,
            "confidence_threshold": 0.01, "code_type": "caffe.PriorBoxParameter.CENTER_SIZE", "share_location": True,
            "variance_encoded_in_target": False, "normalized": normalized, "input_height": SIDE, "input_width": SIDE,
        },
    )  # fmt: skip
    openvino.save_model(openvino.Model([ops.result(out)], [picture], "ssd"), path, compress_to_fp16=False)
    return path


def converted(path: Path, onnx_file: Path, **said: str) -> Path:
    model = openvino.convert_model(onnx_file)
    for name, value in said.items():
        model.set_rt_info(value, ["model_info", name])
    openvino.save_model(model, path, compress_to_fp16=False)
    return path


@pytest.mark.parametrize(("background", "column"), [(0, 1), (1, 0)], ids=["label 1", "label 0"])
def test_an_ssd_of_one_class_finds_people_whatever_their_label(tmp_path: Path, background: int, column: int) -> None:
    path = ssd(tmp_path / "m.xml", 2, background, {0: column})
    detector = load_detector(str(path), threads=1)
    boxes, scores = detector(FRAME)
    np.testing.assert_allclose(boxes, [IN_FRAME], atol=1e-3)
    np.testing.assert_allclose(scores, [0.9], atol=1e-6)
    assert detector.name.startswith("ssd:")


@pytest.mark.parametrize(
    ("classes", "background", "label"), [(91, 0, 1), (21, 0, 15), (20, -1, 14)], ids=["COCO", "VOC", "no background"]
)
def test_known_sets_of_classes_have_their_person(tmp_path: Path, classes: int, background: int, label: int) -> None:
    path = ssd(tmp_path / "m.xml", classes, background, {0: label, 1: label + 1})
    np.testing.assert_allclose(FileDetector(path)(FRAME)[0], [IN_FRAME], atol=1e-3)


def test_which_of_some_classes_is_a_person_must_be_said(tmp_path: Path) -> None:
    path = ssd(tmp_path / "m.xml", 3, 0, {0: 2, 1: 1})  # as of a vehicle and a pedestrian
    with pytest.raises(ModelError, match=r"m\.xml: has the labels 1 to 2: give the label of a person"):
        FileDetector(path)
    with pytest.raises(ModelError, match=r"m\.xml: --person-label 0: the file has the labels 1 to 2"):
        FileDetector(path, person_label=0)
    np.testing.assert_allclose(FileDetector(path, person_label=2)(FRAME)[0], [IN_FRAME], atol=1e-3)


def test_names_that_the_file_carries_say_it(tmp_path: Path) -> None:
    source = save(tmp_path / "m.onnx", SQUARE, {"o": ssd_rows((0, 1, 0.9), (0, 0, 0.8))})
    path = converted(tmp_path / "m.xml", source, labels="vehicle person")
    np.testing.assert_allclose(FileDetector(path)(FRAME)[1], [0.9], atol=1e-6)
    with pytest.raises(ModelError, match="needs pixels with reverse_input_channels YES"):
        FileDetector(converted(path, source, labels="person", reverse_input_channels="YES"))


def test_any_form_may_be_in_openvinos(tmp_path: Path) -> None:
    dets = np.array([[[*PERSON, 0.8]]], np.float32)
    source = save(tmp_path / "m.onnx", ["N", 3, "H", "W"], {"dets": dets, "labels": np.array([[0]])})
    path = converted(tmp_path / "m.xml", source)
    for a, b in zip(FileDetector(source)(FRAME), FileDetector(path)(FRAME), strict=True):
        np.testing.assert_allclose(a, b)


def test_the_first_bytes_and_not_the_name_say_what_it_is(tmp_path: Path) -> None:
    path = ssd(tmp_path / "m.xml", 2, 0, {0: 1})
    shutil.copy(path, tmp_path / "m.onnx")
    assert FileDetector(tmp_path / "m.onnx").name == FileDetector(path).name
    assert len(FileDetector(ssd(tmp_path / "a b é#1.xml", 2, 0, {0: 1}))(FRAME)[0]) == 1
    with pytest.raises(ModelError, match=r"m\.bin: the weights of a model in OpenVINO's form: give .*m\.xml"):
        FileDetector(tmp_path / "m.bin")


def test_the_name_follows_the_weights(tmp_path: Path) -> None:
    path = ssd(tmp_path / "m.xml", 2, 0, {0: 1})
    before = FileDetector(path).name
    weights = tmp_path / "m.bin"
    content = bytearray(weights.read_bytes())
    place = content.index(np.float32(0.9).tobytes())
    content[place : place + 4] = np.float32(0.8).tobytes()
    weights.write_bytes(content)
    assert FileDetector(path).name != before


def test_it_runs_in_float32_with_the_threads_that_were_asked_for(tmp_path: Path) -> None:
    graph: Any = FileDetector(ssd(tmp_path / "m.xml", 2, 0, {0: 1}), threads=2).graph
    assert graph.compiled.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"
    assert graph.compiled.get_property("NUM_STREAMS") == 1
    assert graph.compiled.get_property("INFERENCE_NUM_THREADS") == 2


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('version="11"', 'version="7"', "has version 7 of OpenVINO's form, which OpenVINO no longer reads"),
        ("<net", "<svg", "not a model in OpenVINO's form"),
        ("</layers>", "", "OpenVINO cannot read it, or m.bin beside it: "),
    ],
    ids=["old", "a picture", "damaged"],
)
def test_a_file_that_openvino_does_not_read_is_named(
    tmp_path: Path, old: str, new: str, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = ssd(tmp_path / "m.xml", 2, 0, {0: 1})
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ModelError, match=rf"m\.xml: {said}") as error:
        FileDetector(path)
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


def test_weights_that_are_missing_or_cut_off_are_named(tmp_path: Path) -> None:
    path = ssd(tmp_path / "m.xml", 2, 0, {0: 1})
    weights = tmp_path / "m.bin"
    weights.write_bytes(weights.read_bytes()[:20])
    with pytest.raises(ModelError, match=r"m\.xml: OpenVINO cannot read it, or m\.bin beside it: .*: fetch both"):
        FileDetector(path)
    weights.unlink()
    with pytest.raises(ModelError, match=r"m\.xml: m\.bin is missing beside it"):
        FileDetector(path)


def test_without_openvino_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ssd(tmp_path / "m.xml", 2, 0, {0: 1})
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingDependencyError, match=r"m\.xml: .*needs openvino, which is not installed.*\[openvino\]"):
        load_detector(str(path))


def test_another_model_is_refused(tmp_path: Path) -> None:
    source = save(tmp_path / "m.onnx", [1, 3, 256, 128], {"o": np.zeros((1, 512), np.float32)})
    with pytest.raises(ModelError, match=r"m\.xml: not a person detector we can read: .*got the outputs \[1, 512\]"):
        FileDetector(converted(tmp_path / "m.xml", source))
    source = save(tmp_path / "m.onnx", [4, 3, 64, 64], {"o": ssd_rows((0, 1, 0.9))})
    with pytest.raises(ModelError, match="takes 4 pictures at once"):
        FileDetector(converted(tmp_path / "m.xml", source))
