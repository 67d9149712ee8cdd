"""Queries of RT-DETR and D-FINE, in both forms that they are exported in."""

from pathlib import Path

import numpy as np
import pytest
from drawn_detectors import FRAME, SIDE, SQUARE, constant, mean_colours, save
from onnx import TensorProto, helper

from reid_toolkit.errors import ModelError
from reid_toolkit.footage.detectors.file import FileDetector

BOXES = np.array([[[0.5, 0.5, 0.25, 0.5], [0.1, 0.1, 0.1, 0.1], [0.5, 0.5, 0.2, 0.2]]], np.float32)
"""Centre and size."""
CORNERS = [48, 24, 80, 72]
"""The first of them in the frame."""


def logits(classes: int) -> np.ndarray:
    """A person, somebody too faint, and something else."""
    found = np.full((1, 3, classes), -200, np.float32)
    found[0, 0, 0], found[0, 1, 0], found[0, 2, -1] = 1.0, -4.0, 3.0
    return found


def test_logits_and_centres_become_people(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", SQUARE, {"logits": logits(80), "pred_boxes": BOXES})
    detector = FileDetector(path)
    assert detector.name.startswith("detr:")
    boxes, scores = detector(FRAME)
    assert boxes.dtype == scores.dtype == np.float32
    np.testing.assert_allclose(boxes, [CORNERS], atol=1e-4)
    np.testing.assert_allclose(scores, [1 / (1 + np.exp(-1))], atol=1e-6)
    # A label of its own file is another class.
    np.testing.assert_allclose(FileDetector(path, person_label=79)(FRAME)[1], [1 / (1 + np.exp(-3))], atol=1e-6)
    with pytest.raises(ModelError, match="--person-label 80: the file has the labels 0 to 79"):
        FileDetector(path, person_label=80)


def test_which_of_few_classes_is_a_person_must_be_said(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", SQUARE, {"logits": logits(3), "pred_boxes": BOXES})
    with pytest.raises(ModelError, match=r"m\.onnx: has the labels 0 to 2: give the label of a person"):
        FileDetector(path)
    assert len(FileDetector(path, person_label=0)(FRAME)[0]) == 1
    alone = logits(3)[..., :1]
    assert len(FileDetector(save(path, SQUARE, {"logits": alone, "pred_boxes": BOXES}))(FRAME)[0]) == 1
    with pytest.raises(ModelError, match="names its classes a, b, c, person"):
        FileDetector(save(path, SQUARE, {"logits": logits(3), "pred_boxes": BOXES}, names="a b c person"))


def test_the_first_detr_which_wants_other_pixels_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", SQUARE, {"logits": logits(92), "pred_boxes": BOXES})
    with pytest.raises(ModelError, match=r"not a person detector we can read.*got the outputs \[1, 3, 92\]"):
        FileDetector(path)


def test_pixels_are_rgb_of_0_to_1_and_any_size_is_640(tmp_path: Path) -> None:
    """The box is made of the mean colours: a border would change them."""
    nodes = [
        *mean_colours(), constant("end", [0.5]), helper.make_node("Concat", ["colours", "end"], ["flat"], axis=0),
        constant("shape", [1, 1, 4]), helper.make_node("Cast", ["shape"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["flat", "whole"], ["pred_boxes"]),
    ]  # fmt: skip
    outputs = {"logits": logits(80)[:, :1], "pred_boxes": BOXES[:, :1]}
    path = save(tmp_path / "m.onnx", ["batch", "channels", "height", "width"], outputs, nodes=nodes)
    detector = FileDetector(path)
    assert (detector.height, detector.width) == (640, 640)
    (box,), _ = detector(np.full((100, 200, 3), (51, 102, 153), np.uint8))
    np.testing.assert_allclose(box, [100, 15, 140, 65], atol=0.2)  # centre 0.6, 0.4; width 0.2


def test_boxes_that_are_multiplied_inside_stay_fractions(tmp_path: Path) -> None:
    """``boxes`` are corners times the second input, as their authors' exports have it."""
    corners = np.array([[[0.375, 0.25, 0.625, 0.75], [0.1, 0.1, 0.2, 0.2], [0.1, 0.1, 0.2, 0.2]]], np.float32)
    nodes = [
        constant("corners", corners),
        helper.make_node("Cast", ["orig_target_sizes"], ["sizes"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["sizes", "sizes"], ["twice"], axis=1),
        helper.make_node("Mul", ["corners", "twice"], ["boxes"]),
    ]
    outputs = {
        "labels": np.array([[0, 0, 7]]), "boxes": corners, "scores": np.array([[0.8, 0.02, 0.9]], np.float32)
    }  # fmt: skip
    path = save(tmp_path / "m.onnx", ["N", 3, SIDE, SIDE // 2], outputs, nodes=nodes, sizes=True)
    boxes, scores = FileDetector(path)(FRAME)
    np.testing.assert_allclose(boxes, [CORNERS], atol=1e-4)
    np.testing.assert_allclose(scores, [0.8], atol=1e-6)
    np.testing.assert_allclose(FileDetector(path, person_label=7)(FRAME)[1], [0.9], atol=1e-6)
