"""The example in docs/calibration.md does what the page says."""

import re
from pathlib import Path

import onnx
import pytest
from crowd import write_crowd
from tiny_model import build_model

from reid_toolkit.calibration import beside
from reid_toolkit.calibration.measure import measure
from reid_toolkit.datasets import open_dataset
from reid_toolkit.runtime import Embedder

PAGE = Path(__file__).parents[2] / "docs" / "calibration.md"


def test_the_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    onnx.save(build_model(), str(tmp_path / "model.onnx"))
    calibration = measure(Embedder(tmp_path / "model.onnx"), open_dataset(write_crowd(tmp_path / "people")))
    calibration.save(beside(tmp_path / "model.onnx"))
    monkeypatch.chdir(tmp_path)
    named: dict = {}
    exec(block.replace('"gate"', '"door"'), named)
    assert named["base_rate"] == 1 / 200
    assert 0 < named["probability"] < 1
    assert 0 < named["limit"] < 2
