"""A gallery of three drawn people in two cameras, made by the commands with a tiny real model: pixels, centred and
normalised."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from reid_toolkit.datasets.manifest import write_manifest
from reid_toolkit.records import Crop
from reid_toolkit.runtime.metadata import ModelMetadata

Run = Callable[..., tuple[int, str, str]]
"""Status, stdout and stderr of a command."""
HEIGHT, WIDTH = 8, 4
EPOCH = 1_790_000_000.0
COLOURS = {"red": (40, 40, 220), "green": (40, 200, 40), "blue": (220, 60, 40)}
CAMERAS = ("door", "hall")


def write_model(path: Path, grey: float = 127.0) -> Path:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    size = HEIGHT * WIDTH * 3
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["pixels", "shape"], ["flat"]),
        helper.make_node("Sub", ["flat", "grey"], ["centred"]),
        helper.make_node("LpNormalization", ["centred"], ["descriptor"], axis=1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        "pixels",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["B", HEIGHT, WIDTH, 3])],
        [helper.make_tensor_value_info("descriptor", TensorProto.FLOAT, ["B", size])],
        [
            numpy_helper.from_array(np.array([-1, size], np.int64), "shape"),
            numpy_helper.from_array(np.array(grey, np.float32), "grey"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    about = ModelMetadata(
        height=HEIGHT, width=WIDTH, channels="BGR", layout="NHWC uint8 0-255", normalisation="",
        dimension=size, backbone="pixels", recipe="", stage="0", dataset="", toolkit="0",
    )  # fmt: skip
    helper.set_model_props(model, about.to_strings())
    onnx.save(model, str(path))
    return path


def picture(colour: str, shade: float) -> np.ndarray:
    """A flat figure; crops of one colour are near each other, and no two are the same."""
    image = np.full((32, 16, 3), 127, np.uint8)
    image[8:, 4:12] = np.clip(np.array(COLOURS[colour]) * shade, 0, 255)
    return image


def write_dataset(root: Path, camera_names: bool = True) -> Path:
    """Three people, each in two cameras, three crops a tracklet."""
    crops = []
    for c, camera in enumerate(CAMERAS):
        for p, colour in enumerate(COLOURS):
            for frame in range(3):
                path = root / camera / f"{colour}-{frame}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), picture(colour, 1 - 0.15 * c - 0.02 * frame))
                time = EPOCH + 100 * c + 10 * p + frame
                crops.append(Crop(path, camera, f"{camera}-{colour}", frame, time, 0, 0, 16, 32))
    write_manifest(root, crops)
    return root


def assert_fails(result: tuple[int, str, str], *words: str) -> None:
    """Exit status 1 and one line on stderr which has ``words``."""
    status, out, err = result
    assert status == 1, err
    assert out == ""
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    for word in words:
        assert word in lines[0]


def search(run: Run, *arguments: object) -> list[dict]:
    status, out, err = run("search", *arguments, "--json")
    assert status == 0, err
    return json.loads(out)["matches"]


def json_of(run: Run, *arguments: object) -> dict:
    status, out, err = run("search", *arguments, "--json")
    assert status == 0, err
    return json.loads(out)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.onnx")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "set")
