from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from reid_toolkit.runtime.external_data import external_files


def saved(path: Path, names: list[str]) -> bytes:
    """The content of a model with a tensor in each of these files, which are there."""
    tensors = [numpy_helper.from_array(np.ones(300, np.float32), f"weights of {name}") for name in names]
    for tensor, name in zip(tensors, names, strict=True):
        (path.parent / name).parent.mkdir(exist_ok=True)
        (path.parent / name).write_bytes(tensor.raw_data)
        onnx.external_data_helper.set_external_data(tensor, name)
        tensor.ClearField("raw_data")
    path.write_bytes(helper.make_model(helper.make_graph([], "none", [], [], tensors)).SerializeToString())
    return path.read_bytes()


@pytest.mark.parametrize(
    "names",
    [["weights.bin"], ["a", "b/c", "d"], ["same", "same"], ["ü [1] " + "x" * 150], ["x" * 127], ["y" * 128], []],
)
def test_the_files_that_a_model_names_are_found(tmp_path: Path, names: list[str]) -> None:
    content = saved(tmp_path / "m.onnx", names)
    (tmp_path / "m.onnx.data").touch()  # nobody's
    assert external_files(content, tmp_path) == [tmp_path / name for name in sorted(set(names))]


def test_what_is_no_file_is_left_out(tmp_path: Path) -> None:
    content = saved(tmp_path / "m.onnx", ["gone", "here"])
    (tmp_path / "gone").unlink()
    assert external_files(content, tmp_path) == [tmp_path / "here"]
    (tmp_path / "gone").mkdir()
    assert external_files(content, tmp_path) == [tmp_path / "here"]
    assert external_files(b"\n\x08location\x12", tmp_path) == []
    assert external_files(b"\n\x08location\x12\x03a\0b", tmp_path) == []
    assert external_files(b"\n\x08location\x12\x00", tmp_path) == []
