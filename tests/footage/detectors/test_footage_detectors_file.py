"""Which files are detectors, and what is said of others."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from drawn_detectors import SQUARE, save, ssd_rows
from onnx import TensorProto

from reid_toolkit.errors import ModelError
from reid_toolkit.footage.detector import load_detector
from reid_toolkit.footage.detectors.file import FileDetector

ROWS = ssd_rows((0, 1, 0.9))


@pytest.mark.parametrize(
    ("inputs", "outputs", "got"),
    [
        (SQUARE, {"o": np.zeros((1, 12, 84), np.float32)}, r"got the outputs \[1, 12, 84\]$"),
        (SQUARE, {"a": np.zeros((1, 9, 4), np.float32), "b": np.zeros((1, 9), np.float32)}, r"got .*\[1, 9, 4\]"),
        ([1, 3, 256, 128], {"o": np.zeros((1, 512), np.float32)}, r"got the outputs \[1, 512\]$"),
        ([1, 3, 224, 224], {"o": np.zeros((1, 1000), np.float32)}, r"got the outputs \[1, 1000\]$"),
        ([1, 1, 64, 64], {"o": ROWS}, r"got the input images \(1, 1, 64, 64\) float32$"),
        ([1, 64, 64], {"o": ROWS}, r"got the input images \(1, 64, 64\)"),
    ],
    ids=["YOLOv8", "boxes without scores", "embedder", "classifier", "grey input", "no channels"],
)  # fmt: skip
def test_another_model_is_refused(
    tmp_path: Path, inputs: list[int | str], outputs: dict[str, np.ndarray], got: str
) -> None:
    path = save(tmp_path / "other.onnx", inputs, outputs)
    with pytest.raises(ModelError, match=r"other\.onnx: not a person detector.*YOLOX's.*SSD's.*logits.*" + got) as said:
        FileDetector(path)
    assert "\n" not in str(said.value)


def test_numbers_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", SQUARE, {"o": ROWS}, kind=TensorProto.INT64)
    with pytest.raises(ModelError, match=r"not a person detector.*got the input images \(1, 3, 64, 64\) int64"):
        FileDetector(path)
    path = save(tmp_path / "m.onnx", SQUARE, {"o": ROWS}, kind=TensorProto.DOUBLE)
    with pytest.raises(ModelError, match=r"got the input images \(1, 3, 64, 64\) of another type"):
        FileDetector(path)


def test_a_batch_of_several_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", [8, 3, 64, 64], {"o": ROWS})
    with pytest.raises(ModelError, match=r"m\.onnx: takes 8 pictures at once: expected one"):
        FileDetector(path, person_label=1)


def test_an_input_of_any_size_is_given_640(tmp_path: Path) -> None:
    detector = FileDetector(save(tmp_path / "m.onnx", ["N", 3, "H", "W"], {"o": ROWS}), person_label=1)
    assert (detector.height, detector.width) == (640, 640)


class Trap:
    """Unpickling it would run code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (pytest.fail, ("a pickle was run",))


@pytest.mark.parametrize("content", [pickle.dumps(Trap()), b"no model", b"", b"PK\x03\x04"])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "not.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"not\.onnx: not a usable ONNX model") as said:
        load_detector(str(path))
    assert "\n" not in str(said.value)
    assert capfd.readouterr().err == ""


def test_an_unknown_detector_is_refused() -> None:
    with pytest.raises(ModelError, match="hog: unknown detector: expected motion, torchvision, or the path"):
        load_detector("hog")


def test_what_is_for_others_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="detector 'motion' takes no weights"):
        load_detector("motion", tmp_path / "x.pth")
    with pytest.raises(ModelError, match="detector 'motion' needs no person label"):
        load_detector("motion", person_label=1)
