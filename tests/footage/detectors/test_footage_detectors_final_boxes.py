"""Rows of an SSD, and boxes with labels, as people in the frame."""

from pathlib import Path

import numpy as np
import pytest
from drawn_detectors import FRAME, PERSON, SQUARE, constant, mean_colours, save, ssd_rows
from onnx import TensorProto, helper

from reid_toolkit.errors import ModelError
from reid_toolkit.footage.detector import load_detector
from reid_toolkit.footage.detectors.file import FileDetector

IN_FRAME = PERSON * [2, 1.5, 2, 1.5]
"""PERSON where the frame was stretched."""


def ssd(path: Path, *rows: tuple[float, float, float]) -> Path:
    return save(path / "m.onnx", SQUARE, {"detection_out": ssd_rows(*rows)})


def test_rows_of_an_ssd_become_people_of_the_stretched_frame(tmp_path: Path) -> None:
    # Another label, one that is too faint, and what a larger table is filled up with after its end.
    path = ssd(tmp_path, (0, 1, 0.9), (0, 2, 0.8), (0, 1, 0.05), (-1, 0, 0), (0, 1, 0.9))
    detector = load_detector(str(path), person_label=1)
    boxes, scores = detector(FRAME)
    assert boxes.dtype == scores.dtype == np.float32
    np.testing.assert_allclose(boxes, [IN_FRAME], atol=1e-4)
    np.testing.assert_allclose(scores, [0.9])
    assert detector.name.startswith("ssd:")
    assert detector.name.endswith(":1")
    assert FileDetector(path, person_label=2).name != detector.name


def test_boxes_with_labels_are_in_pixels_of_the_input(tmp_path: Path) -> None:
    rows = np.array([[*PERSON, 0.7], [*PERSON, 0.6], [0, 0, 0, 0, 0]], np.float32)
    path = save(tmp_path / "m.onnx", SQUARE, {"labels": np.array([1, 0, 0]), "boxes": rows})
    detector = FileDetector(path, person_label=1)
    assert detector.name.startswith("boxes:")
    boxes, scores = detector(FRAME)
    np.testing.assert_allclose(boxes, [IN_FRAME], atol=1e-4)
    np.testing.assert_allclose(scores, [0.7], atol=1e-6)


@pytest.mark.parametrize("last", [False, True], ids=["NCHW", "NHWC"])
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.UINT8])
def test_pixels_are_bgr_as_they_are_and_the_frame_is_stretched(tmp_path: Path, last: bool, kind: int) -> None:
    """The box is made of the mean colours: a border would change them."""
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        *mean_colours((1, 2) if last else (2, 3)),
        constant("thousand", 1000), helper.make_node("Div", ["colours", "thousand"], ["corner"]),
        constant("front", [0, 1, 0.9]), constant("end", [0.9]), constant("shape", [1, 1, 1, 7]),
        helper.make_node("Concat", ["front", "corner", "end"], ["flat"], axis=0),
        helper.make_node("Cast", ["shape"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["flat", "whole"], ["out"]),
    ]  # fmt: skip
    nodes[1].input[0] = "floats"
    shape: list[int | str] = [1, 40, 60, 3] if last else [1, 3, 40, 60]
    path = save(tmp_path / "m.onnx", shape, {"out": ssd_rows((0, 1, 1))}, nodes=nodes, kind=kind)
    frame = np.full((100, 50, 3), (100, 200, 250), np.uint8)
    (box,), _ = FileDetector(path, person_label=1)(frame)
    np.testing.assert_allclose(box, [5, 20, 12.5, 90], atol=1e-3)


@pytest.mark.parametrize(
    ("box", "seen"),
    [
        ((-0.5, -0.1, 0.5, 1.2), [0, 0, 64, 96]),  # ends at the frame
        ((1.1, 0.1, 1.5, 0.5), None),
        ((0.5, 0.1, 0.2, 0.5), None),  # corners that are the wrong way round
        ((0.5, 0.1, 0.5, 0.5), None),
    ],
)
def test_boxes_end_at_the_frame_and_have_an_area(
    tmp_path: Path, box: tuple[float, ...], seen: list[float] | None
) -> None:
    rows = np.array([[[[0, 1, 0.9, *box]]]], np.float32)
    boxes, scores = FileDetector(save(tmp_path / "m.onnx", SQUARE, {"o": rows}), person_label=1)(FRAME)
    assert len(boxes) == len(scores)
    np.testing.assert_allclose(boxes, np.array([seen] if seen else [], np.float32).reshape(-1, 4), atol=1e-4)


@pytest.mark.parametrize("count", [0, 3])
def test_nobody_is_empty_arrays(tmp_path: Path, count: int) -> None:
    boxes, scores = FileDetector(ssd(tmp_path, *[(-1, 0, 0)] * count), person_label=1)(FRAME)
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ((0, 1, np.nan, 0, 0, 1, 1), "gives scores that are not numbers"),
        ((0, 1, 87, 0, 0, 1, 1), "gives scores of up to 87: expected 0 to 1"),
        ((0, 1, 0.9, np.nan, 0, 1, 1), "gives boxes that are not numbers"),
        ((0, 1, 0.9, 16, 10, 30, 40), "gives boxes of up to 40: expected fractions"),
    ],
)
def test_answers_that_cannot_be_are_said_at_loading(tmp_path: Path, row: tuple[float, ...], said: str) -> None:
    path = save(tmp_path / "m.onnx", SQUARE, {"o": np.array([[[row]]], np.float32)})
    with pytest.raises(ModelError, match=rf"m\.onnx: {said}"):
        FileDetector(path, person_label=1)


def test_a_score_that_is_rounded_above_1_is_1(tmp_path: Path) -> None:
    assert FileDetector(ssd(tmp_path, (0, 1, 1.0000001)), person_label=1)(FRAME)[1].tolist() == [1]


def test_a_label_that_means_nothing_must_be_said(tmp_path: Path) -> None:
    path = ssd(tmp_path, (0, 1, 0.9))
    with pytest.raises(ModelError, match=r"m\.onnx: does not say what its labels mean: .*--person-label N$"):
        FileDetector(path)
    save(path, SQUARE, {"o": ssd_rows((0, 1, 0.9), (0, 0, 0.8))}, names="car Person")
    named = FileDetector(path)
    np.testing.assert_allclose(named(FRAME)[1], [0.9])
    assert named.name.count(":") == 1
    save(path, SQUARE, {"o": ssd_rows((0, 1, 0.9))}, names="car dog")
    with pytest.raises(ModelError, match=r"m\.onnx: names its classes car, dog: expected one of them to be person"):
        FileDetector(path)
    assert len(FileDetector(path, person_label=1)(FRAME)[0]) == 1


def test_other_pixels_that_the_file_asks_for_are_refused(tmp_path: Path) -> None:
    answer = {"o": ssd_rows((0, 0, 0.9))}
    assert FileDetector(save(tmp_path / "m.onnx", SQUARE, answer, names="person", mean="0 0.0 0"))
    with pytest.raises(ModelError, match=r"m\.onnx: needs pixels with mean_values 123\.7 116\.3 103\.5: expected BGR"):
        FileDetector(save(tmp_path / "m.onnx", SQUARE, answer, names="person", mean="123.7 116.3 103.5"))
