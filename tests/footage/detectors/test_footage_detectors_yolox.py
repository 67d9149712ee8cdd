"""Tiny ONNX graphs that answer with known people, in each of the forms YOLOX is exported in."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from drawn_detectors import FRAME, PERSON, SIDE, save
from onnx import TensorProto, helper, numpy_helper

from reid_toolkit.errors import ModelError
from reid_toolkit.footage.detector import load_detector
from reid_toolkit.footage.detectors.file import FileDetector, letterbox
from reid_toolkit.footage.detectors.yolox import Rows, anchors


def rows(form: str) -> np.ndarray:
    """(1, A, 5 + 3): PERSON twice, off by a pixel, a dog, and somebody too faint."""
    grid, strides = anchors(SIDE, SIDE, (8, 16, 32))
    found = np.zeros((len(grid), 8), np.float32)
    found[:, :2], found[:, 2:4] = (grid + 0.5) * strides, strides
    dog = np.array([40, 40, 60, 50], np.float32)
    faint = np.array([40, 10, 50, 40], np.float32)
    people = ((3, PERSON, 0.9, 0), (11, PERSON + 1, 0.6, 0), (30, dog, 0.9, 2), (40, faint, 0.05, 0))
    for anchor, box, score, kind in people:
        found[anchor, :4] = *((box[:2] + box[2:]) / 2), *(box[2:] - box[:2])
        found[anchor, 4], found[anchor, 5 + kind] = score, 1.0
    if form == "raw":
        found[:, :2] = found[:, :2] / strides - grid
        found[:, 2:4] = np.log(found[:, 2:4] / strides)
    return found[None]


@pytest.mark.parametrize("form", ["raw", "decoded"])
def test_rows_of_anchors_become_people_in_pixels_of_the_frame(tmp_path: Path, form: str) -> None:
    path = save(tmp_path / "yolox.onnx", [1, 3, SIDE, SIDE], {"output": rows(form)})
    detector = FileDetector(path)
    boxes, scores = detector(FRAME)
    assert isinstance(detector.form, Rows)
    assert (detector.form.grid is None) == (form == "decoded")
    assert boxes.dtype == scores.dtype == np.float32
    np.testing.assert_allclose(boxes, [2 * PERSON], atol=1e-3)
    np.testing.assert_allclose(scores, [0.9], atol=1e-6)


def test_suppressed_boxes_with_labels_become_people(tmp_path: Path) -> None:
    found = np.array([[[*PERSON, 0.8], [1, 1, 20, 20, 0.9], [40, 10, 70, 60, 0.5], [0, 0, 9, 9, 0.01]]], np.float32)
    labels = np.array([[0, 2, 0, 0]], np.int64)
    path = save(tmp_path / "m.onnx", [1, 3, SIDE, SIDE], {"dets": found, "labels": labels})
    boxes, scores = load_detector(str(path))(FRAME)
    np.testing.assert_allclose(boxes, [2 * PERSON, [80, 20, 128, 96]])  # the last is clipped to the frame
    np.testing.assert_allclose(scores, [0.8, 0.5])


def test_no_people_are_empty_arrays(tmp_path: Path) -> None:
    nobody = rows("raw")
    nobody[..., 4] = 0
    boxes, scores = FileDetector(save(tmp_path / "m.onnx", [1, 3, SIDE, SIDE], {"o": nobody}))(FRAME)
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


def test_the_name_follows_the_weights(tmp_path: Path) -> None:
    names = {
        FileDetector(save(tmp_path / name, [1, 3, SIDE, SIDE], {"o": rows(form)})).name
        for name, form in (("a.onnx", "raw"), ("b.onnx", "raw"), ("c.onnx", "decoded"))
    }
    assert len(names) == 2


def test_a_frame_is_put_into_the_upper_left_and_padded() -> None:
    picture, scale = letterbox(np.full((96, 128, 3), (1, 2, 3), np.uint8), SIDE, SIDE)
    assert scale == 0.5
    assert picture.shape == (SIDE, SIDE, 3)
    assert picture[:48].reshape(-1, 3).tolist() == [[1, 2, 3]] * (48 * 64)
    assert (picture[48:] == 114).all()


@pytest.mark.parametrize(("height", "width"), [(1, 2000), (2000, 1), (1, 1)])
def test_a_thin_frame_is_searched(tmp_path: Path, height: int, width: int) -> None:
    detector = FileDetector(save(tmp_path / "yolox.onnx", [1, 3, SIDE, SIDE], {"output": rows("raw")}))
    boxes, _ = detector(np.full((height, width, 3), 50, np.uint8))
    assert (boxes >= 0).all()
    assert (boxes <= [width, height, width, height]).all()


@pytest.mark.parametrize("form", ["raw", "decoded"])
def test_a_model_in_half_precision_finds_the_same(tmp_path: Path, form: str) -> None:
    whole = FileDetector(save(tmp_path / "whole.onnx", [1, 3, SIDE, SIDE], {"output": rows(form)}))
    half = FileDetector(save(tmp_path / "half.onnx", [1, 3, SIDE, SIDE], {"output": rows(form).astype(np.float16)}))
    for a, b in zip(whole(FRAME), half(FRAME), strict=True):
        assert b.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=0.1)


def save_with_weights_beside(path: Path, answer: np.ndarray, location: str = "") -> Path:
    """A model whose answer lies in a second file, as torch.onnx writes large ones."""
    declared = helper.make_tensor_value_info("output", TensorProto.FLOAT, answer.shape)
    picture = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    graph = helper.make_graph(
        [helper.make_node("Identity", ["weights"], ["output"])], "tiny", [picture], [declared],
        [numpy_helper.from_array(answer, "weights")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path), save_as_external_data=True, location=location or f"{path.name}.data", size_threshold=0)
    return path


def test_weights_in_a_second_file_are_found_wherever_the_model_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "elsewhere").mkdir()
    path = save_with_weights_beside(tmp_path / "models" / "large.onnx", rows("decoded"))
    expected = FileDetector(save(tmp_path / "small.onnx", [1, 3, SIDE, SIDE], {"output": rows("decoded")}))(FRAME)
    names = []
    for folder, name in (("elsewhere", "../models/large.onnx"), ("models", "large.onnx")):
        monkeypatch.chdir(tmp_path / folder)
        detector = FileDetector(Path(name))
        np.testing.assert_allclose(detector(FRAME)[0], expected[0])
        names.append(detector.name)
    # Other weights are another detector, though the first file is the same.
    weights = path.with_name("large.onnx.data")
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\x80?")
    names.append(FileDetector(path).name)
    assert names[0] == names[1] != names[2]
    weights.rename(tmp_path / "elsewhere" / weights.name)
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match=r"large\.onnx: not a usable ONNX model.*expected one colour picture"):
        FileDetector(path)


@pytest.mark.parametrize("beside", ["large_dataset/", "large_metadata.txt", "large.onnx.data.old"])
def test_other_files_beside_a_model_do_not_matter(tmp_path: Path, beside: str) -> None:
    path = save_with_weights_beside(tmp_path / "large.onnx", rows("decoded"))
    name = FileDetector(path).name
    other = tmp_path / beside
    other.mkdir() if beside.endswith("/") else other.write_text("notes")
    assert FileDetector(path).name == name


def test_weights_under_another_name_belong_to_the_name(tmp_path: Path) -> None:
    path = save_with_weights_beside(tmp_path / "large.onnx", rows("decoded"), "weights.bin")
    name, weights = FileDetector(path).name, tmp_path / "weights.bin"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\x80?")
    assert FileDetector(path).name != name


@pytest.mark.parametrize(("classes", "person"), [(20, 14), (80, 0), (3, 0)])
def test_the_number_of_classes_says_which_label_is_a_person(tmp_path: Path, classes: int, person: int) -> None:
    """20 are Pascal VOC's, whose label 0 is an aeroplane."""
    grid, strides = anchors(SIDE, SIDE, (8, 16, 32))
    found = np.zeros((1, len(grid), 5 + classes), np.float32)
    found[0, :, :2], found[0, :, 2:4] = (grid + 0.5) * strides, strides
    found[0, 0, :5] = [*((PERSON[:2] + PERSON[2:]) / 2), *(PERSON[2:] - PERSON[:2]), 0.9]
    found[0, 0, 5 + person] = 1
    found[0, 7, :4], found[0, 7, 4], found[0, 7, 5 + (person + 1) % classes] = [40, 40, 10, 10], 0.9, 1
    boxes, _ = FileDetector(save(tmp_path / "m.onnx", [1, 3, SIDE, SIDE], {"o": found}))(FRAME)
    np.testing.assert_allclose(boxes, [2 * PERSON], atol=1e-3)


def test_with_one_class_everything_is_a_person(tmp_path: Path) -> None:
    detector = FileDetector(save(tmp_path / "m.onnx", [1, 3, SIDE, SIDE], {"o": rows("raw")[..., :6]}))
    assert detector.person is None
